"""Who is next: the queue's order, and who may be passed (rules 1 to 4).

:func:`next_grant` walks the lanes in order.  For the first waiter of each:

1. a stalled one (it would not fit though every lease ended) holds nobody back;
2. one of a service over its quota holds back its own service, and nobody else;
3. one that fits on devices that nobody before it could use is the next to be granted;
4. any other holds back, for all behind it, every device that it could use.

It ends when no device with room is left that nobody holds back.  What it passed over, it would pass over again, so
after each command one walk that finds nobody is enough to know that nothing can be granted.
"""

from typing import NamedTuple

from cf_orch.ledger.books import Books
from cf_orch.ledger.placement import best_fit, choose
from cf_orch.ledger.queue import Lane
from cf_orch.ledger.records import Device

__all__ = ["Choice", "can_grant", "next_grant", "stalled"]


class Choice(NamedTuple):
    """The next to be granted, and where."""

    lease_id: str
    devices: tuple[str, ...]


def next_grant(books: Books, now: float) -> Choice | None:
    """Find the first waiter that may be granted now."""
    open_devices = frozenset(uuid for uuid, device in books.devices.items() if can_grant(books, device, now))
    held_back_services: set[str] = set()
    for lane in books.queue.lanes():
        if not open_devices:
            return None
        service = lane.shape.service
        over_quota = books.over_quota(service, lane.shape.size_bytes * lane.shape.gpus)
        if service in held_back_services or (lane.devices.isdisjoint(open_devices) and not over_quota):
            continue  # it gets nothing, and holds back nothing that is not held back already
        if stalled(books, lane, now):
            continue
        if over_quota:
            held_back_services.add(service)
            continue
        devices = best_fit(lane.shape, lane.options, books.devices, open_devices)
        if devices is not None:
            return Choice(lane.head, devices)
        open_devices -= lane.devices
    return None


def can_grant(books: Books, device: Device, now: float) -> bool:
    """Tell whether anything at all could be granted on a device now."""
    return (
        not device.draining
        and device.window is None
        and device.room_bytes > 0
        and not device.blind(now, books.settings.stale_after_s)
    )


def stalled(books: Books, lane: Lane, now: float) -> bool:
    """Tell whether a shape would not fit though every lease on its devices ended (foreign use, drain, no sight)."""
    bearable = [
        uuid
        for uuid in sorted(lane.devices)
        if (device := books.devices[uuid])
        and not device.draining
        and not device.blind(now, books.settings.stale_after_s)
        and lane.shape.need_bytes <= device.most_room_bytes
    ]
    return not any(choose(option.picks, bearable) for option in lane.options)
