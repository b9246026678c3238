"""What a session says of its claims while it is connected; every answer is taken in as the lease reads then."""

import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from cf_orch.client.claim import Claim, Phase
from cf_orch.client.claims import Claims
from cf_orch.client.connection import Connection, ConnectionLost, ProblemAnswered
from cf_orch.client.errors import LeaseLost, LeaseRefused
from cf_orch.client.introduction import said
from cf_orch.protocol.messages import LeaseInfo

__all__ = ["Calls", "Take"]

GONE = ("lease_ended", "unknown_lease")
log = logging.getLogger("cf_orch.client")


class Take(Protocol):
    """Takes in what a lease reads."""

    def __call__(self, claim: Claim, info: LeaseInfo, *, is_answer: bool = False) -> None:
        """``is_answer``: decided after the coordinator heard that the memory was given up."""


class Calls:
    """The calls of one session.  ``link`` is None between the end of one connection and the next introduction."""

    def __init__(
        self, session_id: str, claims: Claims, take: Take, spawn: Callable[[Coroutine[Any, Any, None]], object]
    ) -> None:
        """Begin without a connection; ``spawn`` runs what nobody waits for."""
        self.link: Connection | None = None
        self._session_id = session_id
        self._claims = claims
        self._take = take
        self._spawn = spawn

    @property
    def is_connected(self) -> bool:
        """True while something can be said."""
        return self.link is not None

    # --- requests

    async def request(self, link: Connection, claim: Claim) -> None:
        """Ask for a claim, or ask again; what is not heard now is asked after the next introduction."""
        if claim.phase is Phase.OVER or claim.is_named_only:
            return
        claim.was_sent = True
        fields = said(claim.request) | {"session_id": self._session_id}
        try:
            self._take(claim, await self._call(link, claim, "lease.request", **fields))
        except ConnectionLost:
            pass
        except ProblemAnswered as answered:
            problem = answered.problem
            if problem.code == "unknown_session":
                await link.close()  # and introduce this session anew
            elif problem.code != "stopping" and (claim.phase is Phase.WAITING or claim.is_away):
                self._claims.refuse(claim, LeaseRefused(problem.code, problem.detail, problem.numbers))

    async def cancel(self, request_id: str) -> None:
        """Take a request back, or give back what it became."""
        if self.link is not None:
            with contextlib.suppress(ConnectionLost, ProblemAnswered):
                await self.link.tell("lease.cancel", request_id=request_id)
                self._claims.abandoned.discard(request_id)

    def release(self, claim: Claim) -> None:
        """Give back what a claim that is over held."""
        if claim.request_id in self._claims.abandoned:
            self._spawn(self.cancel(claim.request_id))

    # --- leases

    async def read(self, claim: Claim) -> None:
        """Take in what a lease reads now."""
        if self.link is not None and claim.info is not None and (claim.is_known or claim.phase is Phase.WAITING):
            with contextlib.suppress(ConnectionLost, ProblemAnswered):
                self._take(claim, await self._call(self.link, claim, "lease.get", lease_id=claim.info.id))

    async def say(self, claim: Claim, op: str, **fields: Any) -> None:
        """Say something of a held lease; what is not heard now is said again after the next introduction.

        Raises LeaseLost, LeaseRefused.
        """
        lease, link = claim.held, self.link
        if link is None or not claim.is_known:
            return
        try:
            self._take(claim, await self._call(link, claim, op, lease_id=lease.id, **fields))
        except ConnectionLost:
            return
        except ProblemAnswered as answered:
            problem = answered.problem
            if problem.code not in GONE:
                raise LeaseRefused(problem.code, problem.detail, problem.numbers) from None
            self._claims.lose(claim, problem.detail)
            raise LeaseLost(problem.detail) from None

    async def report(self, claim: Claim) -> None:
        """Say that the memory is given up, or why it could not be; if that is not heard, the next sync says it."""
        link, eviction = self.link, claim.eviction
        if link is None or claim.phase is not Phase.HELD:
            return
        said_now = {"error": eviction.error} if eviction.is_in_place else {"residue_gb": eviction.residue_gb}
        try:
            info = await self._call(link, claim, "lease.checkpointed", lease_id=claim.held.id, **said_now)
        except ConnectionLost:
            return
        except ProblemAnswered as answered:
            if answered.problem.code in GONE:
                self._claims.lose(claim, answered.problem.detail)
            else:
                log.warning("checkpointed was refused: %s; the client connects anew", answered.problem.detail)
                await link.close()
            return
        self._take(claim, info, is_answer=True)
        await self.restate(claim)

    async def restate(self, claim: Claim, *, is_new: bool = False) -> None:
        """Say what the coordinator does not know of a lease, or may have forgotten."""
        if claim.phase is not Phase.HELD or not claim.is_known:
            return
        info = claim.held
        with contextlib.suppress(LeaseLost, LeaseRefused):
            for pid, pid_start in claim.pids if is_new else ():
                await self.say(claim, "lease.attach", pid=pid, pid_start=pid_start)
            if claim.is_loaded and info.state == "loading":
                await self.say(claim, "lease.loaded")
                info = claim.held
            if claim.is_idle and info.state == "active":
                await self.say(claim, "lease.idle")
            elif not claim.is_idle and (info.state == "idle" or info.rest == "idle"):
                await self.say(claim, "lease.busy")

    async def _call(self, link: Connection, claim: Claim, op: str, **fields: Any) -> LeaseInfo:
        """Make a call about a claim; if a notice of it came meanwhile, nobody knows which is newer: read it again."""
        notices = claim.notices
        info = await link.call(op, LeaseInfo, **fields)
        while claim.notices != notices and info.outcome is None:
            notices = claim.notices
            info = await link.call("lease.get", LeaseInfo, lease_id=info.id)
        return info
