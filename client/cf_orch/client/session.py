"""One session with the coordinator: this process's claims for one service, kept through every outage.

Theory of operation
-------------------
The line connects, introduces the session, sends heartbeats until the connection ends, and begins again.  An
introduction opens the session under the same id and names all that is held and wanted (sync); then the session asks
again, under the same request ids, for what the coordinator does not know.  Between the end of one connection and the
next introduction ``_link`` is None: claims that come then wait for it.

When nobody answers, ``_away`` says why, and the fallback decides for claims that wait, for their first grant or for
their return from an eviction: they go local, wait, or fail.  What is held goes on: in doubt from 2/3 of the time to
live, then as a local lease, or lost at 4/3 (see ``belief``).

Whoever leaves a claim need not know what the coordinator heard of it: the request is cancelled by its id, again after
each introduction, until that is acknowledged.

Everything runs on the I/O thread.
"""

import asyncio
import contextlib
import time
import uuid
import warnings
from collections.abc import Coroutine
from typing import Any

import msgspec

from cf_orch.client.away import LocalLeases
from cf_orch.client.belief import Belief
from cf_orch.client.calls import Calls
from cf_orch.client.claim import Claim, Phase
from cf_orch.client.claims import Claims
from cf_orch.client.connection import Connection, ConnectionLost, ProblemAnswered
from cf_orch.client.errors import CoordinatorAwayWarning, LeaseError, LeaseRefused, NotAuthorized
from cf_orch.client.eviction import Wish
from cf_orch.client.handover import HandOver
from cf_orch.client.line import Connect, Line
from cf_orch.client.local import LocalTurns
from cf_orch.client.patience import Patience
from cf_orch.client.without import Fallback, Without
from cf_orch.client.yielding import Yielding
from cf_orch.protocol.errors import Problem
from cf_orch.protocol.messages import LeaseInfo, Notice, SessionRequest

__all__ = ["Fallback", "Session"]

RESTART_GRACE_S = 10.0
CLOSED_WITHIN_S = 1.0
NOTICES = frozenset({"granted", "evict", "withdrawn", "resume", "lost"})
"""Those that are about a lease."""


