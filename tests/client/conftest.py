"""A real coordinator, and real processes that hold leases."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cf_orch.client import ResourceCoordinator

PUPPET = r"""
import os, sys, threading, warnings
from cf_orch.client import LeaseLost, ResourceCoordinator, VRAMSlot
warnings.simplefilter("ignore")
coordinator = ResourceCoordinator(fallback="local", ttl_s=float(os.environ.get("PUPPET_TTL_S", "30")))
leave, leases = {}, {}
def hold(name, vram_gb):
    try:
        with coordinator.lease(VRAMSlot("puppet", "llm", vram_gb)) as lease:
            leases[name] = lease
            print("held", name, "local" if lease.local else "granted", flush=True)
            leave[name].wait()
        print("left", name, flush=True)
    except LeaseLost as lost:
        print("lost", name, lost, flush=True)
for line in sys.stdin:
    verb, name, *rest = line.split()
    if verb == "ask":
        leave[name] = threading.Event()
        threading.Thread(target=hold, args=(name, float(rest[0])), daemon=True).start()
    elif verb == "leave":
        leave[name].set()
    else:
        getattr(leases[name], verb)()
        print(verb, name, leases[name].state, flush=True)
"""


class Server:
    """One coordinator process at a fixed port; it can be killed, frozen and begun anew on the same state."""

    def __init__(self, state_dir: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.state_dir = state_dir
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, state_dir: Path | None = None) -> None:
        """Begin to serve, and wait until it does."""
        command = [
            str(Path(sys.executable).with_name("cf-orch")), "serve", "--port", str(self.port),
            "--state-dir", str(state_dir or self.state_dir), "--device", "name=RTX 4090,vram_gb=24",
        ]  # fmt: skip
        log = (self.state_dir.parent / "serve.log").open("ab")
        with log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
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
        token = os.environ.get("CF_ORCH_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"{self.url}/api/v1{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def leases(self, service: str) -> list[dict[str, Any]]:
        """The live leases of a service."""
        found = self.get(f"/leases?service={service}")["leases"]
        return [lease for lease in found if lease["state"] != "ended"]

    def post(self, path: str) -> Any:
        """Do as the operator, who names no session."""
        request = urllib.request.Request(f"{self.url}/api/v1{path}", method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def delete(self, path: str) -> None:
        """Delete as the operator, who names no session."""
        request = urllib.request.Request(f"{self.url}/api/v1{path}", method="DELETE")
        urllib.request.urlopen(request, timeout=10).close()

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.state_dir.parent / "serve.log").read_text()
        try:
            return bool(self.get("/devices")["devices"])
        except OSError:
            return False


class Puppet:
    """A process that asks for leases, and leaves them, as it is told."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PUPPET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
        )

    def tell(self, *words: object) -> None:
        """Give it an order."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()

    def says(self) -> str:
        """Wait for the next line that it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def eventually(condition: Callable[[], object], within_s: float = 15.0) -> None:
    """Return as soon as a condition of another process holds; fail if it does not in time."""
    ends_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends_at, f"not within {within_s:g} s"
        time.sleep(0.005)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., None]:
    return eventually


@pytest.fixture(autouse=True)
def runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for turns that only this test's processes share."""
    folder = tmp_path / "runtime"
    monkeypatch.setenv("CF_ORCH_RUNTIME_DIR", str(folder))
    monkeypatch.delenv("CF_ORCH_TOKEN", raising=False)
    return folder


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One coordinator for all tests that leave it alive."""
    server = Server(tmp_path_factory.mktemp("shared") / "state")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A coordinator of the test's own, not started yet."""
    server = Server(tmp_path / "state")
    yield server
    if server.process is not None:
        server.signal(signal.SIGCONT)
    server.kill()


@pytest.fixture
def handle() -> Iterator[Callable[..., ResourceCoordinator]]:
    """Make handles that are closed when the test ends."""
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(ResourceCoordinator(*args, **kwargs))


@pytest.fixture
def puppet() -> Iterator[Callable[..., Puppet]]:
    """Start processes that are killed when the test ends."""
    with ExitStack() as stack:

        def start(url: str, ttl_s: float = 30) -> Puppet:
            started = Puppet({**os.environ, "CF_ORCH_URL": url, "PUPPET_TTL_S": str(ttl_s)})
            stack.callback(started.kill)
            return started

        yield start
