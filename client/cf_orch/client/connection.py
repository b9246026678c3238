"""One WebSocket to a coordinator: calls up, answers and notices down, and pings that notice a dead or frozen peer."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from cf_orch.client.address import Address
from cf_orch.client.errors import CoordinatorUnreachable, NotAuthorized
from cf_orch.protocol.errors import Problem
from cf_orch.protocol.messages import PROTOCOL, Hello, Notice, Opening

if TYPE_CHECKING:  # imported at the first connection: it takes half of what all else takes to import
    import aiohttp

__all__ = ["Connection", "ConnectionLost", "ProblemAnswered", "connect"]

T = TypeVar("T")

PING_EVERY_S = 0.3
MOST_UNANSWERED = 2
CLOSE_WITHIN_S = 0.5
LARGEST_MESSAGE_BYTES = 64 * 2**20


class ConnectionLost(Exception):  # noqa: N818 - it names what happened
    """The connection ended; what was asked on it may or may not have been heard."""


class ProblemAnswered(Exception):  # noqa: N818 - an answer, if a bad one
    """The coordinator answered a call with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class _Greeting(msgspec.Struct):
    """The coordinator's first message: hello, or the problem that it has with ours."""

    hello: Hello | None = None
    body: Problem | None = None


class _Down(msgspec.Struct):
    """Any message from the coordinator: an answer has ``re``, a notice has ``notice``."""

    re: int | None = None
    status: int = 0
    body: msgspec.Raw = msgspec.Raw()
    notice: str | None = None


_decode_down = msgspec.json.Decoder(_Down).decode
_decode_problem = msgspec.json.Decoder(Problem).decode
_decode_notice = msgspec.json.Decoder(Notice).decode


async def connect(
    addresses: tuple[Address, ...],
    token: str | None,
    on_notice: Callable[[Notice], None],
    *,
    within_s: float,
    role: str = "client",
) -> "Connection":
    """Try each address in turn, for ``within_s`` in all; return the first connection that greets.

    ``role`` says who greets: a ``client`` speaks for its own process, anybody else for others.

    Raises:
        NotAuthorized: one answered, but the token does not fit.
        CoordinatorUnreachable: nobody answered; names every URL, and why.

    """
    import aiohttp  # noqa: F401, PLC0415 - now, for what loading it takes is not a coordinator's slowness

    reasons: list[str] = []
    for address in addresses:
        limit_s = within_s / len(addresses)
        try:
            async with asyncio.timeout(limit_s):
                return await Connection.open(address, token, on_notice, role)
        except TimeoutError:
            reasons.append(f"{address.url}: no answer within {limit_s:.2g} s")
        except (OSError, ValueError, ConnectionLost) as error:
            reasons.append(f"{address.url}: {_reason(error)}")
    raise CoordinatorUnreachable(
        f"no coordinator answers ({'; '.join(reasons)}): start one with `cf-orch serve`, or set CF_ORCH_URL"
    )


def _reason(error: Exception) -> str:
    cause = getattr(error, "os_error", error)
    errno = getattr(cause, "errno", None)
    return os.strerror(errno) if errno else str(cause) or type(cause).__name__


