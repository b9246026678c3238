"""An eye on the memory: the ledger's account of it, the driver's, and one's own measurement, several times a second."""

import asyncio

import aiohttp

from cf_orch.protocol.messages import DeviceInfo, DevicesAnswer
from cf_orch.protocol.sizes import gb_to_bytes
from cf_orch.sidecar.demo.cast import Cast
from cf_orch.sidecar.demo.record import Record, Sample
from cf_orch.sidecar.demo.stage import Stage

__all__ = ["watch"]

SAMPLED_EVERY_S = 0.1


async def watch(stage: Stage) -> None:
    """Look for ever.  Raises aiohttp.ClientError if a coordinator does not answer that should."""
    cast, record = stage.cast, stage.record
    while True:
        at_s, device = stage.now_s, await _device(cast, record)
        measured = _by_service(record, await asyncio.to_thread(cast.engines.pss_bytes))
        sample = Sample(at_s, *_accounts(device), measured, device is not None and device.over_committed)
        record.samples.append(sample)
        stage.timeline.memory(sample, record.budget_bytes)
        await asyncio.sleep(SAMPLED_EVERY_S)


async def _device(cast: Cast, record: Record) -> DeviceInfo | None:
    """The device by the coordinator's word; None where that is known to be away."""
    if _is_away(record):
        return None
    try:
        devices = (await cast.coordinator.get("/devices", DevicesAnswer)).devices
    except aiohttp.ClientError:
        if _is_away(record):  # killed while it was asked
            return None
        raise
    return next(device for device in devices if device.uuid == cast.device.uuid)


def _accounts(device: DeviceInfo | None) -> tuple[int | None, int | None]:
    """What is charged, and what the driver sees in use."""
    if device is None:
        return None, None
    return gb_to_bytes(device.charged_gb), None if device.used_gb is None else gb_to_bytes(device.used_gb)


def _is_away(record: Record) -> bool:
    return record.outage.killed_at is not None and record.outage.returned_at is None


def _by_service(record: Record, measured: dict[int, int]) -> dict[str, int]:
    """What each product's models have; also notes the most that each process had."""
    have: dict[str, int] = {}
    for job in record.jobs.values():
        for stay in job.stays:
            size_bytes = measured.get(stay.pid, 0)
            stay.peak_bytes = max(stay.peak_bytes, size_bytes)
            have[job.service] = have.get(job.service, 0) + size_bytes
    return have
