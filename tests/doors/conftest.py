"""A coordinator behind real sockets: an engine on a journal in memory, and a clock that is turned by hand."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from cf_orch.coordinator.clock import HandTurnedClock
from cf_orch.coordinator.doors import make_app
from cf_orch.coordinator.engine import Engine
from cf_orch.coordinator.journal import MemoryJournal
from cf_orch.doors import open_doors
from cf_orch.ledger import Ledger, Quota, Settings, commands
from cf_orch.protocol.operations import API_PREFIX, OPERATIONS

GIB = 2**30
SETTINGS = Settings(quotas={"small": Quota(max_vram_bytes=8 * GIB)}, max_queued_per_service=50)
OPERATION = {operation.name: operation for operation in OPERATIONS}

Json = dict[str, Any]


class Said(NamedTuple):
    """An answer: its status, its body, and of what type that was."""

    status: int
    body: Json
    content_type: str = ""


class HttpDoor:
    """Calls by HTTP."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def call(self, name: str, *, subject: str = "", by: str | None = None, **fields: Any) -> Said:
        """Make a call; ``fields`` go where the operation wants them: into the query or the body."""
        operation = OPERATION[name]
        in_query = set() if operation.query is None else set(operation.query.__struct_fields__)
        query = {key: value for key, value in fields.items() if key in in_query}
        body = {key: value for key, value in fields.items() if key not in in_query}
        path = (
            operation.path if operation.subject is None else operation.path.replace(f"{{{operation.subject}}}", subject)
        )
        headers = {} if by is None else {"Cf-Orch-Session": by}
        sent: Json = {"json": body} if body or operation.body else {}
        request = self.session.request(operation.method, API_PREFIX + path, params=query, headers=headers, **sent)
        async with request as answer:
            text = await answer.text()
            return Said(answer.status, json.loads(text) if text else {}, answer.content_type)


class SocketDoor:
    """Calls by WebSocket: one socket for each session that calls, opened when it first does."""

    def __init__(self, session: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
        self._session = session
        self._stack = stack
        self._sockets: dict[str | None, aiohttp.ClientWebSocketResponse] = {}
        self._calls = 0

    async def call(self, name: str, *, subject: str = "", by: str | None = None, **fields: Any) -> Said:
        """Make a call with all its fields side by side."""
        if name == "session.open":  # from then on the socket is that session's
            by = fields.get("session_id", "opened")
        socket = self._sockets.get(by)
        if socket is None:
            socket = await connect(self._session, self._stack, by=None if name == "session.open" else by)
            self._sockets[by] = socket
        self._calls += 1
        named = OPERATION[name].subject
        about = {} if named is None else {named: subject}
        await socket.send_json({"id": self._calls, "op": name, **about, **fields})
        while True:
            frame = await socket.receive_json()
            if frame.get("re") == self._calls:
                body = frame.get("body") or {}
                return Said(frame["status"], body, "application/problem+json" if "code" in body else "application/json")


async def connect(
    session: aiohttp.ClientSession, stack: AsyncExitStack, *, by: str | None = None, role: str = "client"
) -> aiohttp.ClientWebSocketResponse:
    """Open a WebSocket and greet."""
    headers = {} if by is None else {"Cf-Orch-Session": by}
    socket = await stack.enter_async_context(session.ws_connect(API_PREFIX + "/connect", headers=headers))
    await socket.send_json({"hello": {"version": "0.1.0", "role": role}})
    assert "hello" in await socket.receive_json()
    return socket


Door = HttpDoor | SocketDoor
MakeEngine = Callable[..., Awaitable[Engine]]


@pytest.fixture
def clock() -> HandTurnedClock:
    """Stand still until turned."""
    return HandTurnedClock()


@pytest.fixture
async def engine(clock: HandTurnedClock) -> AsyncIterator[Engine]:
    """Run a ledger with one declared card of 24 GB, d0 on host box, and hold all its rules when the test is over."""
    engine = Engine(MemoryJournal(), SETTINGS, clock=clock)
    await engine.start()
    card = commands.DeviceReport(
        uuid="d0", name="RTX 4090", index=0, total_bytes=24 * GIB, has_driver=False, capabilities=("bf16",)
    )
    await engine.do(commands.ReportDevices(host_id="h", host_name="box", devices=(card,)), nothing)
    yield engine
    engine.ledger.check(clock.monotonic())
    if not engine.stopping.is_set():
        await engine.stop()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Close in the end what a test opens."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def session(engine: Engine, clock: HandTurnedClock, stack: AsyncExitStack) -> aiohttp.ClientSession:
    """Serve the engine on a port, and return an HTTP client of it."""
    doors = await stack.enter_async_context(open_doors(make_app(engine, clock=clock), host="127.0.0.1"))
    return await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{doors.port}"))


@pytest.fixture
def http(session: aiohttp.ClientSession) -> HttpDoor:
    """Call by HTTP."""
    return HttpDoor(session)


@pytest.fixture(params=["http", "websocket", "unix"])
async def door(
    request: pytest.FixtureRequest, engine: Engine, clock: HandTurnedClock, stack: AsyncExitStack, tmp_path: Path
) -> Door:
    """Call by each of the doors in turn."""
    if request.param == "unix":
        path = tmp_path / "sock"
        await stack.enter_async_context(open_doors(make_app(engine, clock=clock), unix_path=path))
        connector = aiohttp.UnixConnector(str(path))
        return HttpDoor(await stack.enter_async_context(aiohttp.ClientSession("http://localhost", connector=connector)))
    doors = await stack.enter_async_context(open_doors(make_app(engine, clock=clock), host="127.0.0.1"))
    session = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{doors.port}"))
    return HttpDoor(session) if request.param == "http" else SocketDoor(session, stack)


def nothing(_ledger: Ledger, _now: float) -> None:
    """Look at nothing."""