class Session:
    """Keeps the claims of one service.  All methods run on the I/O thread; ``belief`` is read from any."""

    def __init__(
        self, registration: SessionRequest, connect: Connect, turns: LocalTurns, local: LocalLeases, fallback: Fallback
    ) -> None:
        """Do nothing yet; ``registration`` is what is said of this process, a session's id only to take one over."""
        self.belief = Belief()
        self._id = registration.session_id or uuid.uuid4().hex
        self._registration = msgspec.structs.replace(registration, session_id=self._id)
        self._turns = turns
        self._local = local
        self._claims = Claims(turns)
        self._calls = Calls(self._id, self._claims, self._take, self._spawn)
        self._hand_over = HandOver(self._calls, turns, self._handed_over)
        self._patience = Patience(self._claims, self._calls, self._spawn)
        self._without = Without(
            self._registration, fallback, self.belief, self._claims,
            turns=turns, local=local, changed=self._advance, warn=self.warn_away,
        )  # fmt: skip
        self._line = Line(self._registration, connect, self._claims, self.belief, self)
        self._yielding: dict[Claim, Yielding] = {}
        self._heard_early: set[Claim] = set()
        self._was_told_away = False
        self._stopping_until = 0.0
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def _link(self) -> Connection | None:
        return self._calls.link

    @property
    def _away(self) -> LeaseError | None:
        return self._without.away

    # --- what faces ask for

    def start(self) -> None:
        """Begin to keep the session."""
        self._spawn(self._line.live())
        self._spawn(self._guard())

    def ask(self, claim: Claim) -> None:
        """Ask for a claim; its ``granted`` tells the outcome."""
        self._claims.add(claim)
        if self._link is not None:
            self._spawn(self._request(self._link, claim))
        else:
            self._without.seek(claim)
        if claim.request.max_wait_s is not None:
            self._patience.bound(claim, claim.request.max_wait_s)

    async def let_go(self, claim: Claim) -> None:
        """Give a claim back, or take it back; returns when the coordinator has heard, or cannot hear.

        A checkpoint or restore that runs ends before.
        """
        if (yielding := self._yielding.get(claim)) is not None:
            await yielding.end()
            self._yielding.pop(claim, None)
        self._claims.leave(claim)
        self._tell_news()
        await self._local.withdraw(claim)
        if claim.request_id in self._claims.abandoned:
            await self._calls.cancel(claim.request_id)

    async def until_usable(self, claim: Claim) -> None:
        """Wait until the claim is believed in, and its memory is there.

        Raises LeaseLost, and CoordinatorUnreachable where nobody answers who could give the memory back.
        """
        while (not claim.held.local and self.belief.in_doubt) or not claim.gate.is_open:
            if claim.is_away and self._without.failure is not None:
                raise self._without.failure
            await self._news.wait()

    def warn_away(self, claim: Claim) -> None:
        """Warn, once in each outage, that a lease is local; from any thread."""
        if not self._was_told_away:
            self._was_told_away = True
            warnings.warn(
                f"no coordinator answers: lease {claim.held.id} of {claim.request.service} is local, and all on this "
                "host take turns until the coordinator is back",
                CoordinatorAwayWarning,
                stacklevel=4,
            )

    async def loaded(self, claim: Claim) -> None:
        """Say that the engine is up.  Raises LeaseLost, LeaseRefused."""
        await self._calls.say(claim, "lease.loaded")
        claim.is_loaded = True

    async def idle(self, claim: Claim) -> None:
        """Say that the memory is kept warm, unused.  Raises LeaseLost, LeaseRefused."""
        before = claim.idle_since
        claim.idle_since = before or time.monotonic()
        try:
            await self._calls.say(claim, "lease.idle")
        except LeaseRefused:
            claim.idle_since = before
            raise
        if before is None:
            self._claims.put_down(claim)

    async def busy(self, claim: Claim) -> None:
        """Say that the memory is used again, or wanted again where it was given up meanwhile.  Raises as ``idle``.

        Memory that is there waits for a turn where there is no coordinator.
        """
        while claim.is_idle:
            if claim.is_away:
                claim.idle_since = None
                self._seek(claim)
            elif self._link is None and self._away is not None and self._without.fallback == "local":
                if await self._local.resume(claim):
                    claim.idle_since = None
            else:  # whoever answers may take a turn for it, which ours must not be in the way of
                claim.idle_since = None
                await self._calls.say(claim, "lease.busy")
                if not claim.is_away:
                    self._claims.pick_up(claim)
                return
        await self._calls.say(claim, "lease.busy")

    async def attach(self, claim: Claim, pid: int, pid_start: int | None) -> None:
        """Name a process that uses the memory.  Raises LeaseLost, LeaseRefused."""
        await self._calls.say(claim, "lease.attach", pid=pid, pid_start=pid_start)
        claim.pids.append((pid, pid_start))

    async def close(self) -> None:
        """End the session and with it all its leases; a callback that runs has a moment to end."""
        await self._local.withdraw(*self._claims)
        for claim in self._claims:
            self._claims.lose(claim, "the ResourceCoordinator was closed")
        await asyncio.gather(*(yielding.end(within_s=CLOSED_WITHIN_S) for yielding in self._yielding.values()))
        if self._line.connection is not None:
            with contextlib.suppress(ConnectionLost, ProblemAnswered, TimeoutError):
                async with asyncio.timeout(CLOSED_WITHIN_S):
                    await self._line.connection.tell("session.close", session_id=self._id)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def forked(self) -> None:
        """In a child process: let go of what it inherited."""
        if self._line.connection is not None:
            self._line.connection.drop_copy()

    # --- what becomes of the line

    async def introducing(self) -> None:
        """Let nobody wait for a turn any more: the coordinator is back."""
        await self._local.withdraw(*self._claims)

    def introduced(self, connection: Connection, known: dict[str, LeaseInfo]) -> None:
        """Agree with what the coordinator knows, ask for what it does not, and take back what was left."""
        self._calls.link, self._without.away = connection, None
        self._was_told_away, self._stopping_until = False, 0.0
        early, self._heard_early = self._heard_early, set()
        for claim in self._claims:
            self._reconcile(connection, claim, known.get(claim.request_id))
            if claim in early:  # the answer may be older than what was heard
                self._spawn(self._calls.read(claim))
        for request_id in self._claims.abandoned:
            self._spawn(self._calls.cancel(request_id))
        self._tell_news()

    def renewed(self) -> None:
        """Let those go on who were in doubt."""
        self._tell_news()

    def down(self) -> None:
        """Say nothing until the next introduction."""
        self._calls.link = None
        self._turns.refresh()

    def missed(self, error: LeaseError) -> None:
        """Do without, unless a restart was announced just now."""
        if self.belief.now() < self._stopping_until and not isinstance(error, NotAuthorized):
            return
        self._without.away = error
        for claim in self._claims:
            claim.eviction.left_alone()
            self._advance(claim)
            if claim.phase is Phase.WAITING:
                self._without.seek(claim)
        self._tell_news()

    def refused(self, problem: Problem) -> None:
        """Pass the refusal on to those who wait."""
        for claim in self._claims:
            if claim.phase is Phase.WAITING:
                self._claims.refuse(claim, LeaseRefused(problem.code, problem.detail, problem.numbers))

    def hear(self, notice: Notice) -> None:
        """Take a notice in; one of an unknown kind says nothing to this client."""
        if notice.notice == "stopping":
            self._stopping_until = self.belief.now() + RESTART_GRACE_S
        elif notice.notice in NOTICES and notice.lease is not None:
            claim = self._claims.get(notice.lease.request_id)
            if claim is not None:
                claim.notices += 1
                if self._link is None:
                    self._heard_early.add(claim)
                self._take(claim, notice.lease)
                if claim.hooks is not None:
                    self._spawn(self._calls.restate(claim))

    def _reconcile(self, connection: Connection, claim: Claim, info: LeaseInfo | None) -> None:
        """Agree with the coordinator's answer to a sync, and ask for what is not in it."""
        old_id = claim.info.id if claim.info else None
        if info is not None:
            self._take(claim, info, is_answer=True, came_back=True)
            if claim.phase is Phase.HELD:
                self._spawn(self._calls.restate(claim, is_new=info.id != old_id))
        elif claim.is_away:
            claim.eviction.heard(Wish.AWAY, is_answer=True)
            self._claims.rename(claim)
            self._advance(claim)
        elif claim.phase is Phase.HELD and claim.is_known:
            self._claims.lose(claim, f"the coordinator ended lease {old_id} while it could not be reached")
        else:  # it waits, or is held locally without the coordinator having adopted it
            self._spawn(self._request(connection, claim))

    # --- what becomes of a claim

    def _take(self, claim: Claim, info: LeaseInfo, *, is_answer: bool = False, came_back: bool = False) -> None:
        """Take in what a lease reads; a grant that ``came_back`` from an outage, or met one, is handed over."""
        if claim.is_grant(info) and not info.local and (came_back or not self._hand_over.is_free):
            claim.will_be_granted(info, is_answer=is_answer)
            self._spawn(self._hand_over.pass_on(claim))
            return
        is_to_ask = self._claims.take(claim, info, is_answer=is_answer)
        if is_to_ask and claim.phase is Phase.WAITING and self._link is not None:
            self._spawn(self._request(self._link, claim))
        if claim.hooks is not None:
            self._advance(claim)
        if claim.loss is not None:
            self._tell_news()

    def _handed_over(self, claim: Claim, info: LeaseInfo) -> None:
        self._claims.take(claim, info)
        self._advance(claim)

    def _advance(self, claim: Claim) -> None:
        """Let a claim's eviction go on, and let who waits for its memory know."""
        if claim.hooks is not None and claim.phase is Phase.HELD and claim not in self._yielding:
            self._yielding[claim] = Yielding(claim, self._claims, self._calls, self._advance)
        yielding = self._yielding.get(claim)
        if yielding is None or yielding.advance():
            self._tell_news()
        if claim.is_away:
            self._seek(claim)

    def _seek(self, claim: Claim) -> None:
        """Get memory back that was given up, where the coordinator does not see to it."""
        if self._link is None:
            self._without.seek(claim)
        elif claim.wants_memory and not claim.was_sent:
            self._spawn(self._request(self._link, claim))

    async def _request(self, connection: Connection, claim: Claim) -> None:
        await self._calls.request(connection, claim)

    async def _guard(self) -> None:
        """Stop believing in time, and let idle local leases make room."""
        while True:
            await asyncio.sleep(self.belief.look_in_s)
            self._turns.refresh()
            if self._link is None:
                self._without.doubt()
                self._without.make_room()

    # --- help

    def _tell_news(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