class Connection:
    """An open connection.  Used on the event loop that opened it."""

    def __init__(
        self, http: "aiohttp.ClientSession", ws: "aiohttp.ClientWebSocketResponse", on_notice: Callable[[Notice], None]
    ) -> None:
        """Use ``open``."""
        self._http = http
        self._ws = ws
        self._on_notice = on_notice
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[_Down | None]] = {}
        self._unanswered = 0
        self.fell_silent = False  #: it ended because nobody answered our pings
        self._lost = asyncio.Event()
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._ping())]

    @classmethod
    async def open(
        cls, address: Address, token: str | None, on_notice: Callable[[Notice], None], role: str
    ) -> "Connection":
        """Connect and exchange greetings.  Raises OSError, ValueError, ConnectionLost or NotAuthorized."""
        import aiohttp  # noqa: PLC0415 - see above

        connector = aiohttp.UnixConnector(address.socket_path) if address.socket_path else aiohttp.TCPConnector()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        http = aiohttp.ClientSession(connector=connector, headers=headers)
        try:
            ws = await http.ws_connect(
                address.connect_url,
                autoping=False,
                max_msg_size=LARGEST_MESSAGE_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_WITHIN_S),
            )
            await _greet(ws, role)
            return cls(http, ws, on_notice)
        except aiohttp.WSServerHandshakeError as error:
            await http.close()
            if error.status in (401, 403):
                what = "another token is wanted" if token else "a token is wanted"
                raise NotAuthorized(f"{address.url}: {what}: set CF_ORCH_TOKEN as it is set there") from error
            raise ValueError(f"HTTP {error.status}, so it is no cf-orch coordinator, or an old one") from error
        except aiohttp.ClientError as error:
            await http.close()
            raise ConnectionLost(_reason(error)) from error
        except BaseException:
            await http.close()
            raise

    @property
    def is_lost(self) -> bool:
        """True once the connection has ended."""
        return self._lost.is_set()

    async def wait_lost(self, timeout_s: float) -> bool:
        """Wait for the end of the connection, or for the time to pass; tell whether it has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._lost.wait()
        return self._lost.is_set()

    async def call(self, op: str, answer: type[T], **fields: Any) -> T:
        """Make one call and return its answer.  Raises ProblemAnswered, ConnectionLost."""
        number = next(self._numbers)
        future: asyncio.Future[_Down | None] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        try:
            await self._send({"id": number, "op": op, **fields})
            down = await future
        finally:
            self._answers.pop(number, None)
        if down is None:
            raise ConnectionLost("the connection ended before the answer")
        if down.status >= 400:  # noqa: PLR2004 - HTTP's own line between an answer and a problem
            raise ProblemAnswered(_decode_problem(down.body))
        try:
            return msgspec.json.decode(bytes(down.body) or b"null", type=answer)
        except msgspec.MsgspecError as error:
            raise ProblemAnswered(Problem.of("bad_answer", f"the answer to {op} cannot be read: {error}")) from error

    async def tell(self, op: str, **fields: Any) -> None:
        """Make one call whose answer is empty.  Raises ProblemAnswered, ConnectionLost."""
        await self.call(op, type(None), **fields)

    async def close(self) -> None:
        """End the connection; what still waits for an answer gets ConnectionLost."""
        self._end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(Exception):
            await self._ws.close()
        await self._http.close()

    def drop_copy(self) -> None:
        """In a forked child: let go of its copy of the socket, so that the parent's death ends the connection."""
        if (inherited := self._ws.get_extra_info("socket")) is not None and inherited.fileno() >= 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, inherited.fileno(), inheritable=False)
            os.close(nothing)

    async def _send(self, message: dict[str, Any]) -> None:
        if self.is_lost:
            raise ConnectionLost("the connection has ended")
        try:
            await self._ws.send_str(msgspec.json.encode(message).decode())
        except OSError as error:
            self._end()
            raise ConnectionLost(str(error)) from error

    async def _read(self) -> None:
        from aiohttp import WSMsgType  # noqa: PLC0415 - see above

        try:
            async for message in self._ws:
                self._unanswered = 0
                if message.type is WSMsgType.TEXT:
                    self._take(message.data)
                elif message.type is WSMsgType.PING:
                    await self._ws.pong(message.data)
        except (OSError, msgspec.MsgspecError):
            pass
        finally:
            self._end()

    def _take(self, text: str) -> None:
        down = _decode_down(text)
        if down.notice is not None:
            self._on_notice(_decode_notice(text))
        elif down.re is not None and (waiting := self._answers.get(down.re)) and not waiting.done():
            waiting.set_result(down)

    async def _ping(self) -> None:
        """Count pings without answer, not seconds: a thread of ours that was held up must not blame the peer."""
        with contextlib.suppress(OSError):
            while self._unanswered < MOST_UNANSWERED:
                self._unanswered += 1
                await self._ws.ping()
                await asyncio.sleep(PING_EVERY_S)
            self.fell_silent = True
        self._end()

    def _end(self) -> None:
        self._lost.set()
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_result(None)


async def _greet(ws: "aiohttp.ClientWebSocketResponse", role: str) -> None:
    from importlib.metadata import version  # noqa: PLC0415 - slow, and needed only here

    hello = Hello(version=version("cf-orch"), role=role)
    await ws.send_str(msgspec.json.encode(Opening(hello=hello)).decode())
    message = await ws.receive()
    if not isinstance(message.data, str):
        raise ConnectionLost("it hung up before it said hello")
    try:
        peer = msgspec.json.decode(message.data, type=_Greeting)
    except msgspec.MsgspecError as error:
        raise ValueError(f"it does not speak as a cf-orch coordinator does: {error}") from error
    if peer.hello is None:
        raise ValueError(peer.body.detail if peer.body else "it said no hello")
    if peer.hello.protocol != PROTOCOL:
        raise ValueError(f"it speaks protocol {peer.hello.protocol}, this client {PROTOCOL}: upgrade the older one")
