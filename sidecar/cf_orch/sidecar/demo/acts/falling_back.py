"""The second act: the coordinator is killed, the products go on by turns, it returns, and they go on under it."""

import asyncio

from cf_orch.protocol.messages import LeaseInfo, LeasesAnswer
from cf_orch.sidecar.demo.record import Job
from cf_orch.sidecar.demo.script import FALLING_BACK
from cf_orch.sidecar.demo.stage import Stage
from cf_orch.sidecar.demo.turns import who_stands_in_line

__all__ = ["play"]

LOOKED_AT_EVERY_S = 0.02


async def play(stage: Stage) -> None:
    """Kill the coordinator while one holds and the other waits; let it return while it is so again."""
    held, waiting, held_alone, waiting_alone = (stage.record.jobs[name] for name in FALLING_BACK)
    stage.ask(held)
    await stage.until(lambda: bool(held.begun))
    stage.ask(waiting)
    await _queued(stage, waiting)
    await _kill(stage)
    await _in_line(stage, waiting)
    stage.ask(held_alone)
    await _in_line(stage, held_alone)
    await stage.until(lambda: waiting.granted_at is not None)
    stage.ask(waiting_alone)
    await stage.until(lambda: bool(held_alone.begun))
    await _return(stage)
    await stage.until(lambda: held_alone.over or not held_alone.readings[-1].local)
    await _note_adoption(stage, held_alone)
    await stage.until(lambda: all(stage.record.jobs[name].over for name in FALLING_BACK))


async def _queued(stage: Stage, job: Job) -> None:
    """Wait until the coordinator knows of a request; its answer to it is on disk by then."""
    while not job.over:
        leases = (await stage.cast.coordinator.get("/leases", LeasesAnswer)).leases
        if any(lease.service == job.service and lease.state == "queued" for lease in leases):
            return
        await asyncio.sleep(LOOKED_AT_EVERY_S)


async def _kill(stage: Stage) -> None:
    outage = stage.record.outage
    outage.killed_at = stage.now_s
    await stage.cast.coordinator.kill()
    stage.timeline.killed(stage.now_s)


async def _return(stage: Stage) -> None:
    stage.timeline.returning(stage.now_s)
    await stage.cast.coordinator.start()
    stage.record.outage.returned_at = stage.now_s
    stage.timeline.returned(stage.now_s)


async def _note_adoption(stage: Stage, job: Job) -> None:
    """Ask the coordinator itself what it takes the lease for that went on without it."""
    if job.over:
        return
    reading = job.readings[-1]
    lease = await stage.cast.coordinator.get(f"/leases/{reading.lease_id}", LeaseInfo)
    if lease.adopted:
        stage.record.outage.adopted.add(lease.id)


async def _in_line(stage: Stage, job: Job) -> None:
    """Wait until the sidecar of a job's product stands in this host's own line for it."""
    sidecar = stage.cast.sidecars[job.service].pid
    while not job.over and sidecar not in who_stands_in_line(stage.cast.turns):  # noqa: ASYNC110 - a file
        await asyncio.sleep(LOOKED_AT_EVERY_S)
    job.in_line_at = stage.now_s
    stage.timeline.stands_in_line(stage.now_s, job)
