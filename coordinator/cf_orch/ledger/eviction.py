"""Who is asked to leave for a waiter (rule 6): asked for, minimal, and never in vain.

:func:`find_plan` looks for devices on which a waiter can be served if some of the holders there leave.

1. What is on its way already is counted first: bytes of leases that close, that gave their memory up and that an
   operator asked to leave.  Where that suffices, nobody is asked, and there is no plan.
2. Then victims, one after the other in :func:`_order`, until the sum of what they will free suffices on each device:
   those who were asked already (for somebody behind the waiter); idle leases, longest unused first; busy leases of
   lower classes, lowest first, then newest.  Each counts for its charge less what it is expected to keep.
3. Who is not needed after all is put back, in reverse.

Where several devices would do, those are taken where nobody need leave; else those for which the fewest classes, then
the fewest leases, then the fewest bytes are asked.  The devices of a gang are chosen one by one in that order, and its
victims then anew for all of them.
"""

from math import inf
from typing import NamedTuple

from cf_orch.ledger.books import Books
from cf_orch.ledger.placement import choose
from cf_orch.ledger.queue import Lane
from cf_orch.ledger.records import Device, Lease, Plan
from cf_orch.ledger.states import WAITING, State

__all__ = ["Proposal", "Search", "find_plan", "still_needed", "to_withdraw"]

LONGER_FOR_UNEVICTABLE = 10
"""Idle memory is protected so many times longer from one that could not be evicted in turn."""


class Proposal(NamedTuple):
    """The devices on which a waiter could be served, and all who must leave for it, whether asked already or not."""

    devices: tuple[str, ...]
    victims: tuple[str, ...]


class Search(NamedTuple):
    """What was found: a plan; or that enough memory is on its way; or when a protection ends that is in the way."""

    proposal: Proposal | None = None
    comes_by_itself: bool = False
    look_again_at: float = inf


class _Way(NamedTuple):
    """One set of devices, by what asking there would cost."""

    has_victims: bool
    asked_classes: int
    asked_leases: int
    asked_bytes: int
    devices: tuple[str, ...]
    victims: tuple[str, ...]


def find_plan(books: Books, waiter: Lease, lane: Lane, usable: frozenset[str], now: float) -> Search:
    """Look for the best plan on ``usable`` devices; there is none where memory that suffices is on its way."""
    holders = {lease_id for uuid in lane.devices & usable for lease_id in books.devices[uuid].holders}
    others = [books.leases[lease_id] for lease_id in sorted(holders) if lease_id != waiter.id]
    askable_from = {lease.id: _askable_from(books, waiter, lease, now) for lease in others}
    best = _best_way(books, waiter, lane, usable, [lease for lease in others if askable_from[lease.id] <= now])
    if best is not None:
        proposal = Proposal(best.devices, best.victims) if best.has_victims else None
        return Search(proposal, comes_by_itself=not best.has_victims)
    later = [start for start in askable_from.values() if now < start < inf]
    if later and _best_way(books, waiter, lane, usable, [lease for lease in others if askable_from[lease.id] < inf]):
        return Search(look_again_at=min(later))
    return Search()


def _best_way(books: Books, waiter: Lease, lane: Lane, usable: frozenset[str], victims: list[Lease]) -> _Way | None:
    """Choose the devices on which the fewest are asked, if it suffices anywhere that all these victims leave."""
    victims = sorted(victims, key=_order)
    ways: list[_Way] = []
    for option in lane.options:
        singles = {
            uuid: way
            for uuid in frozenset().union(*option.picks) & usable
            if (way := _way(books, waiter, (uuid,), victims)) is not None
        }
        devices = choose(option.picks, sorted(singles, key=lambda uuid: singles[uuid]))
        if devices is not None and (way := _way(books, waiter, tuple(sorted(devices)), victims)) is not None:
            ways.append(way)
    return min(ways, default=None)


def still_needed(books: Books, plan: Plan, now: float) -> tuple[str, ...] | None:
    """Those who must still leave for a plan to succeed; None where all who are still asked do not suffice.

    While one of its devices cannot be seen, all of them are needed.
    """
    if any(books.devices[uuid].blind(now, books.settings.stale_after_s) for uuid in plan.devices):
        return plan.victims
    asked = (lease for lease_id in plan.victims if (lease := books.leases.get(lease_id)) and _is_outstanding(lease))
    way = _way(books, books.leases[plan.owner], plan.devices, sorted(asked, key=_order))
    return None if way is None else way.victims


def to_withdraw(books: Books, now: float) -> list[Lease]:
    """The leases that are asked to leave though no plan needs them any more.

    One that is overdue stays asked for as long as the waiter waits for whom it was asked: it may yet answer.
    """
    needed: set[str] = set()
    for plan in books.plans.values():
        if not plan.given_up:
            needed.update(still_needed(books, plan, now) or ())
    evicting = [books.leases[lease_id] for lease_id in sorted(books.evicting - needed)]
    return [lease for lease in evicting if not lease.asked_by_operator and not _still_hoped_for(books, lease)]


