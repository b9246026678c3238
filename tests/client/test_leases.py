"""Leases over a real coordinator: granting, queueing, leaving, and being cancelled anywhere."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from subprocess import PIPE
from typing import Any

import pytest

from cf_orch.client import (
    AsyncLease,
    LeaseLost,
    LeaseRefused,
    LeaseTimeout,
    NotAuthorized,
    Priority,
    ResourceCoordinator,
    VRAMSlot,
)

Handles = Callable[..., ResourceCoordinator]
Eventually = Callable[..., None]


@pytest.fixture
def coordinator(shared_server: Any, handle: Handles) -> ResourceCoordinator:
    return handle(shared_server.url, fallback="fail")


async def test_a_granted_lease(coordinator: ResourceCoordinator, shared_server: Any) -> None:
    """A granted lease says what it is, the coordinator shows it, and it is gone when the block ends."""
    slot = VRAMSlot("granted", "recipe_llm", 4.0, priority=Priority.BATCH)

    async with coordinator.lease(slot) as lease:
        (shown,) = shared_server.leases("granted")
        assert shown["id"] == lease.id
        assert shown["priority"] == 10
        assert lease.token == shown["token"]
        assert lease.vram_gb == 4
        assert lease.state == "active"
        assert not lease.local
        assert [device.name for device in lease.devices] == ["RTX 4090"]
        assert lease.env == shown["env"]

    assert shared_server.leases("granted") == []
    with pytest.raises(LeaseLost, match="block is over"):
        lease.id  # noqa: B018 - it raises


async def test_tokens_rise(coordinator: ResourceCoordinator) -> None:
    """Each lease has a greater token than the one before."""
    tokens = []
    for _ in range(3):
        async with coordinator.lease(VRAMSlot("tokens", "llm", 1)) as lease:
            tokens.append(lease.token or 0)

    assert tokens == sorted(set(tokens))


async def test_tasks_are_served_in_order(coordinator: ResourceCoordinator) -> None:
    """Tasks that cannot share the device get it one after the other, in the order in which they asked."""
    order: list[int] = []

    async def work(number: int) -> None:
        async with coordinator.lease(VRAMSlot("fifo", "llm", 20)):
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(work(number) for number in range(12)))

    assert order == list(range(12))


async def test_what_the_holder_says(coordinator: ResourceCoordinator, shared_server: Any) -> None:
    """Loaded, idle, busy and use() show in the lease's state; idle before loaded is refused with the reason."""
    async with coordinator.lease(VRAMSlot("says", "llm", 4, peak_gb=6)) as lease:
        assert lease.state == "loading"
        with pytest.raises(LeaseRefused, match="say loaded first") as refused:
            await lease.idle()
        assert refused.value.code == "still_loading"
        await lease.loaded()
        assert lease.state == "active"
        await lease.idle()
        assert shared_server.leases("says")[0]["state"] == "idle"
        async with lease.use():
            assert shared_server.leases("says")[0]["state"] == "active"
        await lease.idle()
        await lease.busy()
        assert lease.state == "active"
        await lease.attach(os.getpid())


@pytest.mark.parametrize(
    ("slot", "code", "says"),
    [
        (VRAMSlot("refused", "llm", 6000), "wrong_unit", "did you mean 6000 MB"),
        (VRAMSlot("refused", "llm", 48), "too_large", "the largest possible is 24 GB"),
        (VRAMSlot("refused", "llm", -1), "bad_value", "must be positive"),
        (VRAMSlot("refused", "llm", 4, device="H100"), "unknown_device", "no device is called 'H100'"),
    ],
)
async def test_refusals(coordinator: ResourceCoordinator, slot: VRAMSlot, code: str, says: str) -> None:
    """What is impossible is refused at once, with the coordinator's own words."""
    with pytest.raises(LeaseRefused, match=says) as refused:
        async with coordinator.lease(slot):
            pytest.fail("it was granted")

    assert refused.value.code == code


