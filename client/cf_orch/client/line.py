"""The line from one session to the coordinator: connected, introduced, kept alive by heartbeats; again and again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from cf_orch.client.belief import Belief
from cf_orch.client.claims import Claims
from cf_orch.client.connection import Connection, ConnectionLost, ProblemAnswered
from cf_orch.client.errors import CoordinatorUnreachable, LeaseError, NotAuthorized
from cf_orch.client.introduction import introduce
from cf_orch.protocol.errors import Problem
from cf_orch.protocol.messages import LeaseInfo, Notice, SessionAnswer, SessionRequest

__all__ = ["Connect", "Line", "Speaker"]

Connect = Callable[[Callable[[Notice], None]], Awaitable[Connection]]
log = logging.getLogger("cf_orch.client")

RETRY_FIRST_S, RETRY_MOST_S = 0.02, 0.5
RENEWED_WITHIN_S = 1.0
DEVICES_SEEN_WITHIN_S = 10.0


class Speaker(Protocol):
    """Who speaks over a line, and is told what becomes of it."""

    async def introducing(self) -> None:
        """A coordinator greeted: get ready to say what is held and wanted."""

    def introduced(self, connection: Connection, known: dict[str, LeaseInfo]) -> None:
        """The line is up; ``known`` is what the coordinator has of this session, by request."""

    def renewed(self) -> None:
        """A heartbeat was acknowledged."""

    def hear(self, notice: Notice) -> None:
        """The coordinator said something of its own."""

    def down(self) -> None:
        """The line is down."""

    def missed(self, error: LeaseError) -> None:
        """Nobody answered, or nobody who lets us in."""

    def refused(self, problem: Problem) -> None:
        """The coordinator does not want this session, and no retry mends it."""


class Line:
    """Keeps one session connected for as long as ``live`` runs."""

    def __init__(
        self, registration: SessionRequest, connect: Connect, claims: Claims, belief: Belief, speaker: Speaker
    ) -> None:
        """Do nothing yet; ``registration`` has the session's id."""
        self.connection: Connection | None = None
        self._registration = registration
        self._connect = connect
        self._claims = claims
        self._belief = belief
        self._speaker = speaker
        self._retry_s = RETRY_FIRST_S
        self._unseen_since: float | None = None

    async def live(self) -> None:
        """Connect, keep the connection until it ends, and begin again; for ever."""
        while True:
            try:
                self.connection = await self._connect(self._speaker.hear)
            except (CoordinatorUnreachable, NotAuthorized) as error:
                self._speaker.missed(error)
            except Exception as error:
                log.exception("a fault of this client: it connects anew")
                self._speaker.missed(CoordinatorUnreachable(f"cannot connect: {error}"))
            else:
                await self._live_on(self.connection)
            self._retry_s = min(RETRY_MOST_S, self._retry_s * 2)
            await asyncio.sleep(self._retry_s)

    async def _live_on(self, connection: Connection) -> None:
        try:
            await self._introduce(connection)
            await self._renew_until_lost(connection)
        except (ConnectionLost, TimeoutError):
            pass
        except ProblemAnswered as answered:
            self._refused(answered.problem)
        except Exception:
            log.exception("a fault of this client: it connects anew")
        finally:
            self._speaker.down()
            if connection.fell_silent:
                self._speaker.missed(CoordinatorUnreachable("the coordinator does not answer any more: it hangs"))
            await connection.close()

    async def _introduce(self, connection: Connection) -> None:
        sent_at = self._belief.now()
        unseen_for_s = sent_at - (self._unseen_since or sent_at)
        await self._speaker.introducing()
        ttl_s, known = await introduce(
            connection, self._registration, self._claims, lose_unknown=unseen_for_s > DEVICES_SEEN_WITHIN_S
        )
        self._belief.renewed(sent_at, ttl_s)
        self._unseen_since, self._retry_s = None, RETRY_FIRST_S
        self._speaker.introduced(connection, known)

    async def _renew_until_lost(self, connection: Connection) -> None:
        session_id = self._registration.session_id
        while not await connection.wait_lost(min(self._belief.renew_in_s, 1.0)):
            if self._belief.renew_in_s > 0 and not self._belief.woke:
                continue
            sent_at = self._belief.now()
            try:
                async with asyncio.timeout(RENEWED_WITHIN_S):
                    answer = await connection.call("session.renew", SessionAnswer, session_id=session_id)
            except ProblemAnswered as answered:
                if answered.problem.code != "unknown_session":
                    raise
                self._speaker.down()
                await self._introduce(connection)
            else:
                self._belief.renewed(sent_at, answer.ttl_s)
                self._speaker.renewed()

    def _refused(self, problem: Problem) -> None:
        """A coordinator that has just begun may yet see the devices; one that stops comes back."""
        if problem.code == "unknown_device":
            self._unseen_since = self._unseen_since or self._belief.now()
        elif problem.code not in ("stopping", "internal"):
            self._speaker.refused(problem)
