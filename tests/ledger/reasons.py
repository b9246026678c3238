"""Why a command may be refused, by the naive model: the codes that would be right."""

from collections.abc import Iterator
from math import isfinite

from tests.ledger.naive import Model

from cf_orch.ledger import commands as c
from cf_orch.ledger.records import Slot

__all__ = ["reasons"]

GIB = 2**30


def reasons(model: Model, command: c.Command) -> set[str]:
    """Every code with which the command could rightly be refused."""
    return set(_reasons(model, command))


def _reasons(model: Model, command: c.Command) -> Iterator[str]:
    match command:
        case c.Request():
            yield from _of_request(model, command)
        case c.OpenSession():
            yield from _of_open(model, command)
        case c.Sync():
            yield from _of_sync(model, command)
        case c.RenewSession() | c.CloseSession():
            if command.session_id not in model.parties:
                yield "unknown_session"
        case c.Release() | c.RenewLease() | c.MarkLoaded() | c.MarkIdle() | c.MarkBusy() | c.Attach():
            yield from _of_lease(model, command)
        case c.Checkpointed() | c.Evict() | c.Resume():
            yield from _of_lease(model, command)
            yield from _of_eviction(model, command)
        case c.Drain() | c.Undrain():
            yield from _of_drain(model, command)
        case c.ReportDevices() if not all(map(_sound, command.devices)):
            yield "bad_value"


def _of_drain(model: Model, command: c.Drain | c.Undrain) -> Iterator[str]:
    if command.uuid not in model.devices:
        yield "device_not_found"
    if isinstance(command, c.Drain) and command.for_s is not None and not 0 < command.for_s < float("inf"):
        yield "bad_value"


def _sound(seen: c.DeviceReport) -> bool:
    numbers = (seen.total_bytes, seen.reserve_bytes, seen.age_s, seen.used_bytes or 0, seen.free_bytes or 0)
    return all(number >= 0 and isfinite(number) for number in numbers)


def _of_request(model: Model, command: c.Request) -> Iterator[str]:
    key = (command.caller, command.request_id)
    size = command.size_bytes or 0
    task = model.settings.task(command.task_type)
    if command.size_bytes is None:
        size = task.vram_bytes or 0
    if key in model.requests:
        job = model.jobs.get(model.requests[key]) or model.ended[model.requests[key]]
        fields = (
            "gpus",
            "device",
            "host",
            "peak_bytes",
            "residue_bytes",
            "max_wait_s",
            "model",
            "evictable",
            "service",
            "task_type",
        )
        same = all(getattr(job.slot, name) == getattr(command, name) for name in fields)
        if not same or job.slot.size_bytes != size or set(job.slot.requires) != set(command.requires):
            yield "request_id_reused"
        return
    if command.session_id is not None and command.session_id not in model.parties:
        yield "unknown_session"
    if (party := model.parties.get(command.session_id or "")) is not None and party.service != command.service:
        yield "bad_value"
    yield from _bad_values(model, command, size)
    yield from _impossible(model, command, size)
    waiting = [job for job in model.queue() if job.slot.service == command.service]
    if len(waiting) >= model.settings.max_queued_per_service:
        yield "queue_full"


def _bad_values(model: Model, command: c.Request, size: int) -> Iterator[str]:
    peak, residue, waits = command.peak_bytes, command.residue_bytes, command.max_wait_s
    bad = [
        not command.service,
        size <= 0,
        command.priority is not None and not 0 <= command.priority <= 100,
        not 1 <= command.gpus <= 64,
        command.gpus > 1 and command.device and len(command.device) != command.gpus,
        peak is not None and peak < size,
        residue is not None and not 0 <= residue <= size,
        waits is not None and not 0 <= waits < float("inf"),
        command.session_id is None and _bad_ttl(model, command.ttl_s),
    ]
    if any(bad):
        yield "bad_value"


