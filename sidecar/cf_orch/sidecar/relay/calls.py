"""What each operation of the wire comes to here: ours for the product's sessions and leases, the coordinator's else.

A call reaches its session before it awaits anything, so that calls take effect in the order in which they were begun.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from cf_orch.client.claim import Phase
from cf_orch.client.claims import HOLDING
from cf_orch.client.errors import CoordinatorUnreachable, LeaseLost, LeaseRefused, NotAuthorized
from cf_orch.doors.asked import Answer, Asked, Caller, belongs_to
from cf_orch.doors.problems import Stopping
from cf_orch.ledger import Refusal
from cf_orch.ledger.states import State
from cf_orch.protocol import messages as m
from cf_orch.protocol.operations import LONGEST_WAIT_S, CancelQuery, GetQuery, ListQuery, Operation, WaitQuery
from cf_orch.sidecar.relay.forward import Forward
from cf_orch.sidecar.relay.lease import RelayedLease
from cf_orch.sidecar.relay.seat import Seat
from cf_orch.sidecar.relay.session import RelayedSession
from cf_orch.sidecar.relay.sessions import Sessions

__all__ = ["Calls"]

ANSWERED_WITHIN_S = 1.5
"""How long a request waits for its first answer; then nobody knows yet, and its caller is told that it is queued."""

CHECKPOINT_PASSES_WITHIN_S = 2.0

BodyT = TypeVar("BodyT", bound=msgspec.Struct)
Call = Callable[[Caller, Asked[Any, Any]], Awaitable[Answer]]
Say = Callable[[RelayedSession, RelayedLease], Awaitable[None]]


class Calls:
    """The calls of the table."""

    def __init__(self, sessions: Sessions, forward: Forward) -> None:
        """Serve the product's sessions; ``forward`` asks the coordinator."""
        self._sessions = sessions
        self._forward = forward
        self._ours: dict[str, Call] = {
            "session.open": self._open_session,
            "session.renew": self._renew_session,
            "session.sync": self._sync_session,
            "session.close": self._close_session,
            "lease.request": self._request,
            "lease.cancel": self._cancel,
        }
        self._of_lease: dict[str, Call] = {
            "lease.get": self._get,
            "lease.release": self._release,
            "lease.renew": self._renew,
            "lease.loaded": self._said(_loaded),
            "lease.idle": self._said(lambda session, lease: session.upstream.idle(lease.claim)),
            "lease.busy": self._said(lambda session, lease: session.upstream.busy(lease.claim)),
            "lease.attach": self._attach,
            "lease.checkpointed": self._checkpointed,
        }

    async def perform(self, operation: Operation, who: Caller, asked: Asked[Any, Any]) -> Answer:
        """Do what a call asks.  Raises Refusal, Stopping."""
        if (call := self._ours.get(operation.name)) is not None:
            return await call(who, asked)
        call = self._of_lease.get(operation.name)
        if call is not None and self._sessions.find(who, asked.subject) is not None:
            return await call(who, asked)
        if operation.name == "leases":
            return await self._leases(operation, who, asked)
        return await self._forward.call(operation, who, asked)

    # --- sessions

    async def _open_session(self, who: Caller, asked: Asked[m.SessionRequest, None]) -> Answer:
        body = _plain(asked.body, m.SessionRequest)
        if who.peer is not None:
            body = msgspec.structs.replace(body, pid=who.peer.pid, pid_start=who.peer.pid_start)
        session_id = belongs_to(who, body.session_id) or secrets.token_hex(8)
        session, is_new = self._sessions.open(body, session_id)
        if is_new and body.session_id is None:
            session.begin()
        elif is_new:
            asyncio.get_running_loop().call_later(ANSWERED_WITHIN_S, session.begin)  # unless it syncs before
        else:
            await session.upstream.settled()
        return Answer(201, session.answer(returns=is_new and body.session_id is not None))

    async def _renew_session(self, who: Caller, asked: Asked[None, None]) -> Answer:
        belongs_to(who, asked.subject)
        session = self._sessions.get(asked.subject)
        session.heard()
        session.begin()
        return Answer(200, session.answer())

    async def _sync_session(self, who: Caller, asked: Asked[m.SyncRequest, None]) -> Answer:
        belongs_to(who, asked.subject)
        for number, item in enumerate(asked.body.leases):
            if item.state not in State.__members__.values():
                raise Refusal("bad_value", f"leases[{number}].state: {item.state!r} is none of {', '.join(State)}")
        session = self._sessions.get(asked.subject)
        session.heard()
        left = session.sync(asked.body.leases)
        await asyncio.gather(*(session.let_go(lease, "released") for lease in left))
        await session.upstream.settled()
        if session.upstream.refusal is not None:
            raise _refused(session.upstream.refusal)
        named = {item.request_id for item in asked.body.leases}
        known = [lease for name, lease in session.leases.items() if name in named and not lease.is_over]
        return Answer(200, m.LeasesAnswer(leases=[session.reads(lease) for lease in known if not lease.is_named_only]))

    async def _close_session(self, who: Caller, asked: Asked[None, None]) -> Answer:
        belongs_to(who, asked.subject)
        self._sessions.get(asked.subject)
        await self._sessions.close(asked.subject)
        return Answer(204)

    # --- asking

    async def _request(self, who: Caller, asked: Asked[m.LeaseRequest, WaitQuery]) -> Answer:
        wait_s = _checked(asked.query.wait_s)
        session_id = belongs_to(who, asked.body.session_id)
        body = _plain(asked.body, m.LeaseRequest)
        if body.request_id is None:
            body = msgspec.structs.replace(body, request_id=secrets.token_hex(8))
        session = self._sessions.asking(session_id, body)
        if (body.request_id or "") in session.cancelled:
            raise Refusal("lease_ended", f"request {body.request_id} was taken back before it came")
        lease = session.ask(body)
        lease.heard_at = time.monotonic()
        seat = Seat(session, lease) if session_id is None else None
        try:
            await _answered(session, lease)
            if wait_s and _waits(lease):
                await _changed(lease, "queued", wait_s)
            _raise_refusal(session, lease)
        except BaseException:
            if seat is not None:
                seat.give_up()
            raise
        info = session.reads(lease)
        return Answer(_status(info), info, seat)

    async def _cancel(self, who: Caller, asked: Asked[None, CancelQuery]) -> Answer:
        query = asked.query
        if who.session_id is None and query.service is None:
            raise Refusal(
                "bad_value", "service: say whose request it is, by its service or by the session that asked for it"
            )
        if who.session_id is not None:
            session = self._sessions.get(who.session_id)
        else:
            session = self._sessions.alone(query.service or "")
        lease = session.leases.get(query.request_id)
        if lease is None:
            session.cancelled[query.request_id] = time.monotonic()
        else:
            await session.let_go(lease, "released")
        return Answer(204)

    # --- about a lease

    async def _get(self, who: Caller, asked: Asked[None, GetQuery]) -> Answer:
        wait_s, state = _checked(asked.query.wait_s), asked.query.state
        if state not in State.__members__.values():
            raise Refusal("bad_value", f"state: {state!r} is none of {', '.join(State)}")
        session, lease = self._found(who, asked.subject)
        if who.session_id is None and not lease.is_held:
            lease.heard_at = time.monotonic()
        if wait_s and session.reads(lease).state == state != "ended":
            await _changed(lease, state, wait_s)
        return Answer(200, session.reads(lease))

    async def _release(self, who: Caller, asked: Asked[None, None]) -> Answer:
        session, lease = self._found(who, asked.subject)
        await session.let_go(lease, "released")
        return Answer(204)

    async def _renew(self, who: Caller, asked: Asked[None, None]) -> Answer:
        session, lease = self._found(who, asked.subject)
        _check_lives(lease, asked.subject)
        lease.heard_at = time.monotonic()
        return Answer(200, session.reads(lease))

    async def _attach(self, who: Caller, asked: Asked[m.AttachRequest, None]) -> Answer:
        body = asked.body
        attach = self._said(lambda session, lease: session.upstream.attach(lease.claim, body.pid, body.pid_start))
        return await attach(who, asked)

    async def _checkpointed(self, who: Caller, asked: Asked[m.CheckpointedRequest, None]) -> Answer:
        """Pass on that the memory is given up, or why not; one who is not asked any more reads so."""
        session, lease = self._found(who, asked.subject)
        _check_held(lease, asked.subject)
        body, claim = asked.body, lease.claim
        if claim.asking is None:
            raise Refusal("not_evictable", f"lease {asked.subject} did not say that it can be evicted")
        if body.error is None:
            _check_residue(lease, body.residue_gb)
        asking = claim.asking
        await lease.until(lambda: asking.is_asking or claim.state != "evicting", CHECKPOINT_PASSES_WITHIN_S)
        asking.checkpointed(body.residue_gb, body.error)
        await lease.until(lambda: lease.is_over or claim.state != "evicting", CHECKPOINT_PASSES_WITHIN_S)
        return Answer(200, session.reads(lease))

    def _said(self, say: Say) -> Call:
        """The call by which a holder says something of its lease."""

        async def call(who: Caller, asked: Asked[Any, Any]) -> Answer:
            session, lease = self._found(who, asked.subject)
            _check_held(lease, asked.subject)
            try:
                await say(session, lease)
            except LeaseRefused as error:
                raise Refusal(error.code, error.detail, **error.numbers) from error
            except LeaseLost as error:
                raise Refusal("lease_ended", str(error)) from error
            return Answer(200, session.reads(lease))

        return call

    def _found(self, who: Caller, lease_id: str) -> tuple[RelayedSession, RelayedLease]:
        found = self._sessions.find(who, lease_id)
        if found is None:
            raise Refusal("unknown_lease", f"no lease {lease_id} was asked for here")
        return found

    # --- looks

    async def _leases(self, operation: Operation, who: Caller, asked: Asked[None, ListQuery]) -> Answer:
        """The coordinator's list; while it is away, our own product's leases."""
        try:
            return await self._forward.call(operation, who, asked)
        except Stopping:
            query = asked.query
            infos = [session.reads(lease) for session in self._sessions for lease in session.leases.values()]
            wanted = [
                info for info in infos
                if query.service in (None, info.service)
                and (info.state == query.state or (query.state is None and info.state != "ended"))
            ]  # fmt: skip
            wanted.sort(key=lambda info: (info.state not in HOLDING, info.created_at))
            return Answer(200, m.LeasesAnswer(leases=wanted[: query.limit]))


