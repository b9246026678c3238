"""A coordinator that is killed, frozen, restarted or forgets, while leases are held and wanted."""

import asyncio
import contextlib
import signal
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cf_orch.client import (
    AsyncLease,
    CoordinatorAwayWarning,
    CoordinatorUnreachable,
    LeaseLost,
    ResourceCoordinator,
    VRAMSlot,
)

SLOT = VRAMSlot("kiwi", "llm", 16)

Handles = Callable[..., ResourceCoordinator]
Eventually = Callable[..., None]


@pytest.fixture(autouse=True)
def _quietly() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CoordinatorAwayWarning)
        yield


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for what another process does; the loop runs on meanwhile."""
    async with asyncio.timeout(15):
        while not (met := await asyncio.to_thread(condition)):  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.005)
    return met


async def test_a_restart_goes_unnoticed(server: Any, handle: Handles) -> None:
    """Kill -9 and a restart on the same state: the body goes on, with the same lease and token."""
    server.start()
    coordinator = handle(server.url)
    async with coordinator.lease(SLOT) as lease:
        before = lease.id, lease.token

        server.kill()
        await asyncio.to_thread(server.start)
        sessions = await until(lambda: server.get("/sessions")["sessions"])
        await until(lambda: coordinator_is_back(coordinator))

        assert (lease.id, lease.token) == before
        assert not lease.local
        assert [session["leases"] for session in sessions] == [[lease.id]]
        async with lease.use():
            pass
    assert server.leases("kiwi") == []


def coordinator_is_back(coordinator: ResourceCoordinator) -> bool:
    """Look inside whether the handle's one session is connected again."""
    process = coordinator._process
    assert process is not None
    return all(session._link is not None for session in process._sessions.values())


async def test_a_coordinator_that_forgot_adopts(server: Any, handle: Handles, tmp_path: Path) -> None:
    """A restart on an empty state: the lease is adopted under a new id, idle stays idle, and the body goes on."""
    server.start()
    coordinator = handle(server.url)
    async with coordinator.lease(SLOT) as lease, coordinator.lease(VRAMSlot("kiwi", "llm", 2)) as warm:
        await warm.idle()
        before = lease.id

        server.kill()
        await asyncio.to_thread(server.start, tmp_path / "fresh")
        shown = await until(lambda: [one for one in server.leases("kiwi") if one["vram_gb"] == 16])
        await until(lambda: "idle" in [one["state"] for one in server.leases("kiwi")])

        assert shown[0]["adopted"]
        assert shown[0]["id"] != before
        await until(lambda: lease.id == shown[0]["id"])
        assert lease.token == shown[0]["token"]
        assert [one["vram_gb"] for one in server.leases("kiwi") if one["state"] == "idle"] == [2]
    assert server.leases("kiwi") == []


async def test_waiters_keep_their_order(server: Any, handle: Handles) -> None:
    """Requests that wait while the coordinator is killed and restarted are served in their order."""
    server.start()
    coordinator = handle(server.url, fallback="wait")
    order: list[int] = []

    async def work(number: int) -> None:
        async with coordinator.lease(SLOT):
            order.append(number)

    async with coordinator.lease(SLOT):
        tasks = [asyncio.create_task(work(number)) for number in range(4)]
        await until(lambda: len(server.leases("kiwi")) == 5)
        server.kill()
        tasks.append(asyncio.create_task(work(4)))
        await asyncio.to_thread(server.start)
        await until(lambda: len(server.leases("kiwi")) == 5 + 1)
    await asyncio.gather(*tasks)

    assert order == [0, 1, 2, 3, 4]


async def test_what_was_left_while_it_was_away_is_not_held(server: Any, handle: Handles) -> None:
    """A lease released and a request cancelled while the coordinator is down are gone when it is back."""
    server.start()
    coordinator = handle(server.url, fallback="wait")
    async with coordinator.lease(VRAMSlot("kiwi", "llm", 2)):
        async with coordinator.lease(SLOT):
            waiter = asyncio.create_task(hold(coordinator))
            await until(lambda: len(server.leases("kiwi")) == 3)
            server.kill()
            waiter.cancel()
            await asyncio.wait([waiter])
        await asyncio.to_thread(server.start)

        await until(lambda: [one["vram_gb"] for one in server.leases("kiwi")] == [2])
    assert waiter.cancelled()


