"""An eviction passed on: the process is asked, and its answer is ours."""

import asyncio
from collections.abc import Callable

from cf_orch.client.hooks import NotGivenUp

__all__ = ["CouldNotCheckpoint", "RelayedHooks"]


class CouldNotCheckpoint(Exception):  # noqa: N818 - it names what happened
    """The process could not give its memory up; the message is its own."""

    def __str__(self) -> str:
        return str(self.args[0])


class RelayedHooks:
    """Gives a lease's memory up and takes it back by asking the process that holds it."""

    def __init__(self) -> None:
        """Nobody is asked yet; ``tell`` is to let the process know how its lease reads now."""
        self.tell: Callable[[], object] = _nothing
        self._answer: asyncio.Future[float | None] | None = None
        self._restored: asyncio.Event | None = None

    async def checkpoint(self) -> float | None:
        """Wait until the process has given its memory up; return what it kept, in GB.

        Raises CouldNotCheckpoint, and NotGivenUp when it is not asked to any more.
        """
        self._answer = asyncio.get_running_loop().create_future()
        self.tell()
        try:
            return await self._answer
        finally:
            self._answer = None

    async def restore(self) -> None:
        """Wait until the process has its memory back."""
        self._restored = asyncio.Event()
        self.tell()
        try:
            await self._restored.wait()
        finally:
            self._restored = None

    @property
    def is_asking(self) -> bool:
        """True while the process is asked to give its memory up."""
        return self._answer is not None and not self._answer.done()

    def checkpointed(self, residue_gb: float | None, error: str | None) -> None:
        """The process answers."""
        if self._answer is None or self._answer.done():
            return
        if error is None:
            self._answer.set_result(residue_gb)
        else:
            self._answer.set_exception(CouldNotCheckpoint(error))

    def withdraw(self) -> None:
        """The process need not give its memory up any more."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NotGivenUp())

    def loaded(self) -> bool:
        """The process has its memory back; tell whether that was waited for."""
        if self._restored is None:
            return False
        self._restored.set()
        return True


def _nothing() -> None:
    """Nobody is to be told yet."""