def _plain(body: msgspec.Struct, kind: type[BodyT]) -> BodyT:
    """The body without what a frame of the WebSocket has beside."""
    return kind(**{name: getattr(body, name) for name in kind.__struct_fields__})


def _checked(wait_s: float) -> float:
    if not 0 <= wait_s <= LONGEST_WAIT_S:
        raise Refusal("bad_value", f"wait_s must be 0 to {LONGEST_WAIT_S:g}, not {wait_s:g}: ask again after it")
    return wait_s


def _status(info: m.LeaseInfo) -> int:
    if info.state in ("queued", "parked", "resting"):
        return 202
    return 201 if info.state in HOLDING else 200


def _waits(lease: RelayedLease) -> bool:
    return lease.claim.phase is Phase.WAITING


async def _answered(session: RelayedSession, lease: RelayedLease) -> None:
    """Wait for what becomes of a request at first."""
    ends_at = time.monotonic() + ANSWERED_WITHIN_S
    while _waits(lease) and lease.claim.info is None and not session.upstream.is_away:
        if not await lease.changed(ends_at - time.monotonic()):
            return


async def _changed(lease: RelayedLease, state: str, wait_s: float) -> None:
    """Wait until a lease reads another state, or for so long."""
    ends_at = time.monotonic() + wait_s
    while lease.reads(None).state == state and (left_s := ends_at - time.monotonic()) > 0:
        await lease.changed(left_s)