async def hold(coordinator: ResourceCoordinator, slot: VRAMSlot = SLOT) -> bool:
    async with coordinator.lease(slot) as lease:
        return lease.local


async def test_a_killed_coordinator_is_done_without(server: Any, handle: Handles) -> None:
    """A waiter of a killed coordinator gets its turn as soon as the holder leaves, and returns when it is back."""
    server.start()
    coordinator = handle(server.url)
    got: asyncio.Future[AsyncLease] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def wait_for_it() -> None:
        async with coordinator.lease(SLOT) as lease:
            got.set_result(lease)
            await leave.wait()

    async with coordinator.lease(SLOT):
        task = asyncio.create_task(wait_for_it())
        await until(lambda: len(server.leases("kiwi")) == 2)
        server.kill()
        killed_at = time.monotonic()
    lease = await got
    assert lease.local
    assert time.monotonic() - killed_at < 1

    await asyncio.to_thread(server.start)
    await until(lambda: not lease.local)
    (shown,) = server.leases("kiwi")

    assert (shown["id"], shown["adopted"]) == (lease.id, True)
    assert lease.token == shown["token"]
    leave.set()
    await task
    assert server.leases("kiwi") == []


async def test_a_lease_taken_before_any_coordinator_ran_returns_to_it(server: Any, handle: Handles) -> None:
    """What was local from the start is adopted by the coordinator that then begins, on the device that it has."""
    coordinator = handle(server.url)
    async with coordinator.lease(SLOT) as lease:
        assert lease.local

        await asyncio.to_thread(server.start)
        await until(lambda: not lease.local)

        assert [device.name for device in lease.devices] == ["RTX 4090"]
        assert [one["id"] for one in server.leases("kiwi")] == [lease.id]


async def test_a_frozen_coordinator_is_missed(server: Any, handle: Handles) -> None:
    """A coordinator that is stopped by SIGSTOP is noticed by its silence; what went local then returns to it."""
    server.start()
    coordinator = handle(server.url)
    async with coordinator.lease(VRAMSlot("kiwi", "llm", 2)) as held:
        before = held.id
        server.signal(signal.SIGSTOP)
        frozen_at = time.monotonic()
        async with coordinator.lease(SLOT) as lease:
            assert lease.local
            assert time.monotonic() - frozen_at < 2.5

            server.signal(signal.SIGCONT)
            await until(lambda: not lease.local)
            assert sorted(one["id"] for one in server.leases("kiwi")) == sorted([held.id, lease.id])
        assert held.id == before
    assert server.leases("kiwi") == []


async def test_fail_says_so(server: Any, handle: Handles) -> None:
    """fallback="fail": a waiter of a killed coordinator gets CoordinatorUnreachable, a holder goes on."""
    server.start()
    coordinator = handle(server.url, fallback="fail")
    async with coordinator.lease(SLOT) as lease:
        waiter = asyncio.create_task(hold(coordinator))
        await until(lambda: len(server.leases("kiwi")) == 2)
        server.kill()

        with pytest.raises(CoordinatorUnreachable, match="Connection refused"):
            await waiter
        assert lease.state == "active"


@pytest.mark.parametrize("fallback", ["wait", "fail"])
async def test_lost_when_no_heartbeat_is_acknowledged(server: Any, handle: Handles, fallback: str) -> None:
    """Without a local fallback a lease is in doubt at 2/3 of its time to live and lost at 4/3."""
    server.start()
    coordinator = handle(server.url, fallback=fallback, ttl_s=1)

    async def work() -> None:
        async with coordinator.lease(SLOT) as lease, asyncio.timeout(5):
            server.kill()
            while True:
                async with lease.use():
                    await asyncio.sleep(0.01)

    with pytest.raises(LeaseLost, match="no heartbeat was acknowledged"):
        await work()


