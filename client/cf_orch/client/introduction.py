"""What a session says first on every connection: who it is, and all that it holds and wants."""

import msgspec

from cf_orch.client.claim import Phase
from cf_orch.client.claims import Claims
from cf_orch.client.connection import Connection
from cf_orch.protocol.messages import (
    DeviceInfo,
    DeviceRef,
    DevicesAnswer,
    LeaseInfo,
    LeasesAnswer,
    SessionAnswer,
    SessionRequest,
)

__all__ = ["introduce", "is_crowded", "said"]


async def introduce(
    connection: Connection, registration: SessionRequest, claims: Claims, *, lose_unknown: bool
) -> tuple[float, dict[str, LeaseInfo]]:
    """Open the session and sync; return its time to live in seconds, and what the coordinator has of it, by request.

    A coordinator that has just begun may not have seen this host's devices yet, and then refuses the sync with
    unknown_device; ``lose_unknown`` gives up the leases on devices that it does not know.
    """
    opened = await connection.call("session.open", SessionAnswer, **said(registration))
    await _name_devices(connection, registration.host_id, claims)
    if lose_unknown:
        await _lose_unknown(connection, claims)
    holdings = [claim.holding() for claim in claims]
    for claim in claims:
        claim.was_sent = True
        claim.eviction.is_told = claim.is_away
    answer = await connection.call("session.sync", LeasesAnswer, session_id=registration.session_id, leases=holdings)
    return opened.ttl_s, {info.request_id: info for info in answer.leases}


def said(request: msgspec.Struct) -> dict[str, object]:
    """The fields of a request that say something."""
    return {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}


async def is_crowded(connection: Connection, lease: LeaseInfo) -> bool:
    """Tell whether more is held on a lease's devices than they have: leases came back that had gone local."""
    uuids = {device.uuid for device in lease.devices}
    return any(device.over_committed for device in await _devices(connection) if device.uuid in uuids)


async def _devices(connection: Connection) -> list[DeviceInfo]:
    return (await connection.call("devices", DevicesAnswer)).devices


async def _name_devices(connection: Connection, host_id: str | None, claims: Claims) -> None:
    """Give local leases that were taken without sight of a device the one that they most likely use."""
    nameless = [claim for claim in claims if claim.is_local and not claim.held.devices]
    if not nameless:
        return
    known = await _devices(connection)
    here = [device for device in known if device.host_id == host_id] or known
    if not here:
        return
    device = max(here, key=lambda device: device.free_gb)
    ref = DeviceRef(uuid=device.uuid, name=device.name, host=device.host, index=device.index)
    for claim in nameless:
        if claim.phase is not Phase.HELD:
            continue
        size_gb = claim.held.vram_gb or device.total_gb
        claim.info = msgspec.structs.replace(claim.held, devices=[ref], vram_gb=size_gb)


async def _lose_unknown(connection: Connection, claims: Claims) -> None:
    known = {device.uuid for device in await _devices(connection)}
    for claim in claims:
        if claim.phase is not Phase.HELD or claim.is_away:
            continue
        uuids = {device.uuid for device in claim.held.devices}
        if not uuids or not uuids <= known:
            claims.lose(claim, "the coordinator does not know the device that it is on")
