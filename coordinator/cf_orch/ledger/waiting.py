"""Why a lease waits, behind whom, and how long that may take: the same walk as the schedule's, told in numbers."""

from statistics import median
from typing import NamedTuple

from cf_orch.ledger.books import Books
from cf_orch.ledger.placement import choose
from cf_orch.ledger.queue import Lane, order_of
from cf_orch.ledger.records import Device, Lease
from cf_orch.ledger.schedule import stalled

__all__ = ["WaitingFor", "waiting_for"]

MOST_NAMED = 10


class WaitingFor(NamedTuple):
    """What stands between a waiter and its grant.

    ``rule`` is one of fifo (others come first), memory (leases hold it), window (an engine is loading there), quota,
    drain, blind (no fresh sample of the driver), foreign (memory in use that no lease accounts for).  ``device`` is
    the one that is nearest to fitting, ``behind`` names the leases that must end or be served first.
    """

    rule: str
    device: str | None
    needs_bytes: int
    free_bytes: int
    behind: tuple[str, ...]
    eta_s: float | None


def waiting_for(books: Books, lease: Lease, now: float) -> WaitingFor:
    """Explain a queued lease's wait."""
    slot = lease.slot
    lane = books.queue.lane_of(lease)
    device = _nearest(books, lane, now)
    if device is None:
        return WaitingFor("blind", None, slot.need_bytes, 0, (), None)
    if books.over_quota(slot.service, lease.full_bytes):
        return _quota(books, lease)
    free = max(0, device.room_bytes)
    if stalled(books, lane, now):
        return WaitingFor(_cause_of_stall(books, lane, now), device.uuid, slot.need_bytes, free, (), None)
    before = _held_back_by(books, lease, lane, now)
    if before:
        return WaitingFor("fifo", device.uuid, slot.need_bytes, free, before, None)
    if device.window is not None:
        return WaitingFor("window", device.uuid, slot.need_bytes, free, (device.window,), None)
    holders = books.held_on(device)
    names = tuple(holder.id for holder in holders[:MOST_NAMED])
    return WaitingFor("memory", device.uuid, slot.need_bytes, free, names, _eta_s(books, lease, device, now))


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
    held = [other for other in books.leases.values() if other.slot.service == lease.slot.service and other.devices]
    free = max(0, limit - books.held_bytes.get(lease.slot.service, 0))
    return WaitingFor("quota", None, lease.full_bytes, free, tuple(o.id for o in held[:MOST_NAMED]), None)


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
        if service in over_quota or books.over_quota(service, lane.shape.size_bytes * lane.shape.gpus):
            over_quota.add(service)
            in_the_way = service == lease.slot.service
        else:
            in_the_way = not lane.devices.isdisjoint(own.devices)
        if in_the_way:
            before.append(lane.head)
    return tuple(before)


def _eta_s(books: Books, lease: Lease, device: Device, now: float) -> float | None:
    """When the holders will have left room, if each holds as long as its service's median."""
    leaving: list[tuple[float, int]] = []
    for holder in books.held_on(device):
        times = books.hold_times_s.get(holder.slot.service)
        if not times or holder.held_since is None:
            return None
        remaining = max(0.0, median(times) - (now - holder.held_since))
        leaving.append((remaining, holder.charges[device.uuid]))
    room = device.room_bytes
    for remaining, charge in sorted(leaving):
        room += charge
        if room >= lease.slot.need_bytes:
            return remaining
    return None
