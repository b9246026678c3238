"""The WebSocket: calls go up, answers and notices come down, and one session may speak through it.

    client       {"hello": Hello}                         first, and once
    coordinator  {"hello": Hello}
    client       {"id": n, "op": name, ...}               any number of calls, without waiting for answers
    coordinator  {"re": n, "status": s, "body": ...}      in any order
    coordinator  {"notice": kind, "seq": n, "lease": ...}

Calls take effect in the order in which they arrive.  ``session.open`` binds its session to the socket: every later call
is that session's, and its notices come down from then on.  A socket that closes does not end the session: silence does,
or the end of its process.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from typing import Any
from weakref import WeakSet

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from cf_orch.coordinator.doors.asked import Answer, Asked, Caller, caller_of
from cf_orch.coordinator.doors.calls import perform
from cf_orch.coordinator.doors.desk import Desk
from cf_orch.coordinator.doors.frames import decode_call, decode_head
from cf_orch.coordinator.doors.notices import notice_of
from cf_orch.coordinator.doors.problems import problem_of
from cf_orch.coordinator.doors.views import version
from cf_orch.coordinator.listeners import Subscription
from cf_orch.ledger import Refusal
from cf_orch.protocol import messages as m
from cf_orch.protocol.operations import Operation

__all__ = ["close_all", "handler"]

MOST_FRAME_BYTES = 2**20
MOST_UNANSWERED = 20_000
"""No more calls are read from a socket that has so many unanswered; more than one service may have queued."""
HELLO_WITHIN_S = 10.0
GOODBYE_WITHIN_S = 1.0
PING_EVERY_S = 20.0

_encoder = msgspec.json.Encoder()
_plainly = nullcontext()
_opening_decoder = msgspec.json.Decoder(m.Opening)

Sockets = WeakSet[web.WebSocketResponse]


def handler(desk: Desk, sockets: Sockets) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Make the handler of the WebSocket; those that are open are in ``sockets``."""

    async def connect(request: web.Request) -> web.StreamResponse:
        who = caller_of(request)
        socket = web.WebSocketResponse(
            timeout=GOODBYE_WITHIN_S, heartbeat=PING_EVERY_S, compress=False, max_msg_size=MOST_FRAME_BYTES
        )
        await socket.prepare(request)
        sockets.add(socket)
        line = _Line(desk, socket, who)
        try:
            await line.serve()
        except ConnectionError:
            pass
        finally:
            line.hang_up()
        return socket

    return connect


async def close_all(sockets: Sockets) -> None:
    """Close all sockets: the coordinator goes."""
    closing = (socket.close(code=WSCloseCode.GOING_AWAY, message=b"the coordinator stops") for socket in set(sockets))
    await asyncio.gather(*closing)


class _Line:
    """One open socket."""

    def __init__(self, desk: Desk, socket: web.WebSocketResponse, who: Caller) -> None:
        self._desk = desk
        self._socket = socket
        self._who = who
        self._calls: set[asyncio.Task[None]] = set()
        self._notices: asyncio.Task[None] | None = None
        self._subscription = ExitStack()

    async def serve(self) -> None:
        """Greet, then serve calls until the socket closes."""
        if not await self._greet():
            return
        async for message in self._socket:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                break
            await self._take(message.data)

    def hang_up(self) -> None:
        """Let nobody wait for an answer that cannot be given; those without a session give up their place."""
        self._subscription.close()
        for task in self._calls | ({self._notices} if self._notices else set()):
            task.cancel()

    async def _greet(self) -> bool:
        try:
            async with asyncio.timeout(HELLO_WITHIN_S):
                message = await self._socket.receive()
        except TimeoutError:
            await self._refuse(Refusal("bad_request", f"no hello came within {HELLO_WITHIN_S:g} s"))
            return False
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return False
        try:
            _check_protocol(_opening_decoder.decode(message.data).hello)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
            await self._refuse(error)
            return False
        hello = m.Hello(version=version(), role="coordinator", epoch=self._desk.engine.epoch)
        await self._send(m.Opening(hello=hello))
        return True

    async def _refuse(self, error: Exception) -> None:
        problem = problem_of(error)
        await self._send(m.Reply(re=None, status=problem.status, body=problem))
        await self._socket.close(code=WSCloseCode.PROTOCOL_ERROR, message=problem.code.encode())

    async def _take(self, frame: str | bytes) -> None:
        """Begin a call.  The session is bound before the next call is looked at, for that may need it."""
        re: int | None = None
        try:
            head = decode_head(frame)
            re = head.id
            operation, asked = decode_call(head, frame)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
            problem = problem_of(error)
            await self._send(m.Reply(re=re, status=problem.status, body=problem))
            return
        opens = operation.name == "session.open"
        task = asyncio.create_task(self._answer(re, operation, Caller() if opens else self._who, asked))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        if opens:
            await asyncio.wait([task])
        elif len(self._calls) >= MOST_UNANSWERED:
            await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)

    async def _answer(self, re: int, operation: Operation, who: Caller, asked: Asked[Any, Any]) -> None:
        try:
            answer = await perform(self._desk, operation, who, asked)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
            problem = problem_of(error)
            answer = Answer(problem.status, problem)
        if isinstance(answer.body, m.SessionAnswer) and operation.name == "session.open":
            self._bind(answer.body.session_id)
        reply = m.Reply(re=re, status=answer.status, body=answer.body)
        with suppress(ConnectionError):  # who has gone needs no answer
            async with answer.delivery or _plainly:
                await self._send(reply)

    # --- the session

    def _bind(self, session_id: str) -> None:
        """Speak for a session from now on, and hear what it must hear."""
        self._subscription.close()
        if self._notices is not None:
            self._notices.cancel()
        self._who = Caller(session_id)
        subscription = self._subscription.enter_context(
            self._desk.engine.subscribe(session_id, partial(notice_of, self._desk))
        )
        self._notices = asyncio.create_task(self._pass_on(subscription))

    async def _pass_on(self, subscription: Subscription[m.Notice]) -> None:
        """Send notices; a socket that fell behind is closed, so that its client comes back and syncs."""
        with suppress(ConnectionError):
            async for notice in subscription:
                await self._send(notice)
        await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"too many notices were not read")

    # --- sending

    async def _send(self, message: msgspec.Struct) -> None:
        await self._socket.send_frame(_encoder.encode(message), WSMsgType.TEXT)


def _check_protocol(hello: m.Hello) -> None:
    if hello.protocol != m.PROTOCOL:
        raise Refusal(
            "wrong_protocol",
            f"this coordinator ({version()}) speaks protocol {m.PROTOCOL}, not {hello.protocol} as {hello.role} "
            f"{hello.version} does: update the older of the two",
        )
