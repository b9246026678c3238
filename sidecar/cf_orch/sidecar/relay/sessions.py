"""All sessions of the product, and when they end: with their process, or with its silence."""

import asyncio
import time
from collections.abc import Callable, Iterator

import msgspec

from cf_orch.doors.asked import Caller
from cf_orch.doors.presence import Presence
from cf_orch.ledger import Refusal, Settings
from cf_orch.protocol.messages import LeaseRequest, Notice, SessionRequest
from cf_orch.sidecar.relay.lease import RelayedLease
from cf_orch.sidecar.relay.session import RelayedSession, Ways

__all__ = ["Sessions"]

LIMITS = Settings()
LOOK_EVERY_S = 0.25
ASKED_FOR_WITHIN_S = 10.0
LATE_S = 1.0
"""One who looks so much later than meant was stopped, and heard nobody meanwhile."""


class Sessions:
    """The sessions that processes opened here, and one for each service whose callers have none."""

    def __init__(self, ways: Ways, service: str, on_notice: Callable[[Notice], object]) -> None:
        """Open the product's own session; ``on_notice`` hears what the coordinator says to it."""
        self._ways = ways
        self._opened: dict[str, RelayedSession] = {}
        self._alone: dict[str, RelayedSession] = {}
        self._presence = Presence(self._end_lost)
        self._ending: set[asyncio.Task[None]] = set()
        self.own = self._make_alone(service, on_notice)

    def __iter__(self) -> Iterator[RelayedSession]:
        """All sessions."""
        return iter([*self._opened.values(), *self._alone.values()])

    # --- sessions of processes

    def open(self, body: SessionRequest, session_id: str) -> tuple[RelayedSession, bool]:
        """Register a process; the same registration again is a heartbeat.  True: it is new here.

        Raises Refusal.
        """
        known = self._opened.get(session_id)
        if known is not None:
            if known.registration.service != body.service:
                raise Refusal("not_yours", f"session {session_id} belongs to {known.registration.service}")
            known.heard()
            return known, False
        if not body.service:
            raise Refusal("bad_value", "service is empty: name the product that registers")
        _check_ttl(body.ttl_s)
        host = self._ways.host
        registration = msgspec.structs.replace(
            body,
            session_id=session_id,
            host_id=body.host_id or host.host_id,
            host_name=body.host_name or host.host_name,
        )
        session = self._opened[session_id] = RelayedSession(registration, self._ways)
        self._presence.watch(
            session_id, host_id=registration.host_id, pid=registration.pid, pid_start=registration.pid_start,
            open_ids=self._opened.keys(),
        )  # fmt: skip
        return session, True

    def get(self, session_id: str) -> RelayedSession:
        """The session of that id.  Raises Refusal unknown_session."""
        session = self._opened.get(session_id)
        if session is None:
            raise Refusal("unknown_session", f"no session {session_id} is open here: register anew")
        return session

    async def close(self, session_id: str, outcome: str = "released") -> None:
        """End a session; harmless when it has ended."""
        session = self._opened.pop(session_id, None)
        if session is not None:
            await session.end(outcome)

    # --- whose lease it is

    def asking(self, session_id: str | None, body: LeaseRequest) -> RelayedSession:
        """The session to ask under.  Raises Refusal unknown_session."""
        if session_id is not None:
            return self.get(session_id)
        _check_ttl(body.ttl_s)
        return self.alone(body.service)

    def alone(self, service: str) -> RelayedSession:
        """The session of those callers of a service who have none."""
        if service not in self._alone:
            self._make_alone(service, None)
        return self._alone[service]

    def find(self, who: Caller, lease_id: str) -> tuple[RelayedSession, RelayedLease] | None:
        """The lease of that id, if it was asked for here.  Raises Refusal not_yours."""
        for session in self:
            lease = session.find(lease_id)
            if lease is not None:
                if who.session_id is not None and who.session_id != lease.session_id:
                    raise Refusal("not_yours", f"lease {lease_id} is not of session {who.session_id}")
                return session, lease
        return None

    # --- life

    async def keep_time(self) -> None:
        """End what is silent, and forget what ended long ago; for ever."""
        looked_at = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now, due_at = time.monotonic(), looked_at + LOOK_EVERY_S
            looked_at = now
            if now - due_at > LATE_S:
                self._excuse(now - due_at)
            for session_id, session in list(self._opened.items()):
                if session.silent_at < now:
                    self._spawn_close(session_id, "expired")
            for session in self._alone.values():
                await self._look_after(session, now)
            for session in self:
                await self._drop_unasked(session, now)
                session.forget(now - LIMITS.remember_s)

    async def leave(self) -> None:
        """Let go of all sessions of processes, which find another to speak for them, and end our own."""
        self._presence.close()
        for session in self._opened.values():
            await session.leave()
        for session in self._alone.values():
            await session.end("released")

    def _excuse(self, late_s: float) -> None:
        for session in self:
            session.heard_at += late_s
            for lease in session.leases.values():
                lease.heard_at += late_s

    async def _look_after(self, session: RelayedSession, now: float) -> None:
        """End leases without a session of whom nobody has heard."""
        for lease in list(session.leases.values()):
            if lease.seats and not lease.is_held:
                lease.heard_at = now
            ttl_s = lease.request.ttl_s or session.ttl_s
            if not lease.is_over and lease.heard_at + ttl_s * LIMITS.grace_factor < now:
                await session.let_go(lease, "expired")

    async def _drop_unasked(self, session: RelayedSession, now: float) -> None:
        """Let go of what was named and is not asked for: its process asks at once, or not at all."""
        for lease in list(session.leases.values()):
            if lease.is_named_only and not lease.is_over and lease.heard_at + ASKED_FOR_WITHIN_S < now:
                await session.let_go(lease, "released")

    def _make_alone(self, service: str, on_notice: Callable[[Notice], object] | None) -> RelayedSession:
        host = self._ways.host
        registration = SessionRequest(
            service=service,
            session_id=self._ways.new_id(),
            host_id=host.host_id,
            host_name=host.host_name,
            pid=self._ways.pid,
            pid_start=self._ways.pid_start,
        )
        session = RelayedSession(registration, self._ways, lives_alone=True, on_notice=on_notice)
        self._alone[service] = session
        session.begin()
        return session

    async def _end_lost(self, session_id: str) -> None:
        await self.close(session_id, "lost")

    def _spawn_close(self, session_id: str, outcome: str) -> None:
        task = asyncio.create_task(self.close(session_id, outcome))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _check_ttl(ttl_s: float | None) -> None:
    if ttl_s is not None and not LIMITS.ttl_min_s <= ttl_s <= LIMITS.ttl_max_s:
        raise Refusal("bad_value", f"ttl_s must be {LIMITS.ttl_min_s:g} to {LIMITS.ttl_max_s:g}, not {ttl_s:g}")
