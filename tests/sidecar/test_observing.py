"""What a sidecar sees of its host decides what is granted: a stranger's memory, and memory that comes back."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from tests.client.conftest import Server, eventually
from tests.gpus.conftest import FakeNvml, fake_nvml_library
from tests.sidecar.conftest import SOON_S, SidecarProcess, StartPuppet
from tests.truth.conftest import CARD, Program

__all__ = ["fake_nvml_library"]


class BlindServer(Server):
    """A coordinator without any device of its own."""

    def start(self, state_dir: Path | None = None) -> None:
        """Begin to serve, and wait until it does."""
        command = [
            str(Path(sys.executable).with_name("cf-orch")), "serve", "--port", str(self.port),
            "--state-dir", str(state_dir or self.state_dir),
        ]  # fmt: skip
        with (self.state_dir.parent / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(lambda: self.get("/status"), within_s=SOON_S)

    def get(self, path: str) -> Any:
        """Read the API; nothing while nobody serves it."""
        try:
            return super().get(path)
        except URLError:
            return None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BlindServer]:
    """A coordinator that sees no device, on a host whose driver is not there."""
    server = BlindServer(tmp_path / "state")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Where the driver's answers are written."""
    (tmp_path / "nvml.d").mkdir()
    return tmp_path / "nvml"


@pytest.fixture
def stranger(state: Path) -> Iterator[Program]:
    """A process that no lease accounts for."""
    program = Program(state)
    yield program
    program.kill()


@pytest.fixture
def sidecars(
    server: BlindServer, tmp_path: Path, state: Path, fake_nvml_library: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[SidecarProcess]]:
    """Two sidecars on one host with one card, and a coordinator that sees none of it."""
    FakeNvml(state).says(CARD)
    monkeypatch.setenv("FAKE_NVML_STATE", str(state))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(fake_nvml_library.parent))
    started = [SidecarProcess(tmp_path, server.url, service) for service in ("kiwi", "peach")]
    for sidecar in started:
        sidecar.start()
    yield started
    for sidecar in started:
        sidecar.kill()


def card(server: BlindServer) -> dict[str, Any]:
    """The one row of the one card."""
    (row,) = server.get("/devices")["devices"]
    return dict(row)


def test_a_strangers_memory_is_not_granted(
    server: BlindServer, sidecars: list[SidecarProcess], stranger: Program, puppet: StartPuppet
) -> None:
    """One row for the card that both report; the stranger is named; what waits is granted when he has gone."""
    stranger.uses(20)
    eventually(lambda: server.get("/devices")["devices"] and card(server)["used_gb"] == 20)
    seen = card(server)
    product = puppet(sidecars[0].url)
    product.tell("ask", "a", 8)
    eventually(lambda: [lease["state"] for lease in server.leases("puppet")] == ["queued"])
    (waiting,) = server.leases("puppet")

    stranger.uses(0)

    assert product.says() == "held a granted"
    assert (seen["foreign_gb"], [process["pid"] for process in seen["foreign"]]) == (20, [stranger.pid])
    assert waiting["waiting_for"]["rule"] == "foreign"


def test_memory_that_comes_back_is_seen_at_once(
    server: BlindServer, sidecars: list[SidecarProcess], stranger: Program, puppet: StartPuppet
) -> None:
    """A release is not believed before the driver shows it; then the next is granted, long before the next second."""
    first, second = puppet(sidecars[0].url), puppet(sidecars[1].url)
    eventually(lambda: server.get("/devices")["devices"])
    first.tell("ask", "a", 16)
    assert first.says() == "held a granted"
    (lease,) = server.leases("puppet")
    attach(sidecars[0], lease["id"], stranger.pid)
    stranger.uses(16)
    eventually(lambda: card(server)["used_gb"] == 16)
    second.tell("ask", "b", 16)
    eventually(lambda: len(server.leases("puppet")) == 2)

    first.tell("leave", "a")
    assert first.says() == "left a"
    eventually(lambda: "closing" in [lease["state"] for lease in server.leases("puppet")])
    stranger.uses(0)
    shown_at = time.monotonic()
    assert second.says() == "held b granted"
    waited_s = time.monotonic() - shown_at

    print(f"granted {waited_s * 1000:.0f} ms after the driver showed the memory free")  # noqa: T201 - the figure
    assert waited_s < SOON_S


def attach(sidecar: SidecarProcess, lease_id: str, pid: int) -> None:
    """Name the process that uses a lease's memory, as the operator."""
    request = Request(
        f"{sidecar.url}/api/v1/leases/{lease_id}/attach", json.dumps({"pid": pid}).encode(),
        {"Content-Type": "application/json"}, method="POST",
    )  # fmt: skip
    urlopen(request, timeout=10).close()
