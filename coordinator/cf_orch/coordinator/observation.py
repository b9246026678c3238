"""The coordinator's own look at its own machine: each second, and at once when memory is being given back."""

import asyncio
from collections.abc import Iterator
from itertools import chain, repeat

from cf_orch.coordinator.doors.commands import report_of
from cf_orch.coordinator.engine import Engine, EngineStopped
from cf_orch.ledger import Lease, Ledger, State
from cf_orch.ledger.records import Pid
from cf_orch.sidecar.observer import Observer

__all__ = ["look_once", "observe"]

LOOK_EVERY_S = 1.0
LOOKS_AFTER_RELEASE_S = (0.0, 0.02, 0.05, 0.1)
LOOK_WHILE_CLOSING_EVERY_S = 0.25


async def observe(engine: Engine, observer: Observer) -> None:
    """Look and report until the engine stops."""
    impatience: Iterator[float] = iter(())
    while not engine.stopping.is_set():
        engine.sample_wanted.clear()
        try:
            closing = await look_once(engine, observer)
        except EngineStopped:
            return
        if engine.sample_wanted.is_set():
            impatience = chain(LOOKS_AFTER_RELEASE_S, repeat(LOOK_WHILE_CLOSING_EVERY_S))
        pause_s = next(impatience, LOOK_EVERY_S) if closing else LOOK_EVERY_S
        if await _wanted_within(engine, pause_s):
            impatience = chain(LOOKS_AFTER_RELEASE_S[1:], repeat(LOOK_WHILE_CLOSING_EVERY_S))


async def look_once(engine: Engine, observer: Observer) -> bool:
    """Take one look; tell whether something is still being given back."""
    observer.attached_pids = tuple({pid for lease in engine.ledger.leases.values() for pid in _users(engine, lease)})
    report = await asyncio.to_thread(observer.look)
    return await engine.do(report_of(report), _something_closes)


def _users(engine: Engine, lease: Lease) -> tuple[Pid, ...]:
    """The processes whose RAM a lease pays for: those attached, and its session's own only where none is.

    A product that loads its model into another process keeps some RAM itself for as long as it lives.
    """
    session = engine.ledger.sessions.get(lease.session_id or "")
    own = None if session is None else (session.pid, session.pid_start)
    return tuple(pid for pid in lease.pids if pid != own) or lease.pids


def _something_closes(ledger: Ledger, _now: float) -> bool:
    return any(lease.state is State.CLOSING for lease in ledger.leases.values())


async def _wanted_within(engine: Engine, pause_s: float) -> bool:
    try:
        async with asyncio.timeout(pause_s):
            await engine.sample_wanted.wait()
    except TimeoutError:
        return False
    return True