async def test_goes_on_locally_when_no_heartbeat_is_acknowledged(server: Any, handle: Handles) -> None:
    """With a local fallback a lease in doubt goes on as a local one, says so once, and returns."""
    server.start()
    coordinator = handle(server.url, ttl_s=1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        async with coordinator.lease(SLOT) as lease, coordinator.lease(VRAMSlot("kiwi", "llm", 2)) as other:
            server.kill()
            await until(lambda: lease.local and other.local)
            assert lease.token is None
            async with lease.use():
                pass

            await asyncio.to_thread(server.start)
            await until(lambda: not lease.local)
            assert lease.token is not None
    assert [warning.category for warning in seen] == [CoordinatorAwayWarning]


async def test_a_stop_that_was_announced_is_waited_for(server: Any, handle: Handles) -> None:
    """A coordinator that ends by SIGTERM says so: nobody goes local before it had the time to come back."""
    server.start()
    coordinator = handle(server.url)
    async with coordinator.lease(SLOT) as lease:
        waiter = asyncio.create_task(hold(coordinator))
        await until(lambda: len(server.leases("kiwi")) == 2)
        server.signal(signal.SIGTERM)
        server.process.wait()
        before = lease.id
        await asyncio.to_thread(server.start)
        await until(lambda: coordinator_is_back(coordinator))
        assert lease.id == before

    assert await waiter is False


def test_turns_of_processes_end_when_it_is_back(
    server: Any, puppet: Callable[..., Any], runtime_dir: Path, eventually: Eventually
) -> None:
    """Two processes that take turns while it is away both return: one holds its lease, the other queues behind it."""
    server.start()
    first, second = puppet(server.url), puppet(server.url)
    first.tell("ask", "a", 20)
    assert first.says() == "held a granted"
    second.tell("ask", "b", 20)
    eventually(lambda: len(server.leases("puppet")) == 2)
    before = [one["id"] for one in server.leases("puppet")]
    server.kill()
    first.tell("leave", "a")
    assert first.says() == "left a"
    assert second.says() == "held b local"
    first.tell("ask", "c", 20)
    eventually(lambda: (runtime_dir / "local.json").read_text().count("owner-") == 2)

    server.start()

    def is_settled() -> bool:
        leases = server.leases("puppet")
        return [one["state"] for one in leases] == ["active", "queued"] and leases[1]["id"] not in before

    eventually(is_settled)
    second.tell("leave", "b")

    assert second.says() == "left b"
    assert first.says() == "held c granted"


def test_a_blocked_loop_keeps_its_lease(server: Any, handle: Handles) -> None:
    """A model that blocks the event loop for longer than the time to live does not cost the lease."""
    server.start()
    coordinator = handle(server.url, ttl_s=1)

    async def work() -> str:
        async with coordinator.lease(SLOT) as lease:
            threading.Event().wait(2)
            return lease.state

    assert asyncio.run(work()) == "active"


def test_a_process_that_slept_learns_what_it_lost(
    shared_server: Any, puppet: Callable[..., Any], eventually: Eventually
) -> None:
    """A process that was stopped for longer than its time to live loses its lease; its request still stands."""
    sleeper = puppet(shared_server.url, ttl_s=1)
    sleeper.tell("ask", "a", 20)
    assert sleeper.says() == "held a granted"
    sleeper.tell("ask", "b", 20)
    eventually(lambda: len(shared_server.leases("puppet")) == 2)

    sleeper.process.send_signal(signal.SIGSTOP)
    eventually(lambda: shared_server.leases("puppet") == [])
    sleeper.process.send_signal(signal.SIGCONT)

    assert sleeper.says() == "held b granted"
    sleeper.tell("leave", "a")
    assert sleeper.says().startswith("lost a")


async def test_faults_under_load(server: Any, handle: Handles) -> None:
    """Through kills, freezes and announced stops, no two tasks ever use the device at once, and nothing is left."""
    await asyncio.to_thread(server.start)
    coordinator = handle(server.url)
    inside, most, served = 0, 0, 0
    enough = asyncio.Event()

    async def work(patience_s: float) -> None:
        nonlocal inside, most, served
        while not enough.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s), coordinator.lease(SLOT):
                    inside += 1
                    most = max(most, inside)
                    try:
                        await asyncio.sleep(0.005)
                    finally:
                        inside -= 1
                        served += 1

    async def serve_more(count: int) -> None:
        target = served + count
        await until(lambda: served >= target)

    workers = [asyncio.create_task(work(patience_s)) for patience_s in (0.05, 0.1, 0.2, 10, 10, 10, 10, 10)]
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM):
        await serve_more(10)
        server.signal(number)
        if number != signal.SIGTERM:
            await serve_more(3)
        if number == signal.SIGSTOP:
            server.signal(signal.SIGCONT)
        else:
            await asyncio.to_thread(server.process.wait)
            await asyncio.to_thread(server.start)
    await serve_more(10)
    enough.set()
    await asyncio.gather(*workers)

    assert most == 1
    await until(lambda: server.leases("kiwi") == [])
