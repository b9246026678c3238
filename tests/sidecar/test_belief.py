"""A sidecar passes on no more validity than it has itself."""

import signal
import time
from typing import Any

import aiohttp
from tests.client.conftest import Server
from tests.doors.conftest import HttpDoor
from tests.sidecar.conftest import StartSidecar, until_said

TTL_S = 3.0


async def test_beliefs_do_not_add_up(server: Server, start_sidecar: StartSidecar, stack: Any) -> None:
    """The coordinator freezes; a process that renews at a sidecar that must not go local is told less and less."""
    server.start()
    sidecar = start_sidecar(server.url, "kiwi", "--fallback", "wait")
    door = HttpDoor(await stack.enter_async_context(aiohttp.ClientSession(sidecar.url)))
    await door.call("session.open", service="kiwi", session_id="s1", ttl_s=TTL_S)
    lease = await door.call("lease.request", service="kiwi", vram_gb=4, by="s1")
    assert lease.status == 201
    frozen_at = time.monotonic()
    server.signal(signal.SIGSTOP)

    believed_until = list[float]()
    while True:
        sent_at = time.monotonic()
        said = await door.call("session.renew", subject="s1", by="s1")
        if said.status != 200:
            break
        believed_until.append(sent_at + said.body["ttl_s"] * 4 / 3)
    ended_at = time.monotonic()
    lost = await until_said(
        lambda: door.call("lease.get", subject=lease.body["id"]), lambda said: said.body["state"] == "ended"
    )

    assert said.body["code"] == "stopping"
    assert max(believed_until) <= frozen_at + TTL_S * 4 / 3 + 0.1
    assert ended_at <= frozen_at + TTL_S * 4 / 3 + 1.0
    assert lost.body["outcome"] == "lost"
