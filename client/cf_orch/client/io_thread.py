"""One daemon thread with an event loop of its own, so that no lease dies because a model blocks the caller's."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["IoThread", "promise"]

T = TypeVar("T")


def promise() -> Future[Any]:
    """A future that whoever waits for it cannot cancel: what was begun is finished, whether or not its caller stays."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


class IoThread:
    """The thread in which all I/O and all heartbeats happen."""

    def __init__(self) -> None:
        """Start it."""
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="cf-orch client", daemon=True)
        self._thread.start()

    @property
    def is_usable(self) -> bool:
        """False after ``stop``, and in a forked child, where the thread does not exist."""
        return self._pid == os.getpid() and not self._loop.is_closed()

    @property
    def is_current(self) -> bool:
        """True in this thread itself."""
        return threading.current_thread() is self._thread

    def soon(self, callback: Callable[..., object], *args: Any) -> None:
        """Call back in the thread; from any thread.  Raises RuntimeError after ``stop``."""
        self._loop.call_soon_threadsafe(callback, *args)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine in the thread, to its end; from any thread.  Raises RuntimeError after ``stop``."""
        future = promise()
        try:
            self.soon(self._start, coroutine, future)
        except RuntimeError:
            coroutine.close()
            raise
        return future

    def stop(self) -> None:
        """Finish what was begun, and end the thread."""
        if not self._loop.is_closed():
            self.run(self._finish())
            if not self.is_current:
                self._thread.join()

    async def _finish(self) -> None:
        others = self._tasks - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        self._loop.stop()

    def _start(self, coroutine: Coroutine[Any, Any, T], future: Future[T]) -> None:
        task = self._loop.create_task(_resolve(coroutine, future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            self._loop.close()


async def _resolve(coroutine: Coroutine[Any, Any, T], future: Future[T]) -> None:
    try:
        result = await coroutine
    except BaseException as error:
        future.set_exception(error)
        if not isinstance(error, Exception):
            raise
    else:
        future.set_result(result)
