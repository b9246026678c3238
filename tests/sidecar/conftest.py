"""A sidecar between a real coordinator and its product: both in this process, or each in its own."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from tests.client.conftest import Puppet, Server, eventually
from tests.doors.conftest import GIB, Door, HttpDoor, SocketDoor, nothing

from cf_orch.client.address import Address
from cf_orch.coordinator.doors import make_app
from cf_orch.coordinator.engine import Engine
from cf_orch.coordinator.journal import MemoryJournal
from cf_orch.doors import open_doors
from cf_orch.gpus import host_identity
from cf_orch.ledger import Settings, commands
from cf_orch.sidecar.serve import Sidecar, run_sidecar
from cf_orch.sidecar.settings import SidecarSettings

SOON_S = 10.0
Server.__test__ = False  # type: ignore[attr-defined]  # a helper of tests


async def until(condition: Callable[[], Any], within_s: float = SOON_S) -> Any:
    """Wait on this loop for what others do, and return it."""
    async with asyncio.timeout(within_s):
        while not (met := condition()):  # noqa: ASYNC110 - several parts' doing
            await asyncio.sleep(0.005)
    return met


async def until_said(ask: Callable[[], Awaitable[Any]], condition: Callable[[Any], object]) -> Any:
    """Ask until the answer is such, and return it."""
    async with asyncio.timeout(SOON_S):
        while not condition(answer := await ask()):  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.01)
    return answer


@pytest.fixture(autouse=True)
def runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for turns that only this test's processes share."""
    folder = tmp_path / "runtime"
    monkeypatch.setenv("CF_ORCH_RUNTIME_DIR", str(folder))
    for name in ("CF_ORCH_TOKEN", "CF_ORCH_URL"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Close in the end what a test opens."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """A ledger with one declared card of 24 GB, d0 on this host."""
    engine = Engine(MemoryJournal(), Settings(ttl_s=6.0))
    await engine.start()
    host = host_identity()
    card = commands.DeviceReport(
        uuid="d0", name="RTX 4090", index=0, total_bytes=24 * GIB, has_driver=False, capabilities=("bf16",)
    )
    report = commands.ReportDevices(host_id=host.host_id, host_name=host.host_name, devices=(card,))
    await engine.do(report, nothing)
    yield engine
    engine.ledger.check(time.monotonic())
    await engine.stop()


class InProcess(NamedTuple):
    """A sidecar in this process, and where its coordinator is."""

    url: str
    coordinator_url: str
    sidecar: Sidecar


def settings(coordinator_url: str, **changes: Any) -> SidecarSettings:
    """A sidecar of kiwi that does not observe, at a free port."""
    plain = SidecarSettings(
        service="kiwi", addresses=(Address.parse(coordinator_url),), token=None, host="127.0.0.1", port=0, socket=None,
        fallback="local", devices=(), observes=False,
    )  # fmt: skip
    return plain._replace(**changes)


@pytest.fixture
async def coordinator_url(engine: Engine, stack: AsyncExitStack) -> str:
    """Where the coordinator serves."""
    doors = await stack.enter_async_context(open_doors(make_app(engine), host="127.0.0.1"))
    return f"http://127.0.0.1:{doors.port}"


@pytest.fixture
async def running(coordinator_url: str, stack: AsyncExitStack) -> InProcess:
    """A sidecar of kiwi whose own session is introduced."""
    sidecar = await stack.enter_async_context(run_sidecar(settings(coordinator_url)))
    await until(lambda: sidecar.sessions.own.upstream.connection)
    return InProcess(f"http://127.0.0.1:{sidecar.doors.port}", coordinator_url, sidecar)


@pytest.fixture(params=["http", "websocket"])
async def door(request: pytest.FixtureRequest, running: InProcess, stack: AsyncExitStack) -> Door:
    """Call the sidecar by each of its doors."""
    session = await stack.enter_async_context(aiohttp.ClientSession(running.url))
    return HttpDoor(session) if request.param == "http" else SocketDoor(session, stack)


@pytest.fixture
async def http(running: InProcess, stack: AsyncExitStack) -> HttpDoor:
    """Call the sidecar by HTTP."""
    return HttpDoor(await stack.enter_async_context(aiohttp.ClientSession(running.url)))


# --- real processes


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


class SidecarProcess:
    """``cf-orch sidecar`` at a fixed port; it can be killed, frozen and begun anew."""

    def __init__(self, folder: Path, coordinator_url: str, service: str = "kiwi", *flags: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.service = service
        self._log = folder / f"sidecar-{self.port}.log"
        self._command = [
            str(Path(sys.executable).with_name("cf-orch")), "sidecar", "--service", service,
            "--url", coordinator_url, "--port", str(self.port), *flags,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to serve, and wait until it does."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        eventually(self._answers)

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def get(self, path: str) -> Any:
        """Read the API."""
        return get_json(f"{self.url}/api/v1{path}")

    def leases(self) -> list[dict[str, Any]]:
        """What it knows of the product's live leases."""
        found: list[dict[str, Any]] = self.get("/leases?service=puppet")["leases"]
        return found

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self._log.read_text()
        try:
            return bool(get_json(f"{self.url}/healthz"))
        except OSError:
            return False


def all_renewed(server: Server, ids: set[str]) -> None:
    """Wait until the coordinator, just back, has heard of leases again; their processes' time to live must be short."""

    def expiries() -> dict[str, float]:
        return {lease["id"]: lease["expires_at"] for lease in server.leases("puppet")}

    first = expiries()
    assert first.keys() == ids
    eventually(lambda: all(later > first[name] + 0.5 for name, later in expiries().items()))


def get_json(url: str) -> Any:
    """Read JSON from a URL."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A coordinator process of the test's own, not started yet."""
    server = Server(tmp_path / "state")
    yield server
    if server.process is not None:
        server.signal(signal.SIGCONT)
    server.kill()


StartSidecar = Callable[..., SidecarProcess]
StartPuppet = Callable[..., Puppet]


@pytest.fixture
def start_sidecar(tmp_path: Path) -> Iterator[StartSidecar]:
    """Start sidecar processes that are killed when the test ends."""
    with ExitStack() as stack:

        def start(coordinator_url: str, service: str = "kiwi", *flags: str) -> SidecarProcess:
            started = SidecarProcess(tmp_path, coordinator_url, service, *flags)
            stack.callback(started.kill)
            started.start()
            return started

        yield start


@pytest.fixture
def puppet() -> Iterator[StartPuppet]:
    """Start processes that ask for leases as they are told; they are killed when the test ends."""
    with ExitStack() as stack:

        def start(url: str, ttl_s: float = 30) -> Puppet:
            started = Puppet({**os.environ, "CF_ORCH_URL": url, "PUPPET_TTL_S": str(ttl_s)})
            stack.callback(started.kill)
            return started

        yield start
