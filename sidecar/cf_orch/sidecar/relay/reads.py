"""How a lease reads of which no coordinator has told yet."""

import time

from cf_orch.protocol.messages import DeviceRef, LeaseInfo, LeaseRequest
from cf_orch.protocol.priorities import Priority

__all__ = ["untold"]


def untold(
    request: LeaseRequest,
    *,
    lease_id: str,
    state: str,
    local: bool = False,
    devices: tuple[str, ...] = (),
    host_name: str = "",
) -> LeaseInfo:
    """The lease as we know it from its process alone: it has no token, and no place that anybody counted."""
    size_gb = 0.0 if request.vram_gb == "auto" else request.vram_gb
    is_held = state != "queued"
    return LeaseInfo(
        id=lease_id,
        state=state,
        token=None,
        service=request.service,
        task_type=request.task_type,
        model=request.model,
        priority=Priority.NORMAL if request.priority is None else Priority.parse(request.priority),
        vram_gb=size_gb,
        charge_gb=size_gb if is_held else 0.0,
        devices=[DeviceRef(uuid=uuid, name=uuid, host=host_name, index=0) for uuid in devices],
        position=None,
        waiting_for=None,
        evictable=request.evictable,
        local=local,
        request_id=request.request_id or "",
        session_id=None,
        created_at=time.time(),
        granted_at=None,
        expires_at=None,
    )