async def test_a_wait_that_is_too_long(coordinator: ResourceCoordinator, shared_server: Any) -> None:
    """A wait beyond max_wait_s ends with the numbers, and with what it waited for."""
    async with coordinator.lease(VRAMSlot("holder", "llm", 20)) as holder:
        with pytest.raises(LeaseTimeout, match=r"20 GB within 0.3 s: 20 GB needed, 4 GB free") as timeout:
            async with coordinator.lease(VRAMSlot("waiter", "llm", 20, max_wait_s=0.3)):
                pytest.fail("it was granted")
        waiting_for = timeout.value.waiting_for
        assert waiting_for is not None
        assert (waiting_for.rule, waiting_for.behind) == ("memory", [holder.id])

    assert shared_server.leases("waiter") == []


async def test_a_body_that_raises_releases(coordinator: ResourceCoordinator, shared_server: Any) -> None:
    """An error in the body comes out as it is, and the lease is released."""
    with pytest.raises(ZeroDivisionError):
        async with coordinator.lease(VRAMSlot("raises", "llm", 4)):
            raise ZeroDivisionError

    assert shared_server.leases("raises") == []


@pytest.mark.parametrize("blocker_gb", [1, 20], ids=["free", "queued"])
async def test_cancelled_anywhere(
    coordinator: ResourceCoordinator, shared_server: Any, eventually: Eventually, blocker_gb: float
) -> None:
    """Wherever a cancellation meets an opening, a body or a closing, nothing is left in the coordinator."""
    reached: set[str] = set()

    async def work() -> None:
        reached.add("asking")
        async with coordinator.lease(VRAMSlot("cancelled", "llm", 20)):
            reached.add("inside")
            await asyncio.sleep(0)
        reached.add("done")

    async def cancel_after(iterations: int) -> None:
        task = asyncio.create_task(work())
        for _ in range(iterations):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    for iterations in [*range(60), *range(60, 3000, 60)]:
        async with coordinator.lease(VRAMSlot("blocker", "llm", blocker_gb)):
            await cancel_after(iterations)

    assert reached == ({"asking"} if blocker_gb > 4 else {"asking", "inside", "done"})
    eventually(lambda: shared_server.leases("cancelled") == [])


async def test_cancelled_in_the_body(coordinator: ResourceCoordinator, shared_server: Any) -> None:
    """A cancelled body releases, and stays cancelled."""
    inside = asyncio.Event()

    async def work() -> None:
        async with coordinator.lease(VRAMSlot("body", "llm", 4)):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert shared_server.leases("body") == []


async def test_a_cancelled_waiter_gives_its_place_up(coordinator: ResourceCoordinator) -> None:
    """Who stood behind a cancelled waiter is served next."""
    async with coordinator.lease(VRAMSlot("place", "llm", 20)):
        first = asyncio.create_task(_hold(coordinator, VRAMSlot("place", "llm", 20)))
        second = asyncio.create_task(_hold(coordinator, VRAMSlot("place", "llm", 4, priority=Priority.BATCH)))
        await asyncio.sleep(0)
        first.cancel()
        await second

    assert second.result() == 4


async def _hold(coordinator: ResourceCoordinator, slot: VRAMSlot) -> float:
    async with coordinator.lease(slot) as lease:
        return lease.vram_gb


async def test_lost_interrupts_the_body(coordinator: ResourceCoordinator, shared_server: Any) -> None:
    """When an operator ends a lease, its body is interrupted at its await by LeaseLost; the task lives on."""

    async def work() -> None:
        async with coordinator.lease(VRAMSlot("lost", "llm", 4)) as lease:
            await asyncio.to_thread(shared_server.delete, f"/leases/{lease.id}")
            await asyncio.Event().wait()

    with pytest.raises(LeaseLost, match="was ended by the coordinator: released") as lost:
        await work()

    assert isinstance(lost.value.__cause__, asyncio.CancelledError)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_lost_and_cancelled_at_once_is_cancelled(coordinator: ResourceCoordinator, shared_server: Any) -> None:
    """A task that is cancelled for its own reasons too stays cancelled."""
    inside: asyncio.Future[AsyncLease] = asyncio.get_running_loop().create_future()
    interrupted = asyncio.Event()

    async def work() -> None:
        async with coordinator.lease(VRAMSlot("both", "llm", 4)) as lease:
            inside.set_result(lease)
            try:
                await asyncio.Event().wait()
            finally:
                interrupted.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(work())
    lease = await inside
    await asyncio.to_thread(shared_server.delete, f"/leases/{lease.id}")
    await interrupted.wait()
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()


