"""One process's session with the coordinator, kept by us: the client's own, that also says what becomes of it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from cf_orch.client.away import LocalLeases
from cf_orch.client.claim import Claim
from cf_orch.client.connection import Connection, ConnectionLost
from cf_orch.client.errors import LeaseError
from cf_orch.client.line import Connect
from cf_orch.client.local import LocalTurns
from cf_orch.client.session import Fallback, Session
from cf_orch.protocol.errors import Problem
from cf_orch.protocol.messages import LeaseInfo, Notice, SessionRequest

__all__ = ["Upstream"]

SETTLES_WITHIN_S = 2.0


class Upstream(Session):
    """A session that tells ``on_news`` when the line is up or renewed, and ``on_notice`` all that it hears.

    ``refusal`` is why the coordinator does not want the session, if it does not.
    """

    def __init__(
        self,
        registration: SessionRequest,
        connect: Connect,
        turns: LocalTurns,
        local: LocalLeases,
        fallback: Fallback,
        *,
        on_news: Callable[[], object],
        on_notice: Callable[[Notice], object],
    ) -> None:
        """Do nothing yet; the session's id is the registration's."""
        super().__init__(registration, connect, turns, local, fallback)
        self.refusal: Problem | None = None
        self._on_news = on_news
        self._on_notice = on_notice
        self._settled = asyncio.Event()
        self._is_started = False

    @property
    def connection(self) -> Connection | None:
        """The line to the coordinator while it is up and introduced."""
        return self._link

    @property
    def is_away(self) -> bool:
        """True while nobody answers."""
        return self._away is not None

    def start(self) -> None:
        """Begin to keep the session; harmless when it has begun."""
        if not self._is_started:
            self._is_started = True
            super().start()

    def hold(self, claim: Claim) -> None:
        """Take in what its process holds or waits for already; a line that is up says it all anew."""
        self._claims.add(claim)
        if self._link is not None:
            self._spawn(self._link.close())

    async def settled(self) -> None:
        """Wait until the coordinator has been told of everything, or does not answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLES_WITHIN_S):
                await self._settled.wait()

    async def abandon(self) -> None:
        """Say nothing more; the coordinator keeps the session for its time, for whoever speaks for it next."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._line.connection is not None:
            with suppress(ConnectionLost):
                await self._line.connection.close()

    # --- what becomes of the line

    def introduced(self, connection: Connection, known: dict[str, LeaseInfo]) -> None:
        """The coordinator knows of everything."""
        super().introduced(connection, known)
        self._settle()

    def missed(self, error: LeaseError) -> None:
        """Nobody answers."""
        super().missed(error)
        self._settle()

    def refused(self, problem: Problem) -> None:
        """The coordinator does not want this session."""
        self.refusal = problem
        super().refused(problem)
        self._settle()

    def renewed(self) -> None:
        """A heartbeat was acknowledged."""
        super().renewed()
        self._on_news()

    def down(self) -> None:
        """The line is down."""
        super().down()
        self._settled.clear()

    def hear(self, notice: Notice) -> None:
        """Take a notice in, and pass it on."""
        self._on_notice(notice)
        super().hear(notice)

    def _settle(self) -> None:
        self._settled.set()
        self._on_news()
