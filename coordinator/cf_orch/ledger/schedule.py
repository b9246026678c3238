"""Who is next: the queue's order, who may be passed, and for whom holders are asked to leave (rules 1 to 4, and 6).

:meth:`Walk.next_step` walks the lanes in order.  For the first waiter of each:

1. one of a service over its quota holds back its own service, and nobody else;
2. a stalled one (it would not fit though every lease ended) holds nobody back;
3. one that fits on devices that nobody before it could use is the next to be granted;
4. one for which others could leave there gets a plan: they are to be asked;
5. any other holds back, for all behind it, every device that it could use; one with a plan, the plan's devices only.

It ends when no device is left that nobody holds back.  What it passed over, it would pass over again, so after each
command one walk that finds nothing to do is enough to know that nothing can be done.

A parked lease on its way back may pass two whom nobody else may pass: one whom its residue keeps from ever fitting, or
they would wait for each other for ever; and one for whom it left in vain, because the plan was given up, while what is
on its way does not suffice for him.  Whoever is held back by one of these could not go before it anyway, and is passed
too.  While its plan lasts, the victims of a plan take nothing of its devices, wherever they stand.
"""

from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from cf_orch.ledger.books import Books
from cf_orch.ledger.eviction import Proposal, find_plan, still_needed
from cf_orch.ledger.placement import best_fit, choose
from cf_orch.ledger.queue import Lane
from cf_orch.ledger.records import Device, Lease, Plan
from cf_orch.ledger.states import State

__all__ = ["GiveUp", "Grant", "MakePlan", "Step", "Walk", "residues_in_the_way", "stalled"]


class Grant(NamedTuple):
    """The next to be granted, and where."""

    lease_id: str
    devices: tuple[str, ...]


class MakePlan(NamedTuple):
    """A waiter gets a plan, or another one than it had."""

    lease_id: str
    proposal: Proposal


class GiveUp(NamedTuple):
    """A waiter's plan cannot succeed any more."""

    lease_id: str


Step = Grant | MakePlan | GiveUp


class _Blocker(NamedTuple):
    """A waiter that holds devices back from those behind it."""

    lane: Lane
    lease_id: str
    devices: frozenset[str]
    blocked_by_residue: frozenset[str]
    is_served_soon: bool