async def test_a_body_that_swallows_the_interruption(coordinator: ResourceCoordinator, shared_server: Any) -> None:
    """A body that ignores the interruption still ends in LeaseLost, as does its next call on the lease."""

    async def work() -> None:
        async with coordinator.lease(VRAMSlot("swallow", "llm", 4)) as lease:
            await asyncio.to_thread(shared_server.delete, f"/leases/{lease.id}")
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            with pytest.raises(LeaseLost):
                await lease.idle()

    with pytest.raises(LeaseLost):
        await work()


def test_lost_in_a_thread(coordinator: ResourceCoordinator, shared_server: Any) -> None:
    """A blocking body hears of the loss from its next call, and at the end of its block."""
    opener = coordinator.lease(VRAMSlot("lost2", "llm", 4))
    lease = opener.__enter__()
    shared_server.delete(f"/leases/{lease.id}")

    with pytest.raises(LeaseLost, match="released"):
        lease.idle()
    with pytest.raises(LeaseLost, match="released"):
        opener.__exit__(None, None, None)


async def test_a_waiter_that_an_operator_ends(
    coordinator: ResourceCoordinator, shared_server: Any, eventually: Eventually
) -> None:
    """A queued request that an operator takes out of the queue is refused."""
    async with coordinator.lease(VRAMSlot("holder", "llm", 20)):
        waiter = asyncio.create_task(_hold(coordinator, VRAMSlot("queued", "llm", 20)))
        await asyncio.to_thread(eventually, lambda: shared_server.leases("queued"))
        (queued,) = shared_server.leases("queued")
        await asyncio.to_thread(shared_server.delete, f"/leases/{queued['id']}")

        with pytest.raises(LeaseRefused, match="taken out of the queue"):
            await waiter


def test_threads(coordinator: ResourceCoordinator, shared_server: Any) -> None:
    """Plain threads share the device, one at a time, through the blocking face."""
    inside, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with coordinator.lease(VRAMSlot("threads", "llm", 20)) as lease, lease.use():
            with lock:
                inside += 1
                most = max(most, inside)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (inside, most) == (0, 1)
    assert shared_server.leases("threads") == []


def test_several_loops(coordinator: ResourceCoordinator) -> None:
    """One handle serves several event loops, one after the other and beside each other."""
    results: list[float] = []

    def run() -> None:
        results.append(asyncio.run(_hold(coordinator, VRAMSlot("loops", "llm", 4))))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run()

    assert results == [4, 4, 4, 4]


async def test_with_in_a_running_loop(coordinator: ResourceCoordinator) -> None:
    """The blocking face in a running loop says why not, and what to write instead."""
    with pytest.raises(RuntimeError, match=r"would block the running event loop.*async with"):
        coordinator.lease(VRAMSlot("sync", "llm", 4)).__enter__()


async def test_one_session_for_a_service(coordinator: ResourceCoordinator, shared_server: Any) -> None:
    """All leases of one service are of one session, which names this process."""
    slot = VRAMSlot("one-session", "llm", 1)
    async with coordinator.lease(slot), coordinator.lease(slot):
        sessions = [one for one in shared_server.get("/sessions")["sessions"] if one["service"] == "one-session"]

    assert len(sessions) == 1
    assert sessions[0]["pid"] == os.getpid()
    assert len(sessions[0]["leases"]) == 2


async def test_asked_inside_use_of_an_evictable_lease(coordinator: ResourceCoordinator) -> None:
    """A request inside use() of the same service's evictable lease is refused, for it could wait for itself."""
    slot = VRAMSlot("itself", "llm", 4)
    async with coordinator.lease(slot, checkpoint=lambda: None) as lease, lease.use():
        with pytest.raises(LeaseRefused, match="wait for itself"):
            async with coordinator.lease(slot):
                pytest.fail("it was granted")


