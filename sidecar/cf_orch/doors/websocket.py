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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, nullcontext, suppress
from weakref import WeakSet

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from cf_orch.doors.asked import Answer, Caller, caller_of
from cf_orch.doors.backend import Backend
from cf_orch.doors.frames import decode_call, decode_head
from cf_orch.doors.peer import Peer, peer_of
from cf_orch.doors.problems import problem_of
from cf_orch.ledger import Refusal
from cf_orch.protocol import messages as m

__all__ = ["close_all", "handler"]

MOST_FRAME_BYTES = 2**20
MOST_UNANSWERED = 20_000
"""No more calls are read from a socket that has so many unanswered; more than one service may have queued."""
HELLO_WITHIN_S = 10.0
GOODBYE_WITHIN_S = 1.0
PING_EVERY_S = 20.0
PRODUCT = "client"
"""The role of those who speak for themselves."""

_encoder = msgspec.json.Encoder()
_plainly = nullcontext()
_opening_decoder = msgspec.json.Decoder(m.Opening)

Sockets = WeakSet[web.WebSocketResponse]


def handler(backend: Backend, sockets: Sockets) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Make the handler of the WebSocket; those that are open are in ``sockets``."""

    async def connect(request: web.Request) -> web.StreamResponse:
        who = caller_of(request)
        socket = web.WebSocketResponse(
            timeout=GOODBYE_WITHIN_S, heartbeat=PING_EVERY_S, compress=False, max_msg_size=MOST_FRAME_BYTES
        )
        await socket.prepare(request)
        sockets.add(socket)
        line = _Line(backend, socket, who, peer_of(request))
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
    closing = (socket.close(code=WSCloseCode.GOING_AWAY, message=b"it stops") for socket in set(sockets))
    await asyncio.gather(*closing)


class _Line:
    """One open socket."""

    def __init__(self, backend: Backend, socket: web.WebSocketResponse, who: Caller, peer: Peer | None) -> None:
        self._backend = backend
        self._socket = socket
        self._who = who
        self._peer = peer
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
            theirs = _opening_decoder.decode(message.data).hello
            _check_protocol(theirs, self._backend.hello())
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
            await self._refuse(error)
            return False
        if theirs.role != PRODUCT:
            self._peer = None  # it speaks for other processes than its own
        await self._send(m.Opening(hello=self._backend.hello()))
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
            call = decode_call(head, frame)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
            problem = problem_of(error)
            await self._send(m.Reply(re=re, status=problem.status, body=problem))
            return
        opens = head.op == "session.open"
        who = Caller(peer=self._peer) if opens else self._who
        if call is None:
            work = self._backend.perform_unknown(head.op, who, frame)
        else:
            operation, asked = call
            work = self._backend.perform(operation, who, asked)
        task = asyncio.create_task(self._answer(re, work, opens=opens))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        if opens:
            await asyncio.wait([task])
        elif len(self._calls) >= MOST_UNANSWERED:
            await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)

    async def _answer(self, re: int, work: Awaitable[Answer], *, opens: bool) -> None:
        try:
            answer = await work
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
            problem = problem_of(error)
            answer = Answer(problem.status, problem)
        if opens and isinstance(answer.body, m.SessionAnswer):
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
        notices = self._subscription.enter_context(self._backend.subscribe(session_id))
        self._notices = asyncio.create_task(self._pass_on(notices))

    async def _pass_on(self, notices: AsyncIterator[m.Notice]) -> None:
        """Send notices; a socket that fell behind is closed, so that its client comes back and syncs."""
        with suppress(ConnectionError):
            async for notice in notices:
                await self._send(notice)
        await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"too many notices were not read")

    # --- sending

    async def _send(self, message: msgspec.Struct) -> None:
        await self._socket.send_frame(_encoder.encode(message), WSMsgType.TEXT)


def _check_protocol(theirs: m.Hello, ours: m.Hello) -> None:
    if theirs.protocol != m.PROTOCOL:
        raise Refusal(
            "wrong_protocol",
            f"this {ours.role} ({ours.version}) speaks protocol {m.PROTOCOL}, not {theirs.protocol} as {theirs.role} "
            f"{theirs.version} does: update the older of the two",
        )