class Walk:
    """One walk along the queue; ``look_again_at`` is when another one may find more though nothing happened."""

    def __init__(self, books: Books, now: float) -> None:
        self.look_again_at = inf
        self._books = books
        self._now = now
        self._open = frozenset(uuid for uuid, device in books.devices.items() if _is_open(books, device, now))
        self._held_back: frozenset[str] = frozenset()
        self._blockers: list[_Blocker] = []
        self._services_held_back: set[str] = set()
        self._served_soon: set[str] = set()  # those for whom memory that suffices is on its way
        self._must_visit = books.queue.returning + sum(not plan.given_up for plan in books.plans.values())

    def next_step(self) -> Step | None:
        """Find the first thing to do."""
        books = self._books
        for lane in books.queue.lanes():
            if not self._open and not self._must_visit:
                return None
            lease = books.leases[lane.head]
            step = self._visit(lane, lease)
            self._must_visit -= bool(lease.devices) + lease.has_plan
            if step is not None:
                return step
        return None

    def _visit(self, lane: Lane, lease: Lease) -> Step | None:
        """Find what to do for the first of a lane; if nothing, let it hold back what it must."""
        plan = self._books.plans[lease.id] if lease.has_plan else None
        service = lease.slot.service
        if service in self._services_held_back or self._over_quota(lane, lease):
            return GiveUp(lease.id) if plan else None
        out_of_reach = lane.devices.isdisjoint(self._open) and not self._must_visit
        if plan is None and (out_of_reach or stalled(self._books, lane, self._now)):
            return None
        devices = self._place(lane, lease)
        if devices is not None:
            return Grant(lease.id, devices)
        step = self._evict(lane, lease, plan)
        if step is None:
            self._hold_back(lane, lease, plan)
        return step

    def _over_quota(self, lane: Lane, lease: Lease) -> bool:
        """Tell whether a waiter is over its quota; one that is not stalled then holds its own service back."""
        if not self._books.over_quota(lease):
            return False
        if not stalled(self._books, lane, self._now):
            self._services_held_back.add(lease.slot.service)
        return True

    # --- granting

    def _place(self, lane: Lane, lease: Lease) -> tuple[str, ...] | None:
        """Choose devices on which a waiter fits and that nobody keeps from it, or None."""
        if lease.devices:
            return lease.devices if self._may_return(lease) else None
        return best_fit(lane.shape, lane.options, self._books.devices, self._open - self._drained(self._open))

    def _may_return(self, lease: Lease) -> bool:
        """Tell whether a parked lease may have its devices again, draining ones too."""
        for uuid in lease.devices:
            device = self._books.devices[uuid]
            if not _is_open(self._books, device, self._now) or max(0, lease.need_on(uuid)) > device.room_bytes:
                return False
        if any(self._is_victim(lease, plan) for plan in self._books.plans.values()):
            return False
        return self._is_let_through(lease)

    def _is_let_through(self, lease: Lease) -> bool:
        """Tell whether a parked lease may pass all who hold its devices back.

        Who is held back there by one that it may pass, and may not pass him himself, could not go before it anyway.
        """
        passed: list[_Blocker] = []
        for blocker in self._blockers:
            shared = blocker.devices.intersection(lease.devices)
            if shared and self._may_pass(lease, blocker):
                passed.append(blocker)
            elif shared and self._could_go_first(blocker, shared, passed):
                return False
        return True

    def _could_go_first(self, blocker: _Blocker, wanted: frozenset[str], others: list[_Blocker]) -> bool:
        """Tell whether a waiter could take one of the wanted devices, for all that others keep from him."""
        lease = self._books.leases[blocker.lease_id]
        kept = {uuid for other in others if not self._may_pass(lease, other) for uuid in other.devices}
        free = sorted(blocker.lane.devices - kept)
        return any(
            uuid in (choose(option.picks, [uuid, *free]) or ())
            for uuid in wanted - kept
            for option in blocker.lane.options
        )

    def _may_pass(self, lease: Lease, blocker: _Blocker) -> bool:
        """Tell whether a waiter may pass another: only one whose residue is in his way, or who left in vain for him."""
        if any(lease.charges[uuid] and uuid in blocker.blocked_by_residue for uuid in lease.devices):
            return True
        plan = self._books.plans.get(blocker.lease_id)
        left_for_him = plan is not None and plan.given_up and lease.id in plan.victims
        return left_for_him and bool(lease.devices) and not blocker.is_served_soon

    def _is_victim(self, lease: Lease, plan: Plan) -> bool:
        return not plan.given_up and lease.id in plan.victims and not set(plan.devices).isdisjoint(lease.devices)

    # --- evicting

    def _evict(self, lane: Lane, lease: Lease, plan: Plan | None) -> Step | None:
        """Make a plan, or keep one true: it needs its devices, enough victims, and none too many."""
        if plan is None:
            proposal = self._proposal(lane, lease)
            return MakePlan(lease.id, proposal) if proposal else None
        keeps_its_devices = self._held_back.isdisjoint(plan.devices) and not self._drained(plan.devices)
        if keeps_its_devices and still_needed(self._books, plan, self._now) is not None:
            return None
        proposal = self._proposal(lane, lease)
        return MakePlan(lease.id, proposal) if proposal else GiveUp(lease.id)

    def _proposal(self, lane: Lane, lease: Lease) -> Proposal | None:
        if any(self._is_victim(lease, plan) for plan in self._books.plans.values()):
            return None
        search = find_plan(self._books, lease, lane, self._open - self._drained(self._open), self._now)
        self.look_again_at = min(self.look_again_at, search.look_again_at)
        if search.comes_by_itself:
            self._served_soon.add(lease.id)
        return search.proposal

    # --- holding back

    def _hold_back(self, lane: Lane, lease: Lease, plan: Plan | None) -> None:
        devices = frozenset(plan.devices) if plan else lane.devices
        if lease.devices:  # the plan for which it left comes first there, wherever the two stand
            plans = self._books.plans.values()
            devices -= {uuid for other in plans if self._is_victim(lease, other) for uuid in other.devices}
        else:
            devices -= self._drained(devices)
        self._held_back |= devices
        self._open -= devices
        if self._books.queue.returning:
            in_the_way = residues_in_the_way(self._books, lane, lease, self._now)
            self._blockers.append(_Blocker(lane, lease.id, devices, in_the_way, lease.id in self._served_soon))

    def _drained(self, devices: Iterable[str]) -> set[str]:
        return {uuid for uuid in devices if self._books.devices[uuid].draining}


def _is_open(books: Books, device: Device, now: float) -> bool:
    return device.window is None and not device.blind(now, books.settings.stale_after_s)


def stalled(books: Books, lane: Lane, now: float) -> bool:
    """Tell whether a shape would not fit though every lease on its devices ended (foreign use, drain, no sight)."""
    bearable = _most_rooms(books, lane, now)
    need = lane.shape.need_bytes
    return not _fits([uuid for uuid, most in bearable.items() if need <= most], lane)


def residues_in_the_way(books: Books, lane: Lane, lease: Lease, now: float) -> frozenset[str]:
    """The devices on which a waiter could never fit beside what parked leases keep, if that is so wherever it could go.

    Those parked leases must go first: the waiter can only be served when they have ended.
    """
    need = lane.shape.need_bytes
    most = {uuid: room for uuid, room in _most_rooms(books, lane, now).items() if need <= room}
    beside = {uuid: room - _residues(books, books.devices[uuid], lease) for uuid, room in most.items()}
    if _fits([uuid for uuid, room in beside.items() if need <= room], lane):
        return frozenset()
    return frozenset(uuid for uuid, room in beside.items() if need > room)


def _residues(books: Books, device: Device, but: Lease) -> int:
    parked = (books.leases[lease_id] for lease_id in device.holders if lease_id != but.id)
    return sum(x.kept_bytes(device.uuid) for x in parked if x.state in (State.PARKED, State.RESTING))


def _most_rooms(books: Books, lane: Lane, now: float) -> dict[str, int]:
    """What each device could give if every lease on it ended; a return may go where a drain keeps others out."""
    devices = (books.devices[uuid] for uuid in sorted(lane.devices))
    return {
        device.uuid: device.most_room_bytes
        for device in devices
        if (lane.shape.back_to or not device.draining) and not device.blind(now, books.settings.stale_after_s)
    }


def _fits(devices: list[str], lane: Lane) -> bool:
    return any(choose(option.picks, devices) for option in lane.options)