async def test_an_opener_opens_once_at_a_time(coordinator: ResourceCoordinator) -> None:
    """An opener may be used again, but not while it is open."""
    opener = coordinator.lease(VRAMSlot("again", "llm", 4))
    async with opener:
        with pytest.raises(RuntimeError, match="open already"):
            await opener.__aenter__()
    async with opener as lease:
        assert lease.vram_gb == 4


def test_close_releases(shared_server: Any, handle: Handles) -> None:
    """Closing a handle ends its sessions and leases; afterwards it opens nothing, and its leases are lost."""
    coordinator = handle(shared_server.url)
    opener = coordinator.lease(VRAMSlot("closed", "llm", 4))
    lease = opener.__enter__()

    coordinator.close()

    assert shared_server.leases("closed") == []
    with pytest.raises(LeaseLost, match="closed"):
        lease.idle()
    with pytest.raises(LeaseLost, match="closed"):
        opener.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="closed"):
        opener.__enter__()


def test_a_dropped_handle_closes(shared_server: Any) -> None:
    """A handle that nobody refers to any more ends its session."""
    coordinator = ResourceCoordinator(shared_server.url)
    with coordinator.lease(VRAMSlot("dropped", "llm", 4)):
        pass
    del coordinator

    sessions = [one["service"] for one in shared_server.get("/sessions")["sessions"]]
    assert "dropped" not in sessions


def test_ctrl_c(shared_server: Any, eventually: Eventually) -> None:
    """Ctrl-C in a blocking wait takes the request back, and in a body it releases."""
    code = f"""
import time
from cf_orch.client import ResourceCoordinator, VRAMSlot
coordinator = ResourceCoordinator({shared_server.url!r})
for what in ("first", "second"):
    try:
        with coordinator.lease(VRAMSlot("ctrl-c", "llm", 20)):
            print("inside", flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
input()
"""
    with (
        ResourceCoordinator(shared_server.url) as coordinator,
        subprocess.Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        with coordinator.lease(VRAMSlot("blocker", "llm", 20)):
            eventually(lambda: len(shared_server.leases("ctrl-c")) == 1)
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            eventually(lambda: len(shared_server.leases("ctrl-c")) == 1)  # the second, in the queue
        assert process.stdout.readline() == "inside\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert shared_server.leases("ctrl-c") == []
        process.communicate("\n")


def test_exit_releases(shared_server: Any, puppet: Callable[..., Any], eventually: Eventually) -> None:
    """A process that ends with a lease in hand gives it back."""
    process = puppet(shared_server.url)
    process.tell("ask", "a", 4)
    assert process.says() == "held a granted"
    assert len(shared_server.leases("puppet")) == 1

    process.process.stdin.close()
    process.process.wait()

    eventually(lambda: shared_server.leases("puppet") == [])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork(coordinator: ResourceCoordinator, shared_server: Any) -> None:
    """A forked child leases for itself, and does not touch what its parent holds."""
    with coordinator.lease(VRAMSlot("fork", "llm", 4)) as lease:
        mine = lease.id
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                with coordinator.lease(VRAMSlot("fork", "llm", 4)) as other:
                    os.write(write, other.id.encode())
                try:
                    lease.idle()
                except LeaseLost as lost:
                    os.write(write, f" {lost}".encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        os.close(write)
        with os.fdopen(read) as pipe:
            theirs, _, refusal = pipe.read().partition(" ")

        assert theirs
        assert theirs != mine
        assert "of another process" in refusal
        assert mine in [shown["id"] for shown in shared_server.leases("fork")]
        lease.idle()


async def test_not_authorized(server: Any, handle: Handles, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong token is said, whatever the fallback; the one in CF_ORCH_TOKEN is used without a word."""
    monkeypatch.setenv("CF_ORCH_TOKEN", "right")
    server.start()

    with pytest.raises(NotAuthorized, match="CF_ORCH_TOKEN"):
        await _hold(handle(server.url, token="wrong"), VRAMSlot("token", "llm", 4))
    assert await _hold(handle(server.url), VRAMSlot("token", "llm", 4)) == 4
