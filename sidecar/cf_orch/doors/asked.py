"""What a door makes of a call before anybody decides about it: who asks, about what, and what was said."""

import re
from contextlib import AbstractAsyncContextManager
from typing import Generic, NamedTuple, TypeVar

import msgspec
from aiohttp import web

from cf_orch.doors.peer import Peer
from cf_orch.ledger import Refusal

__all__ = ["SESSION_HEADER", "Answer", "Asked", "Caller", "belongs_to", "caller_of"]

SESSION_HEADER = "Cf-Orch-Session"
_SESSION_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")

BodyT = TypeVar("BodyT")
QueryT = TypeVar("QueryT")


class Caller(NamedTuple):
    """Who asks.  One who names no session is the operator, or a product that lives without one.

    ``peer`` is the product's own process, where the kernel tells of it.
    """

    session_id: str | None = None
    peer: Peer | None = None


class Asked(NamedTuple, Generic[BodyT, QueryT]):
    """One call, decoded.  ``subject`` is the id in its path; ``body`` and ``query`` are of the operation's types."""

    subject: str
    body: BodyT
    query: QueryT


class Answer(NamedTuple):
    """What a call comes to; no body is an empty one.  ``delivery`` is the context to write it in, if there is one."""

    status: int
    body: msgspec.Struct | msgspec.Raw | None = None
    delivery: AbstractAsyncContextManager[None] | None = None


def caller_of(request: web.Request) -> Caller:
    """Read who asks from a request's header."""
    session_id = request.headers.get(SESSION_HEADER)
    if session_id is not None and not _SESSION_ID.fullmatch(session_id):
        raise Refusal("bad_value", f"the header {SESSION_HEADER} must be a session's id, not {session_id!a}")
    return Caller(session_id)


def belongs_to(who: Caller, session_id: str | None) -> str | None:
    """Return the session that a call is about: the caller's own, or the one it names, if that is not another's."""
    if who.session_id is not None and session_id not in (None, who.session_id):
        raise Refusal(
            "not_yours",
            f"session {who.session_id} speaks for itself alone, not for session {session_id}: leave one of them out",
        )
    return session_id or who.session_id