def _check_lives(lease: RelayedLease, lease_id: str) -> None:
    if lease.is_over:
        raise Refusal("lease_ended", f"lease {lease_id} has ended: {lease.reads(None).outcome}")


def _check_held(lease: RelayedLease, lease_id: str) -> None:
    _check_lives(lease, lease_id)
    if _waits(lease):
        raise Refusal("not_granted", f"lease {lease_id} waits: it holds nothing yet")


async def _loaded(session: RelayedSession, lease: RelayedLease) -> None:
    """The engine is up; or the memory that was given back is in use again."""
    if lease.claim.asking is None or not lease.claim.asking.loaded():
        await session.upstream.loaded(lease.claim)
    else:
        await lease.until(lambda: lease.is_over or lease.claim.state != "loading", CHECKPOINT_PASSES_WITHIN_S)


def _check_residue(lease: RelayedLease, residue_gb: float | None) -> None:
    size_gb = lease.reads(None).vram_gb
    if residue_gb is not None and not 0 <= residue_gb <= size_gb:
        raise Refusal("bad_value", f"residue_gb must be 0 to vram_gb ({size_gb:g}), not {residue_gb:g}")


def _raise_refusal(session: RelayedSession, lease: RelayedLease) -> None:
    """Pass on why a request was refused at once; then it was never made."""
    refusal = lease.refusal
    if lease.told is not None or refusal is None:
        return
    match refusal:
        case LeaseRefused(code=code) if code != "cancelled":
            del session.leases[lease.request_id]
            raise Refusal(code, refusal.detail, **refusal.numbers)
        case CoordinatorUnreachable() | NotAuthorized():
            del session.leases[lease.request_id]
            raise Stopping(f"no coordinator answers, and this sidecar does not go on without: {refusal}")


def _refused(problem: Any) -> Refusal:
    return Refusal(problem.code, problem.detail, **problem.numbers)
