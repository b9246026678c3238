"""Real servers that stand in for engines: slow, dead, flapping, unauthorised; and a real coordinator."""

import asyncio
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from cf_orch.client import ResourceCoordinator
from cf_orch.pool import ServerPool

StartEngine = Callable[..., Awaitable["Engine"]]


class Engine:
    """An OpenAI-compatible server on a port of its own, which answers as it is told."""

    def __init__(self, models: list[str], api_key: str | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.models = models
        self.api_key = api_key
        self.status = 200
        self.body: str | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Begin to listen."""
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        """Refuse connections."""
        self.answers.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _models(self, request: web.Request) -> web.Response:
        self.asked += 1
        await self.answers.wait()
        if self.api_key and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return web.Response(status=401)
        if self.body is not None:
            return web.Response(status=self.status, text=self.body)
        return web.json_response({"data": [{"id": model} for model in self.models]}, status=self.status)


@pytest.fixture
async def engine() -> AsyncIterator[StartEngine]:
    """Start stand-in servers that end with the test."""
    started: list[Engine] = []

    async def start(*models: str, api_key: str | None = None) -> Engine:
        one = Engine(list(models), api_key)
        await one.start()
        started.append(one)
        return one

    yield start
    for one in started:
        await one.stop()


async def eventually(condition: Callable[[], object], within_s: float = 10.0) -> None:
    """Return as soon as a condition holds; fail if it does not in time."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the condition is another process's, or a private attribute
            await asyncio.sleep(0.005)


def warm_pool(*servers: list[str], max_concurrent: int = 1, patience_s: float = 2.0) -> ServerPool:
    """A pool of servers s0, s1, ... that are known to have these models, and that nobody can ask."""
    urls = [f"http://s{index}" for index in range(len(servers))]
    pool = ServerPool(urls, patience_s=patience_s, probe_after_s=3600)
    for server, models in zip(pool.servers.values(), servers, strict=True):
        server.available_models = models
    pool.set_max_concurrent(max_concurrent)
    return pool


def taken(pool: ServerPool) -> int:
    """How many slots are taken."""
    return sum(server.active_requests for server in pool.servers.values())


@pytest.fixture(scope="session")
def coordinator_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real coordinator process with one declared card of 24 GB."""
    folder = tmp_path_factory.mktemp("coordinator")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [
        str(Path(sys.executable).with_name("cf-orch")), "serve", "--port", str(port),
        "--state-dir", str(folder / "state"), "--device", "name=RTX 4090,vram_gb=24",
    ]  # fmt: skip
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    ends_at = time.monotonic() + 30
    while True:
        assert process.poll() is None, (folder / "serve.log").read_text()
        assert time.monotonic() < ends_at, "the coordinator did not answer within 30 s"
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
            break
        except OSError:
            time.sleep(0.02)
    yield url
    process.terminate()
    process.wait()


@pytest.fixture
def coordinator(coordinator_url: str) -> Iterator[ResourceCoordinator]:
    """A handle on the coordinator."""
    with ResourceCoordinator(coordinator_url, fallback="fail") as handle:
        yield handle
