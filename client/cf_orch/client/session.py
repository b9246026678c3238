"""One session with the coordinator: this process's claims for one service, kept through every outage.

Theory of operation
-------------------
The line connects, introduces the session, sends heartbeats until the connection ends, and begins again.  An
introduction opens the session under the same id and names all that is held and wanted (sync); then the session asks
again, under the same request ids, for what the coordinator does not know.  Between the end of one connection and the
next introduction ``_link`` is None: claims that come then wait for it.

When nobody answers, ``_away`` says why, and the fallback decides for waiting claims: they go local, wait, or fail.
What is held goes on: in doubt from 2/3 of the time to live, then as a local lease, or lost at 4/3 (see ``belief``).

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
from typing import Any, Literal

import msgspec

from cf_orch.client.away import LocalLeases
from cf_orch.client.belief import Belief
from cf_orch.client.claim import Claim, Phase
from cf_orch.client.claims import HOLDING, Claims
from cf_orch.client.connection import Connection, ConnectionLost, ProblemAnswered
from cf_orch.client.errors import CoordinatorAwayWarning, LeaseError, LeaseLost, LeaseRefused, NotAuthorized
from cf_orch.client.introduction import is_crowded, said
from cf_orch.client.line import Connect, Line
from cf_orch.client.local import LocalTurns
from cf_orch.protocol.errors import Problem
from cf_orch.protocol.messages import LeaseInfo, Notice, SessionRequest

__all__ = ["Fallback", "Session"]

Fallback = Literal["local", "wait", "fail"]

RESTART_GRACE_S = 10.0
LOOK_EVERY_S = 0.1
READ_BEFORE_TIMEOUT_S = 0.1
TIMEOUT_GRACE_S = 1.0
CLOSED_WITHIN_S = 1.0


class Session:
    """Keeps the claims of one service.  All methods run on the I/O thread; ``belief`` is read from any."""

    def __init__(
        self, registration: SessionRequest, connect: Connect, turns: LocalTurns, local: LocalLeases, fallback: Fallback
    ) -> None:
        """Do nothing yet; ``registration`` is what is said of this process, but for the session's id."""
        self.belief = Belief()
        self._id = uuid.uuid4().hex
        self._registration = msgspec.structs.replace(registration, session_id=self._id)
        self._own_hosts = {None, "any", registration.host_name, registration.host_id}
        self._turns = turns
        self._local = local
        self._fallback: Fallback = fallback
        self._claims = Claims(turns)
        self._line = Line(self._registration, connect, self._claims, self.belief, self)
        self._link: Connection | None = None
        self._away: LeaseError | None = None
        self._was_told_away = False
        self._stopping_until = 0.0
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

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
        elif self._away is not None:
            self._do_without(claim, self._away)
        if claim.request.max_wait_s is not None:
            self._bound_wait(claim, claim.asked_at + claim.request.max_wait_s)

    async def let_go(self, claim: Claim) -> None:
        """Give a claim back, or take it back; returns when the coordinator has heard, or cannot hear."""
        self._claims.leave(claim)
        self._tell_news()
        await self._local.withdraw(claim)
        if claim.request_id in self._claims.abandoned and self._link is not None:
            await self._cancel(self._link, claim.request_id)

    async def until_sure(self, claim: Claim) -> None:
        """Wait until the claim is believed in.  Raises LeaseLost."""
        while not claim.held.local and self.belief.in_doubt:
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
        await self._say(claim, "lease.loaded")
        claim.is_loaded = True

    async def idle(self, claim: Claim) -> None:
        """Say that the memory is kept warm, unused.  Raises LeaseLost, LeaseRefused."""
        await self._say(claim, "lease.idle")
        if not claim.is_idle:
            claim.is_idle = True
            self._claims.put_down(claim)

    async def busy(self, claim: Claim) -> None:
        """Say that the memory is used again; wait for a turn where there is no coordinator.  Raises as ``idle``."""
        while claim.is_idle:
            if self._link is None and self._away is not None and self._fallback == "local":
                claim.is_idle = not await self._local.resume(claim)
            else:
                self._turns.use(claim.request_id)
                claim.is_idle = False
        await self._say(claim, "lease.busy")

    async def attach(self, claim: Claim, pid: int, pid_start: int | None) -> None:
        """Name a process that uses the memory.  Raises LeaseLost, LeaseRefused."""
        await self._say(claim, "lease.attach", pid=pid, pid_start=pid_start)
        claim.pids.append((pid, pid_start))

    async def close(self) -> None:
        """End the session and with it all its leases."""
        await self._local.withdraw(*self._claims)
        for claim in self._claims:
            self._claims.lose(claim, "the ResourceCoordinator was closed")
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
        self._link, self._away = connection, None
        self._was_told_away, self._stopping_until = False, 0.0
        for claim in self._claims:
            self._reconcile(connection, claim, known.get(claim.request_id))
        for request_id in self._claims.abandoned:
            self._spawn(self._cancel(connection, request_id))
        self._tell_news()

    def renewed(self) -> None:
        """Let those go on who were in doubt."""
        self._tell_news()

    def down(self) -> None:
        """Say nothing until the next introduction."""
        self._link = None

    def missed(self, error: LeaseError) -> None:
        """Do without, unless a restart was announced just now."""
        if self.belief.now() < self._stopping_until and not isinstance(error, NotAuthorized):
            return
        self._away = error
        for claim in self._claims:
            if claim.phase is Phase.WAITING:
                self._do_without(claim, error)

    def refused(self, problem: Problem) -> None:
        """Pass the refusal on to those who wait."""
        for claim in self._claims:
            if claim.phase is Phase.WAITING:
                self._claims.refuse(claim, LeaseRefused(problem.code, problem.detail, problem.numbers))

    def hear(self, notice: Notice) -> None:
        """Take a notice in; one of an unknown kind says nothing to this client."""
        if notice.notice == "stopping":
            self._stopping_until = self.belief.now() + RESTART_GRACE_S
        elif notice.notice in ("granted", "lost") and notice.lease is not None:
            claim = self._claims.get(notice.lease.request_id)
            if claim is not None:
                self._take(claim, notice.lease)

    def _reconcile(self, connection: Connection, claim: Claim, info: LeaseInfo | None) -> None:
        """Agree with the coordinator's answer to a sync, and ask for what is not in it."""
        old_id = claim.info.id if claim.info else None
        if info is not None and claim.phase is Phase.WAITING and info.state in HOLDING:
            self._spawn(self._hand_over(claim, info))
        elif info is not None:
            self._take(claim, info)
            if claim.phase is Phase.HELD:
                self._spawn(self._restate(connection, claim, is_new=info.id != old_id))
        elif claim.phase is Phase.HELD and claim.is_known:
            self._claims.lose(claim, f"the coordinator ended lease {old_id} while it could not be reached")
        else:  # it waits, or is held locally without the coordinator having adopted it
            self._spawn(self._request(connection, claim))

    async def _restate(self, connection: Connection, claim: Claim, *, is_new: bool) -> None:
        """Say again what the coordinator may have forgotten of a lease."""
        if claim.phase is not Phase.HELD:
            return
        state, lease_id = claim.held.state, claim.held.id
        with contextlib.suppress(ConnectionLost, ProblemAnswered):
            if is_new:
                for pid, pid_start in claim.pids:
                    fields = {"lease_id": lease_id, "pid": pid, "pid_start": pid_start}
                    await connection.call("lease.attach", LeaseInfo, **fields)
            if claim.is_loaded and state == "loading":
                await connection.call("lease.loaded", LeaseInfo, lease_id=lease_id)
            if claim.is_idle and state != "idle":
                self._take(claim, await connection.call("lease.idle", LeaseInfo, lease_id=lease_id))

    def _take(self, claim: Claim, info: LeaseInfo) -> None:
        if claim.phase is Phase.WAITING and info.state in HOLDING and not (self._link and self._turns.is_free()):
            self._spawn(self._hand_over(claim, info))
        elif self._claims.take(claim, info) and self._link is not None:
            self._spawn(self._request(self._link, claim))
        if claim.loss is not None:
            self._tell_news()

    async def _hand_over(self, claim: Claim, info: LeaseInfo) -> None:
        """Pass a grant on when its memory is free: local leases may use it that were taken before anybody heard of it.

        They end, or come back to the coordinator, which then shows the device as over-committed until it fits.  A turn
        of another process that does neither for long does not follow this coordinator: it is not waited for.
        """
        patient_until = self.belief.now() + RESTART_GRACE_S
        with contextlib.suppress(ConnectionLost, ProblemAnswered):
            while claim.phase is Phase.WAITING and claim.request_id == info.request_id:
                is_free = self._turns.is_free() or (not self._turns.has_turn and self.belief.now() > patient_until)
                if self._link is None or not is_free or await is_crowded(self._link, info):
                    await asyncio.sleep(LOOK_EVERY_S)
                elif claim.request_id == info.request_id:
                    self._claims.take(claim, info)

    # --- calls

    async def _request(self, connection: Connection, claim: Claim) -> None:
        if claim.phase is Phase.OVER:
            return
        claim.was_sent = True
        fields = said(claim.request) | {"session_id": self._id}
        try:
            self._take(claim, await connection.call("lease.request", LeaseInfo, **fields))
        except ConnectionLost:
            pass  # asked again after the next introduction
        except ProblemAnswered as answered:
            problem = answered.problem
            if problem.code == "unknown_session":
                await connection.close()  # and introduce this session anew
            elif problem.code != "stopping" and claim.phase is Phase.WAITING:
                self._claims.refuse(claim, LeaseRefused(problem.code, problem.detail, problem.numbers))

    async def _cancel(self, connection: Connection, request_id: str) -> None:
        with contextlib.suppress(ConnectionLost, ProblemAnswered):
            await connection.tell("lease.cancel", request_id=request_id)
            self._claims.abandoned.discard(request_id)

    async def _say(self, claim: Claim, op: str, **fields: Any) -> None:
        """Say something of a held lease; what is not heard now is said again after the next introduction."""
        lease, link = claim.held, self._link
        if link is None or lease.local:
            return
        try:
            self._take(claim, await link.call(op, LeaseInfo, lease_id=lease.id, **fields))
        except ConnectionLost:
            return
        except ProblemAnswered as answered:
            problem = answered.problem
            if problem.code not in ("lease_ended", "unknown_lease"):
                raise LeaseRefused(problem.code, problem.detail, problem.numbers) from None
            self._claims.lose(claim, problem.detail)
            raise LeaseLost(problem.detail) from None

    # --- the end of a wait

    def _bound_wait(self, claim: Claim, ends_at: float) -> None:
        """Look again when the claim's wait is about to end; a claim that is over by then needs no look."""
        delay_s = ends_at - READ_BEFORE_TIMEOUT_S - time.monotonic()
        claim.timer = asyncio.get_running_loop().call_later(
            max(0.0, delay_s), lambda: self._spawn(self._end_wait(claim, ends_at))
        )

    async def _end_wait(self, claim: Claim, ends_at: float) -> None:
        """Read what it waits for just before the coordinator ends the wait; end it here where none does."""
        if claim.phase is Phase.WAITING and claim.info is not None and self._link is not None:
            with contextlib.suppress(ConnectionLost, ProblemAnswered):
                self._take(claim, await self._link.call("lease.get", LeaseInfo, lease_id=claim.info.id))
        await asyncio.sleep(ends_at - time.monotonic())
        if self._link is not None:
            await asyncio.sleep(TIMEOUT_GRACE_S)
        if claim.phase is Phase.WAITING:
            self._claims.time_out(claim, "no coordinator answered" if self._link is None else "the queue did not move")

    # --- while nobody answers

    def _do_without(self, claim: Claim, error: LeaseError) -> None:
        if isinstance(error, NotAuthorized) or self._fallback == "fail":
            self._claims.refuse(claim, type(error)(str(error)))
        elif self._fallback == "local" and claim.request.host in self._own_hosts:
            self._local.begin(claim)

    async def _guard(self) -> None:
        """Stop believing in time."""
        while True:
            await asyncio.sleep(self.belief.look_in_s)
            self._turns.refresh()
            for claim in self._claims:
                if claim.phase is Phase.HELD and not claim.is_local and self._link is None:
                    self._doubt(claim)

    def _doubt(self, claim: Claim) -> None:
        here = all(device.host == self._registration.host_name for device in claim.held.devices)
        if self._fallback != "local" or not here:
            if self.belief.over:
                self._claims.lose(claim, "no heartbeat was acknowledged in time: the memory may be somebody else's now")
        elif self.belief.over or (self.belief.in_doubt and self._away is not None):
            claim.info = msgspec.structs.replace(claim.held, local=True, token=None)
            with contextlib.suppress(CoordinatorAwayWarning):
                self.warn_away(claim)
            self._tell_news()

    # --- help

    def _tell_news(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
