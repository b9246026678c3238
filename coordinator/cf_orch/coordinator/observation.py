"""The coordinator's own look at its own machine: each second, and at once when memory is being given back."""

import asyncio
from contextlib import suppress
from functools import partial

from cf_orch.coordinator.doors.commands import report_of
from cf_orch.coordinator.engine import Engine, EngineStopped
from cf_orch.coordinator.returning import pids_on, something_comes_back
from cf_orch.ledger import Ledger
from cf_orch.sidecar.looking import keep_looking
from cf_orch.sidecar.observer import Observer

__all__ = ["look_once", "observe"]


async def observe(engine: Engine, observer: Observer) -> None:
    """Look and report until the engine stops."""
    with suppress(EngineStopped):
        await keep_looking(partial(look_once, engine, observer), engine.sample_wanted)


async def look_once(engine: Engine, observer: Observer) -> bool:
    """Take one look; tell whether something is still being given back."""
    observer.attached_pids = pids_on(engine.ledger, observer.host_id)
    report = await asyncio.to_thread(observer.look)

    def coming_back(ledger: Ledger, _now: float) -> bool:
        return something_comes_back(ledger, report.host_id)

    return await engine.do(report_of(report), coming_back)
