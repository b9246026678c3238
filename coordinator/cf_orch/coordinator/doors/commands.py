"""Messages of the wire as commands of the ledger: GB become bytes, names become numbers."""

from cf_orch.ledger import Process, Refusal, State, commands
from cf_orch.ledger.states import HOLDING
from cf_orch.protocol import messages as m
from cf_orch.protocol.priorities import Priority
from cf_orch.protocol.sizes import gb_to_bytes

__all__ = ["caller_key", "checkpointed_of", "report_of", "request_of", "sync_of"]


def caller_key(session_id: str | None, service: str) -> str:
    """Whose request ids these are: a session's, or a whole service's where there is none."""
    return session_id or f"service:{service}"


def request_of(body: m.LeaseRequest, session_id: str | None, request_id: str) -> commands.Request:
    """Make the command of a request for memory."""
    return commands.Request(
        caller=caller_key(session_id, body.service),
        request_id=request_id,
        service=body.service,
        size_bytes=None if isinstance(body.vram_gb, str) else _bytes("vram_gb", body.vram_gb),
        session_id=session_id,
        ttl_s=body.ttl_s,
        task_type=body.task_type,
        model=body.model,
        priority=None if body.priority is None else _priority(body.priority),
        peak_bytes=None if body.peak_gb is None else _bytes("peak_gb", body.peak_gb),
        residue_bytes=None if body.residue_gb is None else _bytes("residue_gb", body.residue_gb),
        gpus=body.gpus,
        host=body.host,
        device=_pins(body.device),
        requires=tuple(body.requires),
        evictable=body.evictable,
        max_wait_s=body.max_wait_s,
    )


def _bytes(field: str, gb: float) -> int:
    try:
        return gb_to_bytes(gb)
    except (ValueError, OverflowError) as error:
        raise Refusal("bad_value", f"{field}: {gb:g} GB is no size of a memory") from error


def _priority(value: int | str) -> int:
    try:
        return Priority.parse(value)
    except ValueError as error:
        raise Refusal("bad_value", f"priority: {error}") from error


def _pins(device: str | int | list[str | int] | None) -> tuple[str, ...]:
    if device is None:
        return ()
    return tuple(str(pin) for pin in device) if isinstance(device, list) else (str(device),)


def checkpointed_of(body: m.CheckpointedRequest, lease_id: str, by: str | None) -> commands.Checkpointed:
    """Make the command of a holder's answer to being asked to leave."""
    residue = None if body.residue_gb is None else _bytes("residue_gb", body.residue_gb)
    return commands.Checkpointed(lease_id=lease_id, by=by, residue_bytes=residue, error=body.error)


def sync_of(session_id: str, body: m.SyncRequest) -> commands.Sync:
    """Make the command of what a session says that it holds and wants."""
    holdings = (_holding(number, item) for number, item in enumerate(body.leases))
    return commands.Sync(session_id=session_id, holdings=tuple(holdings))


def _holding(number: int, item: m.HoldingItem) -> commands.Holding:
    if item.state not in State.__members__.values():
        raise Refusal("bad_value", f"leases[{number}].state: {item.state!r} is none of {', '.join(State)}")
    residue = item.residue_gb
    return commands.Holding(
        request_id=item.request_id,
        lease_id=item.id,
        held=item.state in HOLDING,
        parked=item.state in (State.PARKED, State.RESTING),
        residue_bytes=None if residue is None else _bytes(f"leases[{number}].residue_gb", residue),
        evictable=item.evictable,
        service=item.service,
        devices=tuple(item.devices),
        size_bytes=_bytes(f"leases[{number}].vram_gb", item.vram_gb),
        priority=item.priority,
        task_type=item.task_type,
        model=item.model,
    )


def report_of(body: m.DeviceReportRequest) -> commands.ReportDevices:
    """Make the command of an observer's look at its host."""
    devices = tuple(_device(item) for item in body.devices)
    return commands.ReportDevices(host_id=body.host_id, host_name=body.host_name, devices=devices)


def _device(item: m.DeviceReportItem) -> commands.DeviceReport:
    return commands.DeviceReport(
        uuid=item.uuid,
        name=item.name,
        index=item.index,
        total_bytes=item.total_bytes,
        reserve_bytes=item.reserve_bytes,
        has_driver=item.has_driver,
        capabilities=tuple(item.capabilities),
        used_bytes=item.used_bytes,
        free_bytes=item.free_bytes,
        processes=tuple(_process(process) for process in item.processes),
        age_s=item.age_s,
        error=item.error,
    )


def _process(item: m.ProcessItem) -> Process:
    return Process(
        pid=item.pid,
        pid_start=item.pid_start,
        name=item.name,
        used_bytes=item.used_bytes,
        ancestors=tuple(item.ancestors),
    )
