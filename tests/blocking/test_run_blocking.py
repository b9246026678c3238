"""Threads beside an event loop: few, in order, under a lease, told when nobody waits."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial

import pytest
from tests.pool.conftest import eventually

from cf_orch.client import LeaseLost, ResourceCoordinator, VRAMSlot
from cf_orch.client.blocking import BlockingThreads, cancellation, cancelled, drain_blocking, run_blocking

language: ContextVar[str] = ContextVar("language", default="none")


class Model:
    """Work that goes on until it is told to end, or to stop."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.running = 0
        self.most = 0
        self.stopped = 0

    def generate(self, prompt: str = "") -> str:
        """Run until it may end; look whether anybody still waits."""
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun.set()
        while not self.may_end.wait(0.001):
            if cancelled():
                self.stopped += 1
                break
        self.running -= 1
        return prompt.upper()


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.may_end.set()


@pytest.fixture
def threads() -> BlockingThreads:
    return BlockingThreads(2)


async def test_it_returns_and_raises(threads: BlockingThreads) -> None:
    """What the function returns is returned, with its keywords, and what it raises is raised."""
    assert await run_blocking(int, "ff", base=16) == 255
    assert await run_blocking(partial(int, "11", 2), threads=threads) == 3
    with pytest.raises(ValueError, match="invalid literal"):
        await run_blocking(int, "x", threads=threads)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await run_blocking(next, iter(()), threads=threads)


async def test_the_event_loop_goes_on(model: Model, threads: BlockingThreads) -> None:
    """It runs in a thread of these, neither the loop's nor its default executor's."""
    names = {await run_blocking(lambda: threading.current_thread().name, threads=threads) for _ in range(3)}
    task = asyncio.create_task(run_blocking(model.generate, "a", threads=threads))
    await eventually(model.begun.is_set)

    assert await asyncio.to_thread(lambda: 1) == 1
    model.may_end.set()

    assert await task == "A"
    assert all(name.startswith("cf-orch blocking") for name in names)


async def test_context_variables_are_seen(threads: BlockingThreads) -> None:
    """The function sees the caller's context variables; what it sets stays in the thread."""
    language.set("de")

    def change() -> str:
        seen = language.get()
        language.set("fr")
        return seen

    assert await run_blocking(change, threads=threads) == "de"
    assert language.get() == "de"


async def test_no_more_at_once_than_threads(model: Model, threads: BlockingThreads) -> None:
    """Two threads run two at once; the third waits for its turn, in order."""
    tasks = [asyncio.create_task(run_blocking(model.generate, name, threads=threads)) for name in "abcd"]
    await eventually(lambda: model.running == 2)

    model.may_end.set()

    assert await asyncio.gather(*tasks) == ["A", "B", "C", "D"]
    assert model.most == 2
    with pytest.raises(ValueError, match="at_once is at least 1"):
        BlockingThreads(0)


async def test_cancellation_is_told_and_waited_for(model: Model, threads: BlockingThreads) -> None:
    """A cancelled task ends when its work has, which is told; impatience does not hasten it."""
    ended = threading.Event()

    def work() -> None:
        model.begun.set()
        cancellation().wait()
        model.may_end.wait()
        ended.set()

    task = asyncio.create_task(run_blocking(work, threads=threads))
    await eventually(model.begun.is_set)

    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    model.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ended.is_set()


