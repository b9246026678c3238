"""Dead servers are asked again and again until they answer, ever less often.

A server that dies again soon after it came back waits longer each time: only a request that ended well shows that it
lives.
"""

import asyncio
from collections.abc import Awaitable, Callable

from cf_orch.pool.server import ServerConfig

__all__ = ["Prober"]

RARELY_S = 30.0


class Prober:
    """Asks dead servers, one task each, as long as they are dead."""

    def __init__(self, refresh: Callable[[ServerConfig], Awaitable[object]], first_after_s: float) -> None:
        """``refresh`` asks a server once, and clears its ``last_refresh_error`` if it answers."""
        self._refresh = refresh
        self._first_after_s = first_after_s
        self._strikes: dict[str, int] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def died(self, server: ServerConfig) -> None:
        """A server is dead, or still dead: ask it again later."""
        self._strikes[server.url] = self._strikes.get(server.url, 0) + 1
        self.watch(server)

    def served(self, server: ServerConfig) -> None:
        """A request ended well."""
        self._strikes.pop(server.url, None)

    def watch(self, server: ServerConfig) -> None:
        """Make sure that a dead server is asked; outside of an event loop that must wait until there is one."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        task = self._tasks.get(server.url)
        if task is None or task.done() or task.get_loop() is not loop:
            self._tasks[server.url] = loop.create_task(self._probe(server), name=f"probe {server.url}")

    def stop(self) -> None:
        """Ask nobody any more."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def delay_s(self, server: ServerConfig) -> float:
        """How long to wait before asking a server again, in seconds."""
        doublings = min(self._strikes.get(server.url, 0) - 1, 16)
        rarely_s = max(RARELY_S, self._first_after_s)
        return float(min(rarely_s, self._first_after_s * 2 ** max(0, doublings)))

    async def _probe(self, server: ServerConfig) -> None:
        while server.last_refresh_error is not None:
            await asyncio.sleep(self.delay_s(server))
            if server.last_refresh_error is not None:  # else somebody else found it well
                await self._refresh(server)
