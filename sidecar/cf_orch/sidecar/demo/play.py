"""The whole of it: everybody on stage, one act after the other, and an eye on the memory meanwhile."""

import asyncio
from pathlib import Path

import aiohttp

from cf_orch.sidecar.demo.acts import falling_back, yielding
from cf_orch.sidecar.demo.cast import on_stage
from cf_orch.sidecar.demo.processes import Died, NotUp
from cf_orch.sidecar.demo.record import Record
from cf_orch.sidecar.demo.stage import Stage, WentWrong
from cf_orch.sidecar.demo.timeline import Timeline
from cf_orch.sidecar.demo.watching import watch

__all__ = ["play"]

OVER_WITHIN_S = 180.0
ACTS = (
    ("1: a batch yields to what is more urgent, and comes back", yielding.play),
    ("2: the coordinator is killed, and comes back", falling_back.play),
)


async def play(python: Path, scratch: Path, timeline: Timeline) -> Record:
    """Run the whole of it, with the products in the Python that has the parts; ends all that it started.

    Raises Died, NotUp or aiohttp.ClientError if it cannot begin; what goes wrong later is in the record.
    """
    async with on_stage(python, scratch, timeline) as cast:
        stage = Stage(cast, timeline)
        await _to_its_end(stage)
        return stage.record


async def _to_its_end(stage: Stage) -> None:
    jobs = stage.record.jobs.values()
    try:
        async with asyncio.timeout(OVER_WITHIN_S), asyncio.TaskGroup() as group:
            beside = [group.create_task(stage.listen(service)) for service in stage.cast.products]
            beside.append(group.create_task(watch(stage)))
            for title, act in ACTS:
                stage.timeline.act(title)
                await act(stage)
            for task in beside:
                task.cancel()
    except* TimeoutError:
        stage.give_up(jobs, f"not over after {OVER_WITHIN_S:.0f} s")
    except* WentWrong:
        stage.give_up(jobs, "not done, for the run ended before")
    except* (Died, NotUp) as failures:
        stage.give_up(jobs, str(failures.exceptions[0]))
    except* aiohttp.ClientError as failures:
        stage.give_up(jobs, f"the coordinator does not answer: {failures.exceptions[0]}")
