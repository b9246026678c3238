"""Server-sent events: the journal as it grows, and a session's notices.  Both resume after ``Last-Event-ID``."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import msgspec
from aiohttp import hdrs, web

from cf_orch.coordinator.doors.desk import Desk
from cf_orch.coordinator.doors.notices import missed_notices, notice_of
from cf_orch.coordinator.doors.views import events_answer
from cf_orch.coordinator.listeners import Subscription
from cf_orch.doors.asked import belongs_to, caller_of
from cf_orch.ledger import Refusal
from cf_orch.protocol import messages as m
from cf_orch.protocol.operations import EventsQuery

__all__ = ["notices_handler", "stream_events"]

PING_EVERY_S = 15.0
"""How often a silent stream says that it lives, so that no proxy closes it and one without a reader breaks."""
LOOK_FOR_EVENTS_EVERY_S = 0.25
PAGE = 1000

_NUMBER = re.compile(r"[0-9]{1,16}")
_encoder = msgspec.json.Encoder()


class _Stream:
    """A response that goes on."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse(
            headers={hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "no-store", "X-Accel-Buffering": "no"}
        )

    async def open(self) -> web.StreamResponse:
        await self._response.prepare(self._request)
        return self._response

    async def send(self, seq: int, kind: str, message: msgspec.Struct) -> None:
        data = _encoder.encode(message).decode()
        await self._response.write(f"id: {seq}\nevent: {kind}\ndata: {data}\n\n".encode())

    async def ping(self) -> None:
        await self._response.write(b": here\n\n")


def _since(request: web.Request, otherwise: int | None) -> int | None:
    last = request.headers.get("Last-Event-ID")
    if last is None:
        return otherwise
    if not _NUMBER.fullmatch(last):
        raise Refusal("bad_value", f"the header Last-Event-ID must be an event's number, not {last!a}")
    return int(last)


# --- the journal


async def stream_events(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Send all events after ``since``, then each as it happens, until the reader goes or the coordinator stops."""
    query = msgspec.convert(dict(request.query), EventsQuery, strict=False)
    since = _since(request, query.since) or 0
    stream = _Stream(request)
    response = await stream.open()
    with suppress(ConnectionError):
        await _send_events(desk, stream, since)
    return response


async def _send_events(desk: Desk, stream: _Stream, since: int) -> None:
    loop = asyncio.get_running_loop()
    ping_at = loop.time() + PING_EVERY_S
    while True:
        past = await desk.engine.events(since, PAGE) if desk.engine.ledger.seq > since else []
        for info in events_answer(past, since).events:
            await stream.send(info.seq, info.event["event"], info)
            since = info.seq
        if len(past) < PAGE and await _stops_before(desk, LOOK_FOR_EVENTS_EVERY_S):
            return
        if loop.time() >= ping_at:
            await stream.ping()
            ping_at = loop.time() + PING_EVERY_S


async def _stops_before(desk: Desk, timeout_s: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await desk.engine.stopping.wait()
    return desk.engine.stopping.is_set()


# --- a session's notices


def notices_handler(desk: Desk) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Make the handler of a session's stream."""

    async def handle(request: web.Request) -> web.StreamResponse:
        session_id = request.match_info["session_id"]
        belongs_to(caller_of(request), session_id)
        if session_id not in desk.engine.ledger.sessions:
            raise Refusal("unknown_session", f"no session {session_id} is open here: register anew")
        since = _since(request, None)
        stream = _Stream(request)
        view = partial(notice_of, desk)
        with desk.engine.subscribe(session_id, view) as subscription, suppress(ConnectionError):
            response = await stream.open()
            caught_up_to = 0 if since is None else await _send_missed(desk, stream, session_id, since)
            await _send_live(desk, stream, session_id, subscription, caught_up_to)
        return response

    return handle


async def _send_missed(desk: Desk, stream: _Stream, session_id: str, since: int) -> int:
    async for seq, notice in missed_notices(desk, session_id, since):
        since = seq
        if notice is not None:
            await _send_notice(stream, notice)
    return since


async def _send_live(
    desk: Desk, stream: _Stream, session_id: str, subscription: Subscription[m.Notice], caught_up_to: int
) -> None:
    while session_id in desk.engine.ledger.sessions:
        try:
            async with asyncio.timeout(PING_EVERY_S):
                notice = await anext(subscription)
        except TimeoutError:
            await stream.ping()
            continue
        except StopAsyncIteration:
            return  # it fell behind: it comes back and resumes
        if notice.lease is None or notice.seq > caught_up_to:
            await _send_notice(stream, notice)
        if notice.notice == "stopping":
            return


async def _send_notice(stream: _Stream, notice: m.Notice) -> None:
    await stream.send(notice.seq, notice.notice, notice)