async def test_a_time_limit_stops_the_work(model: Model, threads: BlockingThreads) -> None:
    """asyncio.timeout cancels, the work is told, and TimeoutError comes out."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await run_blocking(model.generate, threads=threads)

    assert (model.stopped, model.running) == (1, 0)


async def test_work_that_had_not_begun_is_dropped(model: Model) -> None:
    """Cancelled in the queue it never runs, and its task ends at once."""
    threads = BlockingThreads(1)
    first = asyncio.create_task(run_blocking(model.generate, threads=threads))
    await eventually(model.begun.is_set)
    never = threading.Event()
    second = asyncio.create_task(run_blocking(never.set, threads=threads))
    await asyncio.sleep(0)

    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(second, 1)
    model.may_end.set()
    await first
    await threads.drain()

    assert not never.is_set()


def test_outside_nobody_has_cancelled() -> None:
    """A function that asks may also be called without run_blocking."""
    assert not cancelled()
    assert not cancellation().is_set()


async def test_drain_waits(model: Model, threads: BlockingThreads) -> None:
    """A drain lets what was accepted end, also what still waits, and refuses what comes later."""
    tasks = [asyncio.create_task(run_blocking(model.generate, name, threads=threads)) for name in "abc"]
    await eventually(lambda: model.running == 2)

    drain = asyncio.create_task(threads.drain())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="take no more work"):
        await run_blocking(int, threads=threads)
    assert not drain.done()
    model.may_end.set()
    await drain

    assert await asyncio.gather(*tasks) == ["A", "B", "C"]
    assert model.stopped == 0


async def test_drain_stops_the_late(model: Model, threads: BlockingThreads) -> None:
    """Who is late is told to stop, and waited for; who had not begun is told why it never will."""
    tasks = [asyncio.create_task(run_blocking(model.generate, name, threads=threads)) for name in "abc"]
    await eventually(lambda: model.running == 2)

    await threads.drain(within_s=0.01)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert outcomes[:2] == ["A", "B"]
    assert "it was not begun" in str(outcomes[2])
    assert model.stopped == 2


async def test_the_shared_threads_can_be_drained(model: Model) -> None:
    """Without a lease, work shares this process's threads; after their drain there are new ones."""
    task = asyncio.create_task(run_blocking(model.generate, "a"))
    await eventually(model.begun.is_set)

    await drain_blocking(within_s=0)

    assert await task == "A"
    assert model.stopped == 1
    assert await run_blocking(int, "7") == 7


async def test_a_lease_runs_one_at_a_time(coordinator: ResourceCoordinator, model: Model) -> None:
    """What runs under one lease takes turns; what runs under another, or under none, does not wait for it."""
    async with (
        coordinator.lease(VRAMSlot("blocking-turns", "llm", 4)) as lease,
        coordinator.lease(VRAMSlot("blocking-other", "llm", 4)) as other,
    ):
        tasks = [asyncio.create_task(run_blocking(model.generate, name, lease=lease)) for name in "abc"]
        await eventually(model.begun.is_set)

        assert await run_blocking(int, "7", lease=other) == 7
        assert await run_blocking(int, "7") == 7
        model.may_end.set()

        assert await asyncio.gather(*tasks) == ["A", "B", "C"]
        assert model.most == 1


async def test_a_lease_is_kept_while_its_work_runs(coordinator: ResourceCoordinator, model: Model) -> None:
    """A cancelled block gives its lease back only when the thread has ended."""

    async def block() -> None:
        async with coordinator.lease(VRAMSlot("blocking-kept", "llm", 20)) as lease:
            await run_blocking(slow_to_stop, lease=lease)

    ended_at = 0.0

    def slow_to_stop() -> None:
        nonlocal ended_at
        model.begun.set()
        cancellation().wait()
        time.sleep(0.05)
        ended_at = time.monotonic()

    task = asyncio.create_task(block())
    await eventually(model.begun.is_set)
    task.cancel()
    async with coordinator.lease(VRAMSlot("blocking-next", "llm", 20)):
        granted_at = time.monotonic()
    await asyncio.gather(task, return_exceptions=True)

    assert 0 < ended_at <= granted_at


async def test_a_lost_lease_stops_the_work(coordinator_url: str, model: Model) -> None:
    """When the lease is lost, the work in its block is told, and LeaseLost comes out when it has ended."""
    own = ResourceCoordinator(coordinator_url, fallback="fail")

    async def block() -> None:
        async with own.lease(VRAMSlot("blocking-lost", "llm", 4)) as lease:
            await run_blocking(model.generate, lease=lease)

    task = asyncio.create_task(block())
    await eventually(model.begun.is_set)
    await asyncio.to_thread(own.close)

    with pytest.raises(LeaseLost):
        await asyncio.wait_for(task, 5)
    assert (model.stopped, model.running) == (1, 0)


async def test_a_lease_that_is_over(coordinator: ResourceCoordinator, model: Model) -> None:
    """Under a lease that has ended nothing begins."""
    async with coordinator.lease(VRAMSlot("blocking-over", "llm", 4)) as lease:
        pass

    with pytest.raises(LeaseLost, match="block is over"):
        await run_blocking(model.generate, lease=lease)
    assert not model.begun.is_set()