def _bad_ttl(model: Model, ttl_s: float | None) -> bool:
    return ttl_s is not None and not model.settings.ttl_min_s <= ttl_s <= model.settings.ttl_max_s


def _impossible(model: Model, command: c.Request, size: int) -> Iterator[str]:
    need = max(size, command.peak_bytes or 0)
    if need > max([1000 * GIB, *(dev.total for dev in model.devices.values())]):
        yield "wrong_unit"
    quota = model.settings.quota(command.service)
    if quota.max_vram_bytes is not None and size * command.gpus > quota.max_vram_bytes:
        yield "over_quota"
    if quota.max_priority is not None and (command.priority or 0) > quota.max_priority:
        yield "over_quota"
    party = model.parties.get(command.session_id or "")
    own_host = party.host if party else None
    slot = Slot(
        service=command.service, size_bytes=size, priority=0, peak_bytes=command.peak_bytes, gpus=command.gpus,
        host=command.host, device=command.device, requires=command.requires,
    )  # fmt: skip
    if need > 0 and model.devices and 1 <= command.gpus <= 64 and not model.ways(slot, own_host):
        yield from ("unknown_device", "unmet_requirement", "too_large")


def _of_open(model: Model, command: c.OpenSession) -> Iterator[str]:
    if not command.service or _bad_ttl(model, command.ttl_s):
        yield "bad_value"
    known = model.parties.get(command.session_id)
    if known is not None and known.service != command.service:
        yield "not_yours"


def _of_sync(model: Model, command: c.Sync) -> Iterator[str]:
    if command.session_id not in model.parties:
        yield "unknown_session"
    ids = [holding.request_id for holding in command.holdings]
    if len(ids) != len(set(ids)):
        yield "bad_value"
    for holding in command.holdings:
        if not holding.devices or any(uuid not in model.devices for uuid in holding.devices):
            yield "unknown_device"
        if len(holding.devices) != len(set(holding.devices)) or holding.size_bytes <= 0:
            yield "bad_value"
        if holding.priority is not None and not 0 <= holding.priority <= 100:
            yield "bad_value"
        if holding.residue_bytes is not None and not 0 <= holding.residue_bytes <= holding.size_bytes:
            yield "bad_value"


_LeaseCommand = (
    c.Release | c.RenewLease | c.MarkLoaded | c.MarkIdle | c.MarkBusy | c.Attach | c.Checkpointed | c.Evict | c.Resume
)  # fmt: skip


def _of_eviction(model: Model, command: c.Checkpointed | c.Evict | c.Resume) -> Iterator[str]:
    job = model.jobs.get(command.lease_id)
    if job is None or isinstance(command, c.Resume):
        return
    if job.state == "queued":
        yield "not_granted"
    if isinstance(command, c.Checkpointed):
        said = command.residue_bytes
        if said is not None and not 0 <= said <= job.slot.size_bytes:
            yield "bad_value"
    elif job.state == "loading":
        yield "still_loading"
    elif job.state in ("active", "idle", "evicting"):
        if not job.slot.evictable:
            yield "not_evictable"
        if any(model.window(uuid) for uuid in job.devices):
            yield "still_loading"


def _of_lease(model: Model, command: _LeaseCommand) -> Iterator[str]:
    job = model.jobs.get(command.lease_id) or model.ended.get(command.lease_id)
    if job is None:
        yield from ("unknown_lease", "lease_ended")
        return
    by = None if isinstance(command, c.Evict | c.Resume) else command.by
    if by is not None and by != job.session:
        yield "not_yours"
    if job.state in ("closing", "ended") and not isinstance(command, c.Release):
        yield "lease_ended"
    if isinstance(command, c.MarkLoaded | c.MarkIdle | c.MarkBusy) and job.state == "queued":
        yield "not_granted"
    if isinstance(command, c.MarkIdle) and job.state == "loading":
        yield "still_loading"
    if isinstance(command, c.Attach) and command.pid <= 0:
        yield "bad_value"
