"""A model for as long as an application runs: on uvicorn and Starlette, and on a bare ASGI application."""

import asyncio
import json
import threading
import urllib.request
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.blocking.conftest import Serve
from tests.pool.conftest import eventually

from cf_orch.client import AsyncLease, ResourceCoordinator, VRAMSlot
from cf_orch.client.blocking import cancelled, run_blocking
from cf_orch.client.lifespan import ModelLifespan


class Engine:
    """A model that is loaded when it may be, answers when it may, and says what became of it."""

    def __init__(self) -> None:
        self.may_load, self.may_answer = threading.Event(), threading.Event()
        self.may_answer.set()
        self.faults = 0
        self.events: list[str] = []

    def load(self, _: Any) -> "Engine":
        """Load, or fail."""
        self.may_load.wait()
        if self.faults:
            self.faults -= 1
            raise OSError("weights.bin is cut short")
        self.events.append("loaded")
        return self

    def unload(self, _: Any) -> None:
        """Go."""
        self.events.append("unloaded")

    def generate(self) -> str:
        """Answer, when it may."""
        self.events.append("generating")
        while not self.may_answer.wait(0.001):
            if cancelled():
                self.events.append("stopped")
                break
        self.events.append("generated")
        return "text"


@pytest.fixture
def engine() -> Any:
    engine = Engine()
    yield engine
    engine.may_load.set()
    engine.may_answer.set()


@pytest.fixture
def leases(coordinator_url: str) -> Callable[[str], list[str]]:
    """The states of a service's live leases."""

    def read(service: str) -> list[str]:
        with urllib.request.urlopen(f"{coordinator_url}/api/v1/leases?service={service}", timeout=10) as answer:
            return [lease["state"] for lease in json.load(answer)["leases"] if lease["state"] != "ended"]

    return read


def application(engine: Engine, coordinator: ResourceCoordinator, service: str, **how: Any) -> Starlette:
    """A Starlette application with one route that needs the model and one that does not."""

    async def generate(request: Request) -> PlainTextResponse:
        state = request.app.state
        return PlainTextResponse(await run_blocking(state.model.generate, lease=state.lease))

    async def health(_: Request) -> PlainTextResponse:
        return PlainTextResponse("well")

    app = Starlette(routes=[Route("/generate", generate), Route("/health", health)])
    slot = VRAMSlot(service, "llm", 4, peak_gb=6)
    how = {"load": engine.load, "unload": engine.unload, "always": ["/health"], "retry_after_s": 1, **how}
    app.add_middleware(ModelLifespan, coordinator=coordinator, slot=slot, **how)
    return app


async def answered(client: httpx.AsyncClient, path: str, status: int, says: str = "") -> httpx.Response:
    """Ask until the answer has this status and says this."""
    async with asyncio.timeout(10):
        while True:
            answer = await client.get(path)
            if answer.status_code == status and says in answer.text:
                return answer
            await asyncio.sleep(0.01)


async def test_503_with_the_reason_until_the_model_is_there(
    engine: Engine, coordinator: ResourceCoordinator, leases: Any, serve: Serve
) -> None:
    """The application answers from the start; what needs the model says why it is not there, and when to come back."""
    async with (
        serve(application(engine, coordinator, "life-503")) as (url, stop),
        httpx.AsyncClient(base_url=url) as client,
    ):
        await eventually(lambda: leases("life-503") == ["loading"])
        early = await client.get("/generate")

        assert early.status_code == 503
        assert early.headers["content-type"] == "application/problem+json"
        assert early.headers["retry-after"] == "1"
        assert early.json()["code"] == "model_not_ready"
        assert "the model is being loaded" in early.json()["detail"]
        assert (await client.get("/health")).text == "well"
        engine.may_load.set()
        assert (await answered(client, "/generate", 200)).text == "text"
        assert leases("life-503") == ["active"]
        await stop()

    assert engine.events == ["loaded", "generating", "generated", "unloaded"]
    assert leases("life-503") == []


async def test_it_waits_for_its_lease(
    engine: Engine, coordinator: ResourceCoordinator, leases: Any, serve: Serve
) -> None:
    """While others hold the memory the reason says so; a shutdown then leaves no request queued."""
    engine.may_load.set()
    async with (
        coordinator.lease(VRAMSlot("life-holder", "llm", 20)),
        serve(application(engine, coordinator, "life-waits")) as (url, stop),
        httpx.AsyncClient(base_url=url) as client,
    ):
        await eventually(lambda: leases("life-waits") == ["queued"])
        assert "waiting for a lease on 4 GB as life-waits/llm" in (await client.get("/generate")).json()["detail"]
        await stop()
        assert leases("life-waits") == []

    assert engine.events == []


async def test_a_failed_load_is_tried_again(
    engine: Engine, coordinator: ResourceCoordinator, leases: Any, serve: Serve
) -> None:
    """A load that fails is the reason, its lease goes back, and the next attempt may succeed."""
    engine.faults = 1
    engine.may_load.set()
    async with (
        serve(application(engine, coordinator, "life-again")) as (url, _),
        httpx.AsyncClient(base_url=url) as client,
    ):
        await answered(client, "/generate", 503, "OSError: weights.bin")
        assert leases("life-again") == []
        assert (await answered(client, "/generate", 200)).text == "text"


