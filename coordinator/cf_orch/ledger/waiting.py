"""Why a lease waits, behind whom, and how long that may take: the same walk as the schedule's, told in numbers."""

from math import isfinite
from statistics import median
from typing import NamedTuple

from cf_orch.ledger.books import Books
from cf_orch.ledger.eviction import find_plan
from cf_orch.ledger.placement import choose
from cf_orch.ledger.queue import Lane, order_of
from cf_orch.ledger.records import Device, Lease, Plan
from cf_orch.ledger.schedule import residues_in_the_way, stalled
from cf_orch.ledger.states import State

__all__ = ["WaitingFor", "waiting_for"]

MOST_NAMED = 10


class WaitingFor(NamedTuple):
    """What stands between a waiter and its grant.

    ``rule`` is one of fifo (others come first), memory (leases hold it), window (an engine is loading there), quota,
    drain, blind (no fresh sample of the driver), foreign (memory in use that no lease accounts for), eviction (who is
    asked to leave for it), residue (what parked leases keep), residency (who could be asked is protected for a while).
    ``device`` is the one that is nearest to fitting, ``behind`` names the leases that must end or be served first.
    """

    rule: str
    device: str | None
    needs_bytes: int
    free_bytes: int
    behind: tuple[str, ...]
    eta_s: float | None


def waiting_for(books: Books, lease: Lease, now: float) -> WaitingFor:
    """Explain a queued lease's wait."""
    lane = books.queue.lane_of(lease)
    device = _tightest_planned(books, lease) if lease.has_plan else _nearest(books, lane, now)
    if device is None:
        return WaitingFor("blind", None, lease.slot.need_bytes, 0, (), None)
    if books.over_quota(lease):
        return _quota(books, lease)
    rule, behind = _cause(books, lease, lane, device, now)
    eta_s = _eta_s(books, lease, device, now) if rule == "memory" else None
    free = max(0, device.room_bytes)
    return WaitingFor(rule, device.uuid, max(0, lease.need_on(device.uuid)), free, behind[:MOST_NAMED], eta_s)


def _cause(books: Books, lease: Lease, lane: Lane, device: Device, now: float) -> tuple[str, tuple[str, ...]]:
    """The rule that keeps a waiter from its grant, and the leases behind it."""
    if lease.has_plan:
        return "eviction", _those_who_leave(books, books.plans[lease.id])
    if stalled(books, lane, now):
        return _cause_of_stall(books, lane, now), ()
    if before := _held_back_by(books, lease, lane, now):
        return "fifo", before
    if device.window is not None:
        return "window", (device.window,)
    return _what_holds_it(books, lease, lane, device, now)


def _those_who_leave(books: Books, plan: Plan) -> tuple[str, ...]:
    """Those who were asked and have not answered; else those whose memory is still on its way."""
    leaving = [books.leases[victim] for victim in plan.victims if victim in books.leases]
    still_there = [lease for lease in leaving if any(lease.charges[x] > lease.kept_bytes(x) for x in lease.devices)]
    asked = [lease for lease in leaving if lease.id in books.evicting]
    return tuple(lease.id for lease in asked or still_there)


def _what_holds_it(books: Books, lease: Lease, lane: Lane, device: Device, now: float) -> tuple[str, tuple[str, ...]]:
    holders = [holder for holder in books.held_on(device) if holder is not lease and holder.charges[device.uuid]]
    if device.uuid in residues_in_the_way(books, lane, lease, now):
        return "residue", tuple(holder.id for holder in holders if holder.state in (State.PARKED, State.RESTING))
    if isfinite(find_plan(books, lease, lane, lane.devices, now).look_again_at):
        return "residency", tuple(holder.id for holder in holders if holder.state is State.IDLE)
    return "memory", tuple(holder.id for holder in holders)


def _tightest_planned(books: Books, lease: Lease) -> Device:
    return min((books.devices[uuid] for uuid in books.plans[lease.id].devices), key=lambda device: device.room_bytes)


def _nearest(books: Books, lane: Lane, now: float) -> Device | None:
    """The tightest of the devices that a waiter would get where it comes nearest to fitting."""

    def ease(device: Device) -> tuple[bool, int]:
        closed = device.draining or device.blind(now, books.settings.stale_after_s) or device.window is not None
        return not closed, device.room_bytes

    tightest: list[Device] = []
    for option in lane.options:
        easiest_first = sorted(frozenset().union(*option.picks))
        easiest_first.sort(key=lambda uuid: ease(books.devices[uuid]), reverse=True)
        chosen = choose(option.picks, easiest_first) or ()
        tightest.append(min((books.devices[uuid] for uuid in chosen), key=ease))
    return max(tightest, key=ease, default=None)


def _quota(books: Books, lease: Lease) -> WaitingFor:
    limit = books.settings.quota(lease.slot.service).max_vram_bytes or 0
    counted = books.counted_before(lease)
    free = max(0, limit - sum(other.full_bytes for other in counted))
    return WaitingFor("quota", None, lease.full_bytes, free, tuple(other.id for other in counted[:MOST_NAMED]), None)


def _cause_of_stall(books: Books, lane: Lane, now: float) -> str:
    devices = [books.devices[uuid] for uuid in lane.devices]
    if any(device.blind(now, books.settings.stale_after_s) for device in devices):
        return "blind"
    return "drain" if any(device.draining for device in devices) else "foreign"


def _held_back_by(books: Books, lease: Lease, own: Lane, now: float) -> tuple[str, ...]:
    """The first of each lane that comes before and holds a device back, or stands over its service's quota."""
    before: list[str] = []
    over_quota: set[str] = set()
    for lane in books.queue.lanes():
        if lane.order >= order_of(lease) or len(before) == MOST_NAMED:
            break
        if stalled(books, lane, now):
            continue
        service = lane.shape.service
        if service in over_quota or books.over_quota(books.leases[lane.head]):
            over_quota.add(service)
            in_the_way = service == lease.slot.service
        else:
            plan = books.plans.get(lane.head)
            held_back = lane.devices if plan is None or plan.given_up else frozenset(plan.devices)
            in_the_way = not held_back.isdisjoint(own.devices)
        if in_the_way:
            before.append(lane.head)
    return tuple(before)


def _eta_s(books: Books, lease: Lease, device: Device, now: float) -> float | None:
    """When the holders will have left room, if each holds as long as its service's median."""
    leaving: list[tuple[float, int]] = []
    for holder in books.held_on(device):
        if holder is lease:
            continue
        times = books.hold_times_s.get(holder.slot.service)
        if not times or holder.held_since is None:
            return None
        remaining = max(0.0, median(times) - (now - holder.held_since))
        leaving.append((remaining, holder.charges[device.uuid]))
    room = device.room_bytes
    for remaining, charge in sorted(leaving):
        room += charge
        if room >= lease.need_on(device.uuid):
            return remaining
    return None
