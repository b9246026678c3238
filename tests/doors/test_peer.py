"""Whose process is at the other end of a unix socket: the kernel says so, whatever the process calls itself."""

import os
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from tests.doors.conftest import connect

from cf_orch.coordinator.clock import HandTurnedClock
from cf_orch.coordinator.doors import make_app
from cf_orch.coordinator.engine import Engine
from cf_orch.doors import open_doors
from cf_orch.gpus import ProcFs

IN_A_CONTAINER = {"pid": 7, "pid_start": 1234}
"""What a process in a container knows of itself."""


@pytest.fixture
async def unix(engine: Engine, clock: HandTurnedClock, stack: AsyncExitStack, tmp_path: Path) -> aiohttp.ClientSession:
    """Serve the engine on a unix socket, and return an HTTP client of it."""
    path = tmp_path / "sock"
    await stack.enter_async_context(open_doors(make_app(engine, clock=clock), unix_path=path))
    connector = aiohttp.UnixConnector(str(path))
    return await stack.enter_async_context(aiohttp.ClientSession("http://localhost", connector=connector))


async def test_a_product_is_known_by_the_pid_that_the_kernel_gives(
    unix: aiohttp.ClientSession, stack: AsyncExitStack, engine: Engine
) -> None:
    """Its bytes are found under that pid in the driver's lists, and its death is seen."""
    socket = await connect(unix, stack)
    await socket.send_json({"id": 0, "op": "session.open", "service": "kiwi", "session_id": "s1", **IN_A_CONTAINER})
    assert (await socket.receive_json())["status"] == 201

    session = engine.ledger.sessions["s1"]
    assert (session.pid, session.pid_start) == (os.getpid(), ProcFs().start_ticks(os.getpid()))


async def test_who_speaks_for_others_is_taken_at_its_word(
    unix: aiohttp.ClientSession, stack: AsyncExitStack, engine: Engine
) -> None:
    """A sidecar's sessions are those of its product's processes, not its own."""
    socket = await connect(unix, stack, role="sidecar")
    await socket.send_json({"id": 0, "op": "session.open", "service": "kiwi", "session_id": "s1", **IN_A_CONTAINER})
    assert (await socket.receive_json())["status"] == 201

    session = engine.ledger.sessions["s1"]
    assert (session.pid, session.pid_start) == (7, 1234)


async def test_over_tcp_nobody_vouches(session: aiohttp.ClientSession, stack: AsyncExitStack, engine: Engine) -> None:
    """The kernel says nothing of the other end: a product is who it says it is."""
    socket = await connect(session, stack)
    await socket.send_json({"id": 0, "op": "session.open", "service": "kiwi", "session_id": "s1", **IN_A_CONTAINER})
    assert (await socket.receive_json())["status"] == 201

    assert engine.ledger.sessions["s1"].pid == 7
