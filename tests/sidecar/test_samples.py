"""Who observes a host is asked to look the moment memory is being given back there, and told whether to look again."""

import asyncio
import time
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from tests.doors.conftest import GIB, connect
from tests.sidecar.conftest import until

from cf_orch.coordinator.engine import Engine
from cf_orch.ledger import commands
from cf_orch.sidecar.looking import keep_looking


async def observer(session: aiohttp.ClientSession, stack: Any, name: str, host_id: str) -> Any:
    """A session that reports a card with a driver on a host, as an observer does."""
    socket = await connect(session, stack)
    await socket.send_json({"id": 1, "op": "session.open", "service": "sidecar", "session_id": name})
    assert (await socket.receive_json())["status"] == 201
    await report(socket, host_id, used_gb=0)
    return socket


async def report(socket: Any, host_id: str, used_gb: float) -> dict[str, Any]:
    item = {
        "uuid": f"GPU-{host_id}", "name": "RTX 4090", "total_bytes": 24 * GIB,
        "used_bytes": int(used_gb * GIB), "free_bytes": int((24 - used_gb) * GIB),
    }  # fmt: skip
    call = {"id": 2, "op": "devices.report", "host_id": host_id, "host_name": host_id, "devices": [item]}
    await socket.send_json(call)
    answer: dict[str, Any] = await socket.receive_json()
    assert answer["status"] == 200
    return dict(answer["body"])


async def test_observers_of_the_host_are_asked_to_look(engine: Engine, coordinator_url: str, stack: Any) -> None:
    """A release on one host: its observer hears ``sample`` and, while the driver shows the bytes, ``coming_back``."""
    session = await stack.enter_async_context(aiohttp.ClientSession(coordinator_url))
    here, there = await observer(session, stack, "here", "h1"), await observer(session, stack, "there", "h2")
    body = {"service": "kiwi", "vram_gb": 8, "device": "GPU-h1", "host": "any"}
    async with session.post("/api/v1/leases", json=body) as answer:
        lease_id = (await answer.json())["id"]
    body = {"pid": 4711}
    async with session.post(f"/api/v1/leases/{lease_id}/attach", json=body) as answer:
        assert answer.status == 200
    held = await report(here, "h1", used_gb=8)

    await engine.do(commands.Release(lease_id=lease_id), lambda *_: None)
    notice = await here.receive_json()
    waiting = await report(here, "h1", used_gb=8)
    elsewhere = await report(there, "h2", used_gb=0)
    freed = await report(here, "h1", used_gb=0)

    assert notice["notice"] == "sample"
    assert [4711, None] in held["attached"]
    assert (held["coming_back"], waiting["coming_back"], elsewhere["coming_back"]) == (False, True, False)
    assert not freed["coming_back"]
    assert lease_id in engine.ledger.ended


class Enough(Exception):  # noqa: N818 - what ends a test's loop
    """It has looked often enough."""


async def test_looks_are_frequent_while_memory_comes_back() -> None:
    """Asked to look: at once, and after 20, 50 and 100 ms; then every 250 ms until it is there."""
    wanted, looks = asyncio.Event(), list[float]()

    async def look() -> bool:
        looks.append(time.monotonic())
        if len(looks) == 6:
            raise Enough
        return True

    wanted.set()
    looking = asyncio.create_task(keep_looking(look, wanted))
    await until(lambda: len(looks) == 1)
    wanted.set()
    with pytest.raises(Enough):
        await looking

    pauses = [later - earlier for earlier, later in pairwise(looks)]
    assert all(pause >= meant for pause, meant in zip(pauses[1:], (0.02, 0.05, 0.1, 0.25), strict=True))
    assert sum(pauses) < 5 * 1.0, "more often than each second"
