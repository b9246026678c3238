"""An engine on a journal in memory, with a clock that is turned by hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cf_orch.coordinator.clock import HandTurnedClock
from cf_orch.coordinator.engine import Engine
from cf_orch.coordinator.journal import MemoryDisk, MemoryJournal
from cf_orch.ledger import Ledger, commands
from cf_orch.ledger.settings import Settings

GIB = 2**30

StartEngine = Callable[..., Awaitable[Engine]]


@pytest.fixture
def clock() -> HandTurnedClock:
    """Stand still until turned."""
    return HandTurnedClock()


@pytest.fixture
def disk() -> MemoryDisk:
    """What outlives an engine."""
    return MemoryDisk()


@pytest.fixture
async def start_engine(clock: HandTurnedClock, disk: MemoryDisk) -> AsyncIterator[StartEngine]:
    """Start engines on the same disk; each is stopped in the end."""
    engines: list[Engine] = []

    async def start(*, fail_after: int | None = None, settings: Settings | None = None) -> Engine:
        engine = Engine(MemoryJournal(disk, fail_after=fail_after), settings, clock=clock)
        engines.append(engine)
        await engine.start()
        return engine

    yield start
    for engine in engines:
        if not engine.stopping.is_set():
            await engine.stop()


def nothing(_ledger: Ledger, _now: float) -> None:
    """Look at nothing."""


async def with_card(engine: Engine, gb: int = 24) -> None:
    """Report a declared card d0 and open a session s1 of kiwi."""
    device = commands.DeviceReport(uuid="d0", name="RTX 4090", index=0, total_bytes=gb * GIB, has_driver=False)
    await engine.do(commands.ReportDevices(host_id="h", host_name="box", devices=(device,)), nothing)
    await engine.do(commands.OpenSession(session_id="s1", service="kiwi", host_id="h"), nothing)


async def request(engine: Engine, request_id: str, gb: int, session: str = "s1", service: str = "kiwi") -> str:
    """Ask for memory; returns the lease's id."""
    command = commands.Request(
        caller=session, request_id=request_id, service=service, size_bytes=gb * GIB, session_id=session
    )

    def lease_id(ledger: Ledger, _now: float) -> str:
        lease = ledger.find_request(session, request_id)
        assert lease is not None
        return lease.id

    return await engine.do(command, lease_id)


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)
