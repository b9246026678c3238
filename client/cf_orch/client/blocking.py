"""Blocking work beside an event loop: ``model.generate()`` in threads of its own, few, and told when nobody waits.

    from cf_orch.client.blocking import cancelled, run_blocking

    def generate(prompt: str) -> str:
        for token in model.stream(prompt):
            if cancelled():  # the client has hung up: stop
                break
            ...

    async with coordinator.lease(slot) as lease:
        text = await run_blocking(generate, prompt, lease=lease)

A lease is memory for one piece of work: what runs under the same lease runs one after the other, in the order in which
it was asked for, and inside ``lease.use()``.  What has no lease shares a few threads of this process.  None of it takes
threads from the event loop's default executor, or from a web framework's, which would be missing where requests wait.

A thread cannot be stopped from outside.  When the awaiting task is cancelled, the work is told (``cancelled()``), and
the task waits until it has ended: else the lease would be given back while the model still runs in its memory.  Work
that had not begun is dropped at once.
"""

import asyncio
import contextvars
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Generic, TypeVar

from cf_orch.client.lease import AsyncLease

__all__ = ["BlockingThreads", "cancellation", "cancelled", "drain_blocking", "run_blocking"]

T = TypeVar("T")

SHARED_THREADS = min(4, os.cpu_count() or 1)

_cancellation: ContextVar[threading.Event] = ContextVar("cancellation")


async def run_blocking(
    function: Callable[..., T],
    /,
    *args: Any,
    lease: AsyncLease | None = None,
    threads: "BlockingThreads | None" = None,
    **kwargs: Any,
) -> T:
    """Call a function in a thread, and return what it returns, or raise what it raises.

    It sees the caller's context variables.  With a ``lease`` it waits for its turn under it; ``threads`` says in whose
    threads it runs otherwise.  For a function with a parameter of either name use functools.partial.  Raises LeaseLost
    for a lease that is over, RuntimeError while it drains.
    """
    call = partial(function, *args, **kwargs)
    if lease is None:
        return await (threads or _shared()).run(call)
    under = _under(lease)
    async with under.turn, lease.use():
        return await (threads or under.threads).run(call)


def cancelled() -> bool:
    """Tell whether nobody waits any more for the work in which this is called; False outside of ``run_blocking``."""
    return cancellation().is_set()


def cancellation() -> threading.Event:
    """The event behind ``cancelled()``, to be asked from other threads: those of an engine's callbacks, say."""
    return _cancellation.get(threading.Event())


async def drain_blocking(lease: AsyncLease | None = None, *, within_s: float | None = None) -> None:
    """Accept nothing more under a lease, or in the shared threads, and wait until all has ended.

    Whoever still runs after ``within_s`` seconds is told to stop, and waited for.
    """
    if lease is not None:
        await _under(lease).threads.drain(within_s=within_s)
    else:
        await _shared().drain(within_s=within_s)
        _shared.cache_clear()  # for another application in the same process


class BlockingThreads:
    """At most so many threads, started as they are needed; what finds them busy waits in the order of its arrival."""

    def __init__(self, at_once: int, name: str = "cf-orch blocking") -> None:
        """Raises ValueError for less than one thread."""
        if at_once < 1:
            raise ValueError(f"at_once is at least 1, not {at_once}")
        self._executor = ThreadPoolExecutor(at_once, thread_name_prefix=name)
        self._works: set[_Work[Any]] = set()
        self._is_draining = False

    async def run(self, call: Callable[[], T]) -> T:
        """Call in one of the threads; ends when the call has ended, even if it is cancelled before."""
        if self._is_draining:
            raise RuntimeError("these threads take no more work: they are being shut down")
        work = _Work(call)
        future = self._executor.submit(contextvars.copy_context().run, work)
        self._works.add(work)
        try:
            interruption = await _ended(future, work)
        finally:
            self._works.discard(work)
        if interruption is not None:
            raise interruption
        return work.outcome()

    async def drain(self, *, within_s: float | None = None) -> None:
        """Take nothing more, and return when all has ended; those who are late are told to stop, and waited for."""
        self._is_draining = True
        ended = [asyncio.wrap_future(work.ended) for work in self._works]
        if ended:
            _, late = await asyncio.wait(ended, timeout=within_s)
            if late:
                for work in self._works:
                    work.cancelled.set()
                await asyncio.wait(late)
        self._executor.shutdown(wait=False)


@dataclass(eq=False)
class _Work(Generic[T]):
    """One call, from the asking to its outcome.  Runs in a thread."""

    call: Callable[[], T]
    cancelled: threading.Event = field(default_factory=threading.Event)
    ended: Future[None] = field(default_factory=Future)  #: also when it was never begun
    result: T | None = None
    error: BaseException | None = None

    def __call__(self) -> None:
        _cancellation.set(self.cancelled)
        try:
            if self.cancelled.is_set():
                raise RuntimeError("it was not begun: these threads were shut down before its turn came")  # noqa: TRY301
            self.result = self.call()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            self.error = error
        finally:
            self.ended.set_result(None)

    def outcome(self) -> T:
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # it has ended well


async def _ended(future: Future[None], work: _Work[Any]) -> asyncio.CancelledError | None:
    """Wait until the work has ended, or was dropped before it began; returns the cancellation that came meanwhile."""
    interruption: asyncio.CancelledError | None = None
    waiting = asyncio.wrap_future(future)
    while not waiting.done():
        try:
            await asyncio.wait([waiting])
        except asyncio.CancelledError as cancellation:
            interruption = interruption or cancellation
            work.cancelled.set()
            if future.cancel():
                work.ended.set_result(None)
                break
    return interruption


@dataclass
class _UnderLease:
    """What runs under one lease: one thread, and one turn after the other, between which it may be evicted."""

    threads: BlockingThreads = field(default_factory=lambda: BlockingThreads(1, "cf-orch lease"))
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


_leases: weakref.WeakKeyDictionary[AsyncLease, _UnderLease] = weakref.WeakKeyDictionary()


def _under(lease: AsyncLease) -> _UnderLease:
    if lease not in _leases:
        _leases[lease] = _UnderLease()
    return _leases[lease]


@cache
def _shared() -> BlockingThreads:
    return BlockingThreads(SHARED_THREADS)
