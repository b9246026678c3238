"""How a claim's memory is given up and taken back: by the product's own functions, or by whoever stands in for it."""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any, Protocol

from cf_orch.client.io_thread import promise

__all__ = ["Callbacks", "Hooks", "NotGivenUp", "is_inside_callback"]


class NotGivenUp(Exception):  # noqa: N818 - it names what happened
    """Raised by a checkpoint hook whose eviction was withdrawn in time: the memory is as it was, nothing to report."""


class Hooks(Protocol):
    """What gives the memory up and takes it back, awaited on the I/O loop; never both at once, never one twice.

    A hook that is cancelled ends what it began, and returns when that has ended: the lease is released then.
    """

    async def checkpoint(self) -> object:
        """Give the memory up; return what stays, in GB on each device, or anything else for what the slot declared.

        Any exception but NotGivenUp is a failure: the memory is as it was, and the coordinator is told why.
        """

    async def restore(self) -> object:
        """Take the memory back.  An exception ends the lease."""


class Callbacks:
    """A product's functions as hooks: async ones run on the opener's loop, plain ones in a thread of their own."""

    def __init__(
        self,
        checkpoint: Callable[[], Any],
        restore: Callable[[], Any] | None,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        """``loop`` is the opener's, None in a plain thread.  Raises TypeError for async functions there."""
        for function in (checkpoint, restore):
            if loop is None and function is not None and _is_async(function):
                raise TypeError(
                    f"{_name(function)} is a coroutine function, and `with` has no event loop to run it on: "
                    "write `async with`, or give a plain function"
                )
        self._checkpoint = checkpoint
        self._restore = restore
        self._loop = loop
        self._context = contextvars.copy_context()

    def run_in_this_context(self) -> None:
        """Let the functions see the context variables that the caller sees now."""
        self._context = contextvars.copy_context()

    async def checkpoint(self) -> object:
        """Let the product give its memory up."""
        return await self._call(self._checkpoint)

    async def restore(self) -> object:
        """Let the product take its memory back, if it knows how."""
        return None if self._restore is None else await self._call(self._restore)

    async def _call(self, function: Callable[[], Any]) -> object:
        call = _Call(self)
        try:
            if _is_async(function):
                return await self._on_loop(call, function)
            result = await self._in_thread(call, function)
            return await self._on_loop(call, lambda: result) if inspect.isawaitable(result) else result
        finally:
            call.is_running = False

    async def _in_thread(self, call: "_Call", function: Callable[[], Any]) -> object:
        """Call in a thread, which nothing can stop: a cancellation waits for its end."""
        outcome = promise()

        def run() -> None:
            _running.set(call)
            try:
                outcome.set_result(function())
            except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
                outcome.set_exception(_as_exception(error, function))

        threading.Thread(target=self._context.copy().run, args=(run,), name="cf-orch callback", daemon=True).start()
        return await _end_of(outcome)

    async def _on_loop(self, call: "_Call", function: Callable[[], Awaitable[Any]]) -> object:
        """Await in a task on the opener's loop, which a cancellation cancels, and waits for."""
        if self._loop is None:
            raise TypeError(f"{_name(function)} returned an awaitable, and `with` has no event loop to await it on")
        loop, outcome = self._loop, promise()
        tasks: list[asyncio.Task[Any]] = []

        async def run() -> object:
            _running.set(call)
            return await function()

        def begin() -> None:
            tasks.append(loop.create_task(run(), context=self._context.copy()))
            tasks[0].add_done_callback(lambda task: _settle(outcome, task, function))

        def cancel() -> None:
            try:
                loop.call_soon_threadsafe(lambda: tasks[0].cancel())  # noqa: PLW0108 - it does not exist yet
            except RuntimeError as error:  # the loop is closed: nothing runs there any more
                outcome.set_exception(error)

        loop.call_soon_threadsafe(begin)
        return await _end_of(outcome, cancel)


def is_inside_callback(hooks: Hooks | None) -> bool:
    """Tell whether one of these hooks' functions is what runs here."""
    call = _running.get(None)
    return call is not None and call.of is hooks and call.is_running


class _Call:
    """One call of a product's function; tasks that it begins may outlive it, and are outside of it then."""

    def __init__(self, of: Callbacks) -> None:
        self.of = of
        self.is_running = True


_running: ContextVar[_Call] = ContextVar("running")


async def _end_of(outcome: Future[Any], cancel: Callable[[], object] = lambda: None) -> object:
    """Wait for an outcome; a first cancellation is passed on and waits too, a second one waits no more."""
    waiting = asyncio.wrap_future(outcome)
    try:
        await asyncio.wait([waiting])
    except asyncio.CancelledError:
        cancel()
        await asyncio.wait([waiting])
        waiting.exception()  # read, so that nobody is told that it was not
        raise
    return waiting.result()


def _settle(outcome: Future[Any], task: asyncio.Task[Any], function: Callable[[], Any]) -> None:
    if task.cancelled():
        outcome.set_exception(_as_exception(asyncio.CancelledError(), function))
    elif (error := task.exception()) is not None:
        outcome.set_exception(_as_exception(error, function))
    else:
        outcome.set_result(task.result())


def _as_exception(error: BaseException, function: Callable[[], Any]) -> Exception:
    """What ends a task or a thread must not end those that wait for it."""
    if isinstance(error, Exception):
        return error
    ended = RuntimeError(f"{_name(function)} was ended by {type(error).__name__}")
    ended.__cause__ = error
    return ended


def _is_async(function: Callable[[], Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - asked for its kind, not whether it is there


def _name(function: Callable[[], Any]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
