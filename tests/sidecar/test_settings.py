"""What a sidecar is told, and how it says no."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.sidecar.conftest import StartSidecar

from cf_orch.sidecar.settings import WrongSettings, read_settings

CF_ORCH = [sys.executable, "-m", "cf_orch.coordinator.cli", "sidecar"]


def test_defaults_are_the_clients() -> None:
    """Flags over the environment; without either the coordinator is where the client looks for it."""
    settings = read_settings({"service": "kiwi"}, {"CF_ORCH_URL": "http://a:1,http://b:2", "CF_ORCH_TOKEN": "t"})

    assert [address.url for address in settings.addresses] == ["http://a:1", "http://b:2"]
    assert (settings.host, settings.port, settings.token) == ("127.0.0.1", 7701, "t")
    assert (settings.fallback, settings.observes, settings.socket) == ("local", True, None)
    assert read_settings({"service": "k", "url": "http://c:3"}, {"CF_ORCH_URL": "x"}).addresses[0].url == "http://c:3"


def test_every_wrong_setting_is_named_at_once() -> None:
    """One sentence each, with what to do."""
    flags = {
        "url": "coordinator:7700", "host": "0.0.0.0", "port": "99999", "fallback": "hope",
        "devices": ["vram_gb=4", "host,vram_gb=1", "host,vram_gb=2"], "no_observe": True,
    }  # fmt: skip
    with pytest.raises(WrongSettings) as raised:
        read_settings(flags, {})

    said = raised.value.problems
    assert [problem.split(" ")[0] for problem in said] == [
        "--service", "--port", "--host", "--url", "--fallback", "--device:", "--device", "--device",
    ]  # fmt: skip


def test_its_own_address_is_no_coordinator() -> None:
    """CF_ORCH_URL is often the sidecar's own, set for the product beside it."""
    with pytest.raises(WrongSettings, match="own address"):
        read_settings({"service": "kiwi"}, {"CF_ORCH_URL": "http://localhost:7701"})
    with pytest.raises(WrongSettings, match="own address"):
        read_settings({"service": "kiwi", "socket": "/run/k.sock"}, {"CF_ORCH_URL": "unix:///run/k.sock"})


def test_wrong_settings_exit_with_2() -> None:
    """All of them on stderr, no traceback."""
    ended = subprocess.run(
        [*CF_ORCH, "--port", "x", "--fallback", "y"], capture_output=True, text=True, check=False, timeout=30
    )

    assert ended.returncode == 2
    assert [line.split(" ")[1] for line in ended.stderr.splitlines()] == ["--service", "--port", "--fallback"]


def test_a_port_in_use_is_one_line(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    """It says which, and what to do."""
    first = start_sidecar("http://127.0.0.1:1")
    ended = subprocess.run(
        [*CF_ORCH, "--service", "kiwi", "--url", "http://127.0.0.1:1", "--port", str(first.port)],
        capture_output=True, text=True, check=False, timeout=30, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip

    assert ended.returncode == 1
    assert ended.stderr.strip() == (
        f"cf-orch: port {first.port} of 127.0.0.1 is in use by another program: stop that one, or choose another port"
    )
