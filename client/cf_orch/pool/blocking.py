"""A pool for programs without an event loop: any number of threads wait at one dispatcher."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from cf_orch.client import ResourceCoordinator, VRAMSlot
from cf_orch.client.io_thread import IoThread
from cf_orch.pool.dispatcher import TIMEOUT_S, ConcurrentDispatcher
from cf_orch.pool.leases import SlotFor
from cf_orch.pool.pool import ServerPool

__all__ = ["BlockingDispatcher"]

P = ParamSpec("P")
T = TypeVar("T")


class BlockingDispatcher:
    """The blocking face of a pool and its dispatcher, which live in a thread of its own from now on.

    Every method may be called from any thread, raises what its namesake there raises, and blocks until it is done.
    Use it with ``with``, or close it.
    """

    def __init__(
        self,
        pool: ServerPool,
        *,
        coordinator: ResourceCoordinator | None = None,
        slot: VRAMSlot | SlotFor | None = None,
    ) -> None:
        """Start the thread; ``pool`` must not be used by anybody else.  Raises as ConcurrentDispatcher."""
        self._pool = pool
        self._dispatcher = ConcurrentDispatcher(pool, coordinator=coordinator, slot=slot)
        self._io = IoThread()

    def refresh_all_manifests(self) -> None:
        """Ask every server for its models."""
        self._start(self._pool.refresh_all_manifests()).result()

    def get_all_available_models(self) -> set[str]:
        """The models of all servers."""
        return self._call(self._pool.get_all_available_models)

    def submit(self, model_id: str, timeout: float | None = TIMEOUT_S) -> str:
        """Wait for a slot on a server that has the model; returns the server's url.

        An interruption of the wait, Ctrl-C say, leaves no slot taken.
        """
        begun: Future[asyncio.Task[str]] = Future()
        answer = self._start(self._submit(begun, model_id, timeout))
        try:
            return answer.result()
        except BaseException:
            if answer.done() and answer.exception() is not None:
                raise  # the answer itself; all else is an interruption of this thread
            begun.add_done_callback(lambda task: self._io.soon(task.result().cancel))
            answer.add_done_callback(self._give_back)
            raise

    @contextmanager
    def server(self, model_id: str, timeout: float | None = TIMEOUT_S) -> Iterator[str]:
        """Hold a slot for the block."""
        url = self.submit(model_id, timeout)
        try:
            yield url
        finally:
            self.release_server(url)

    def release_server(self, server_url: str) -> None:
        """Give a slot back; harmless after ``close``."""
        if self._io.is_usable:
            self._call(self._pool.release_server, server_url)

    def report_server_error(self, server_url: str, error: str) -> None:
        """Say that a server failed; harmless after ``close``."""
        if self._io.is_usable:
            self._call(self._pool.report_server_error, server_url, error)

    def close(self) -> None:
        """Tell those who wait that it ends, and end the thread."""
        if self._io.is_usable:
            self._call(self._dispatcher.close)
            self._call(self._pool.close)
            self._io.stop()

    def __enter__(self) -> Self:
        self.refresh_all_manifests()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def _submit(self, begun: Future[asyncio.Task[str]], model_id: str, timeout_s: float | None) -> str:
        task: asyncio.Task[str] | None = asyncio.current_task()
        if task is not None:
            begun.set_result(task)
        return await self._dispatcher.submit(model_id, timeout_s)

    def _give_back(self, answer: Future[str]) -> None:
        if answer.exception() is None:  # it was handed over before the interruption reached the thread
            self._io.soon(self._pool.release_server, answer.result())

    def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in the thread, and wait for what it returns."""

        async def call() -> T:
            return function(*args, **kwargs)

        return self._start(call()).result()

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        if not self._io.is_usable:
            coroutine.close()
            raise RuntimeError("this BlockingDispatcher is closed")
        return self._io.run(coroutine)
