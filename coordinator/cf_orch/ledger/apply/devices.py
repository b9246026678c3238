"""Devices are seen, drained and looked at."""

from cf_orch.ledger import events as e
from cf_orch.ledger.attribution import Claim, attribute
from cf_orch.ledger.books import Books
from cf_orch.ledger.deadlines import arm_drain
from cf_orch.ledger.records import Device, Lease

__all__ = ["device_seen", "drain", "leaked", "sampled"]


def device_seen(books: Books, event: e.DeviceSeen) -> None:
    """Know a device, and where everybody could be served now."""
    device = books.devices.get(event.uuid)
    if device is None:
        device = books.devices[event.uuid] = Device(
            uuid=event.uuid,
            name=event.name,
            host_id=event.host_id,
            host_name=event.host_name,
            index=event.index,
            total_bytes=event.total_bytes,
        )
    for field in event.__struct_fields__[1:]:
        setattr(device, field, getattr(event, field))
    device.facts_seq, device.vouched = books.seq + 1, True
    books.queue.devices_changed()


def drain(books: Books, event: e.DrainBegun | e.DrainEnded, now: float) -> None:
    """Begin or end a drain."""
    device = books.devices[event.uuid]
    device.draining = isinstance(event, e.DrainBegun)
    device.drain_evicts = isinstance(event, e.DrainBegun) and event.evict
    device.drain_for_s = event.for_s if isinstance(event, e.DrainBegun) else None
    arm_drain(books, device, now)


def sampled(books: Books, event: e.Sampled) -> None:
    """Share what is in use out among the leases there; let the charges of those that leave fall."""
    device, sample = books.devices[event.uuid], event.sample
    device.sample = sample
    if sample.error is not None:
        return
    leases = books.held_on(device)
    account = attribute(sample, [_claim(books, lease, device) for lease in leases], device.floor_bytes)
    device.foreign_bytes = account.foreign_bytes
    device.foreign_processes = account.foreign_processes
    device.floor_bytes = account.floor_bytes
    for lease in leases:
        seen = account.seen_bytes[lease.id]
        lease.seen[device.uuid], before = seen, lease.seen[device.uuid]
        due = lease.due_bytes(device.uuid)
        if sample.taken_at <= lease.due_since:  # it looked before the memory could have come back
            due = max(due, lease.charges[device.uuid])
        lease.seen[device.uuid] = before
        books.charge(lease, device, due, seen)


def _claim(books: Books, lease: Lease, device: Device) -> Claim:
    leaving, promised = lease.is_leaving, lease.slot.need_bytes
    return Claim(
        lease_id=lease.id,
        token=lease.token or 0,
        pids=books.pids_of(lease, device),
        kept_bytes=lease.charges[device.uuid] if leaving else min(lease.seen[device.uuid], promised),
        promised_bytes=lease.promised_bytes if leaving else promised,
        leaving=leaving,
    )


def leaked(books: Books, event: e.Leaked) -> None:
    """Count the bytes as foreign, and as no lease's growth when they are seen again."""
    device = books.devices[event.uuid]
    device.foreign_bytes += event.leaked_bytes
    if device.floor_bytes is not None:
        device.floor_bytes += event.leaked_bytes
