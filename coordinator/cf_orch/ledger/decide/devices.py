"""What observers see, and what an operator says of a device."""

from math import inf

from cf_orch.ledger import events as e
from cf_orch.ledger.commands import DeviceReport, Drain, ReportDevices, Undrain
from cf_orch.ledger.decide.decision import Decision
from cf_orch.ledger.decide.ending import end_reclaimed
from cf_orch.ledger.decide.evictions import come_back, learn_residue
from cf_orch.ledger.records import Device, Sample
from cf_orch.ledger.refusals import Refusal
from cf_orch.ledger.states import Rest, State

__all__ = ["drain", "end_drain", "report", "undrain"]


def report(d: Decision, command: ReportDevices) -> None:
    """Take in a look at a host's devices: new facts first, then samples, then what came free."""
    for seen in command.devices:
        _check(seen)
    for seen in command.devices:
        if seen.error is not None and seen.uuid not in d.books.devices:
            continue  # nothing is known of it yet, and nothing can be learnt now
        _take_facts(d, command, seen)
        if seen.has_driver:
            _take_sample(d, seen)
        elif not d.books.devices[seen.uuid].vouched:
            d.emit(e.Vouched(uuid=seen.uuid))


def _check(seen: DeviceReport) -> None:
    if seen.total_bytes < 0 or seen.reserve_bytes < 0 or not 0 <= seen.age_s < inf:
        raise Refusal("bad_value", f"device {seen.uuid}: total, reserve and age must be finite and not negative")
    if (seen.used_bytes or 0) < 0 or (seen.free_bytes or 0) < 0:
        raise Refusal("bad_value", f"device {seen.uuid}: used and free must not be negative")


def _take_facts(d: Decision, command: ReportDevices, seen: DeviceReport) -> None:
    """Journal a device that is new, or of which something else than its use is new."""
    if seen.error is not None:
        return  # what cannot be read now is as it was
    event = e.DeviceSeen(
        uuid=seen.uuid,
        name=seen.name,
        host_id=command.host_id,
        host_name=command.host_name,
        index=seen.index,
        total_bytes=seen.total_bytes,
        reserve_bytes=seen.reserve_bytes,
        has_driver=seen.has_driver,
        capabilities=tuple(sorted(seen.capabilities)),
    )
    known = d.books.devices.get(seen.uuid)
    if known is None or any(getattr(known, field) != getattr(event, field) for field in event.__struct_fields__):
        d.emit(event)


def _take_sample(d: Decision, seen: DeviceReport) -> None:
    device = d.books.devices[seen.uuid]
    taken_at = d.now - seen.age_s
    if device.sample is not None and device.sample.taken_at > taken_at:
        return  # a fresher one is here already
    error = seen.error
    if error is None and (seen.used_bytes is None or seen.free_bytes is None):
        error = "the driver does not say how much memory is in use"
    sample = Sample(
        taken_at=taken_at,
        used_bytes=seen.used_bytes or 0,
        free_bytes=seen.free_bytes or 0,
        processes=seen.processes,
        error=error,
    )
    d.emit(e.Sampled(uuid=seen.uuid, sample=sample))
    for lease in d.books.held_on(device):
        if lease.state is State.CLOSING:
            end_reclaimed(d, lease)
        elif lease.is_leaving and lease.charges[device.uuid] <= (lease.residue_bytes or 0):
            learn_residue(d, lease)


def _device(d: Decision, uuid: str) -> Device:
    device = d.books.devices.get(uuid)
    if device is None:
        known = ", ".join(sorted(d.books.devices)) or "none yet"
        raise Refusal("device_not_found", f"no device {uuid} is known; known: {known}")
    return device


def drain(d: Decision, command: Drain) -> None:
    """Grant nothing new there; leases that hold memory go on or, with ``evict``, are asked to leave until the end."""
    if command.for_s is not None and not 0 < command.for_s < inf:
        raise Refusal("bad_value", f"for_s must be positive and finite, not {command.for_s:g}")
    d.emit(e.DrainBegun(uuid=_device(d, command.uuid).uuid, for_s=command.for_s, evict=command.evict))


def undrain(d: Decision, command: Undrain) -> None:
    """Grant there again; harmless where nothing was drained."""
    if _device(d, command.uuid).draining:
        end_drain(d, command.uuid)


def end_drain(d: Decision, uuid: str) -> None:
    """Grant there again, and let those come back who had to leave, where no other device of theirs is drained."""
    d.emit(e.DrainEnded(uuid=uuid))
    for lease in d.books.held_on(d.books.devices[uuid]):
        if not any(d.books.devices[other].draining for other in lease.devices):
            come_back(d, lease, {Rest.DRAIN})