def _still_hoped_for(books: Books, lease: Lease) -> bool:
    waiter = books.leases.get(lease.evicted_for or "")
    return lease.eviction_overdue and waiter is not None and waiter.state in WAITING


def _is_outstanding(lease: Lease) -> bool:
    """Tell whether a lease was asked to leave for a waiter, and may still do so in time."""
    return lease.state is State.EVICTING and not lease.asked_by_operator and not lease.eviction_overdue


def _askable_from(books: Books, waiter: Lease, lease: Lease, now: float) -> float:
    """When a lease may be asked to leave for a waiter, as far as time decides; never is infinitely far."""
    is_asked = _is_outstanding(lease)
    if not is_asked and not _may_be_asked_now(books, waiter, lease, now):
        return inf
    if waiter.slot.priority > lease.slot.priority:
        return now
    if lease.idle_since is None:
        return inf
    is_own_class = waiter.slot.priority == lease.slot.priority
    return now if is_asked and is_own_class else _idle_protected_until(books, waiter, lease, lease.idle_since)


def _may_be_asked_now(books: Books, waiter: Lease, lease: Lease, now: float) -> bool:
    """Tell whether a notice could be sent, and would not be in vain because the checkpoint outlasts the wait."""
    if not lease.can_be_asked or any(_closed_to_notices(books.devices[uuid]) for uuid in lease.devices):
        return False
    return waiter.waits_until is None or (lease.checkpoint_s or 0.0) <= waiter.waits_until - now


def _idle_protected_until(books: Books, waiter: Lease, lease: Lease, idle_since: float) -> float:
    """How long an idle lease is safe from a waiter of its own class, or of a lower one."""
    settings = books.settings
    if waiter.slot.priority == lease.slot.priority:
        last_swap_s = (lease.checkpoint_s or 0.0) + lease.restore_s
        return lease.loaded_since + max(settings.min_residency_s, last_swap_s)
    if settings.is_protected(lease.slot.priority):
        return inf
    return idle_since + settings.idle_protect_s * (1 if waiter.slot.evictable else LONGER_FOR_UNEVICTABLE)


def _closed_to_notices(device: Device) -> bool:
    return device.draining or device.window is not None


def _order(lease: Lease) -> tuple[int, float, int, str]:
    """The order in which victims are chosen."""
    if lease.state is State.EVICTING:
        return 0, 0.0, 0, lease.id
    if lease.idle_since is not None:
        return 1, lease.idle_since, 0, lease.id
    return 2, lease.slot.priority, -(lease.token or 0), lease.id


def _way(books: Books, waiter: Lease, devices: tuple[str, ...], victims: list[Lease]) -> _Way | None:
    """Choose, from victims in order, those that suffice on all the devices and of whom none can be left out."""
    short = {uuid: waiter.need_on(uuid) - _supply(books, waiter, books.devices[uuid]) for uuid in devices}
    chosen: list[Lease] = []
    for lease in victims:
        if any(missing > 0 and _frees(lease, uuid) > 0 for uuid, missing in short.items()):
            chosen.append(lease)
            short = {uuid: missing - _frees(lease, uuid) for uuid, missing in short.items()}
    if any(missing > 0 for missing in short.values()):
        return None
    for lease in reversed(chosen.copy()):
        without = {uuid: missing + _frees(lease, uuid) for uuid, missing in short.items()}
        if all(missing <= 0 for missing in without.values()):
            chosen.remove(lease)
            short = without
    asked = [lease for lease in chosen if lease.state is not State.EVICTING]
    return _Way(
        has_victims=bool(chosen),
        asked_classes=len({lease.slot.priority for lease in asked}),
        asked_leases=len(asked),
        asked_bytes=sum(_frees(lease, uuid) for lease in asked for uuid in lease.devices),
        devices=devices,
        victims=tuple(lease.id for lease in chosen),
    )


def _frees(lease: Lease, uuid: str) -> int:
    """What a device gets back when a lease leaves."""
    return lease.charges[uuid] - lease.kept_bytes(uuid) if uuid in lease.charges else 0


def _supply(books: Books, waiter: Lease, device: Device) -> int:
    """What is free on a device, and what comes free there though nobody is asked.

    What a returning waiter itself still has there is no supply: its need grows as that falls.
    """
    others = (books.leases[lease_id] for lease_id in device.holders if lease_id != waiter.id)
    return device.room_bytes + sum(_frees(lease, device.uuid) for lease in others if _leaves_anyway(lease))


def _leaves_anyway(lease: Lease) -> bool:
    """Tell whether a lease gives its memory up though no plan asked it to."""
    asked = lease.state is State.EVICTING and lease.asked_by_operator and not lease.eviction_overdue
    return asked or lease.is_leaving