async def test_a_shutdown_drains(engine: Engine, coordinator: ResourceCoordinator, leases: Any, serve: Serve) -> None:
    """A request that is running ends well; only then the model goes, and after it the lease."""
    engine.may_load.set()
    async with (
        serve(application(engine, coordinator, "life-drain")) as (url, stop),
        httpx.AsyncClient(base_url=url) as client,
    ):
        await answered(client, "/generate", 200)
        engine.may_answer.clear()
        engine.events.clear()
        request = asyncio.create_task(client.get("/generate"))
        await eventually(lambda: engine.events == ["generating"])

        stopping = asyncio.create_task(stop())
        await asyncio.sleep(0)
        assert leases("life-drain") == ["active"]
        engine.may_answer.set()
        await stopping

        assert (await request).text == "text"
    assert engine.events == ["generating", "generated", "unloaded"]


async def test_a_lost_lease_is_asked_for_anew(
    engine: Engine, coordinator_url: str, coordinator: ResourceCoordinator, leases: Any, serve: Serve
) -> None:
    """When the lease ends by another hand, the work is told to stop, the model goes, and both come back."""
    engine.may_load.set()
    async with (
        serve(application(engine, coordinator, "life-lost")) as (url, _),
        httpx.AsyncClient(base_url=url, timeout=30) as client,
    ):
        await answered(client, "/generate", 200)
        engine.may_answer.clear()
        engine.events.clear()
        request = asyncio.create_task(client.get("/generate"))
        await eventually(lambda: engine.events == ["generating"])
        (lease,) = (await client.get(f"{coordinator_url}/api/v1/leases?service=life-lost&state=active")).json()[
            "leases"
        ]
        await client.delete(f"{coordinator_url}/api/v1/leases/{lease['id']}")

        await request
        engine.may_answer.set()
        await eventually(lambda: engine.events[:4] == ["generating", "stopped", "generated", "unloaded"])
        assert (await answered(client, "/generate", 200)).text == "text"
        assert leases("life-lost") == ["active"]


class Bare:
    """An ASGI application without a framework, which may know no lifespan."""

    class State:
        """What a framework would have."""

        model: Engine
        lease: AsyncLease

    def __init__(self) -> None:
        self.state = Bare.State()

    async def __call__(self, scope: Any, _: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        body = repr(vars(self.state)).encode()
        if scope["path"] == "/generate":
            body = (await run_blocking(self.state.model.generate, lease=self.state.lease)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def live(app: Any, during: Callable[[], Any]) -> list[str]:
    """Drive the lifespan protocol by hand; returns what the application said."""
    inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    said: list[str] = []

    async def send(message: Any) -> None:
        said.append(message["type"])

    inbox.put_nowait({"type": "lifespan.startup"})
    life = asyncio.create_task(app({"type": "lifespan"}, inbox.get, send))
    await eventually(lambda: said)
    await during()
    inbox.put_nowait({"type": "lifespan.shutdown"})
    await life
    return said


async def ask(app: Any, kind: str = "http", path: str = "/") -> list[Any]:
    """Send one request by hand."""
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    await app({"type": kind, "path": path}, receive, send)
    return said


async def test_around_a_bare_application(coordinator: ResourceCoordinator) -> None:
    """Any ASGI application with a state will do, also one without a lifespan; load may be a coroutine function."""
    bare, loaded = Bare(), asyncio.Event()

    async def load(lease: Any) -> str:
        await loaded.wait()
        return f"model on {lease.devices[0].name}"

    slot = VRAMSlot("life-bare", "llm", 4)
    app = ModelLifespan(bare, coordinator=coordinator, slot=slot, load=load, name="whisper")

    async def during() -> None:
        assert (await ask(app))[0]["status"] == 503
        (closed,) = await ask(app, "websocket")
        assert (closed["type"], closed["code"]) == ("websocket.close", 1013)
        assert closed["reason"].startswith("the model is not there")
        loaded.set()
        await eventually(lambda: hasattr(bare.state, "whisper"))
        assert b"model on RTX 4090" in (await ask(app))[1]["body"]

    assert await live(app, during) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert vars(bare.state) == {}
    assert (await ask(app))[0]["status"] == 503


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_shutdown_of_any_server_drains(engine: Engine, coordinator: ResourceCoordinator, is_late: bool) -> None:  # noqa: FBT001
    """Also where the server does not wait: requests end before the model goes, and the late ones are told to stop."""
    engine.may_load.set()
    slot = VRAMSlot("life-any", "llm", 4)
    app = ModelLifespan(
        Bare(),
        coordinator=coordinator,
        slot=slot,
        load=engine.load,
        unload=engine.unload,
        drain_within_s=0.05 if is_late else 10,
    )
    requests: list[asyncio.Task[list[Any]]] = []

    async def during() -> None:
        await eventually(lambda: app._is_ready)
        engine.may_answer.clear()
        requests.append(asyncio.create_task(ask(app, path="/generate")))
        await eventually(lambda: engine.events == ["loaded", "generating"])
        if not is_late:
            asyncio.get_running_loop().call_later(0.05, engine.may_answer.set)

    await live(app, during)

    assert engine.events == ["loaded", "generating", *(["stopped"] if is_late else []), "generated", "unloaded"]
    assert (await requests[0])[1]["body"] == b"text"


async def test_an_application_without_a_state(coordinator: ResourceCoordinator) -> None:
    """There is nowhere to bind the model: the server hears it at startup."""

    async def bare(_: Any, __: Any, ___: Any) -> None:
        pytest.fail("it was started")

    async def nothing() -> None:
        pass

    app = ModelLifespan(bare, coordinator=coordinator, slot=VRAMSlot("life-none", "llm", 4), load=str)

    assert await live(app, nothing) == ["lifespan.startup.failed"]
