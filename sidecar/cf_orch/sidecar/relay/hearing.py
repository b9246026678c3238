"""What one session must hear: notices in order, for whoever listens just now."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from cf_orch.protocol.messages import Notice

__all__ = ["Ears"]

MOST_UNREAD = 10_000


class _Ear(AsyncIterator[Notice]):
    """One listener: iterate for what it hears.  It falls off the end when it does not read."""

    def __init__(self) -> None:
        self._unread: deque[Notice] = deque()
        self._heard = asyncio.Event()
        self._is_over = False

    def hear(self, notice: Notice | None) -> None:
        if notice is None or len(self._unread) >= MOST_UNREAD:
            self._is_over = True
        else:
            self._unread.append(notice)
        self._heard.set()

    async def __anext__(self) -> Notice:
        while not self._unread:
            if self._is_over:
                raise StopAsyncIteration
            self._heard.clear()
            await self._heard.wait()
        return self._unread.popleft()


class Ears:
    """All listeners of one session."""

    def __init__(self) -> None:
        """Begin with nobody listening."""
        self._ears: set[_Ear] = set()

    @contextmanager
    def listen(self) -> Iterator[AsyncIterator[Notice]]:
        """Hear for as long as the context lasts."""
        ear = _Ear()
        self._ears.add(ear)
        try:
            yield ear
        finally:
            self._ears.discard(ear)

    def tell(self, notice: Notice) -> None:
        """Let all hear."""
        for ear in self._ears:
            ear.hear(notice)

    def hang_up(self) -> None:
        """Let nobody hear any more, so that whoever still wants to comes anew."""
        for ear in self._ears:
            ear.hear(None)
