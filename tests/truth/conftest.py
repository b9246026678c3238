"""A real coordinator that looks at a card through the real pynvml, and real processes that hold the card's memory."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.commands.conftest import Coordinator
from tests.gpus.conftest import FakeNvml, fake_nvml_library

__all__ = ["Program", "fake_nvml_library"]

GIB = 2**30
CARD = f"gpu uuid=GPU-0 total={24 * GIB} cc=8.9 name=NVIDIA GeForce RTX 4090"

PROGRAM = """
import pathlib, os, sys
mine = pathlib.Path(os.environ["FAKE_NVML_STATE"] + ".d") / f"0.{os.getpid()}"
print("ready", flush=True)
for line in sys.stdin:
    if int(line):
        fresh = mine.with_name(f"new-{os.getpid()}")
        fresh.write_text(line)
        fresh.rename(mine)
    else:
        mine.unlink()
    print("done", flush=True)
"""


class Program:
    """A process that holds memory of the card: as much as it was told last, until it ends."""

    def __init__(self, state: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", PROGRAM],
            env={**os.environ, "FAKE_NVML_STATE": str(state)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    @property
    def pid(self) -> int:
        return self.process.pid

    def uses(self, gb: float) -> None:
        """Hold so much from now on; returns when the driver shows it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{int(gb * GIB)}\n")
        self.process.stdin.flush()
        self._answer()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _answer(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Where the driver's answers are written."""
    (tmp_path / "nvml.d").mkdir()
    return tmp_path / "nvml"


@pytest.fixture
def driver(state: Path) -> FakeNvml:
    """A driver with one card of 24 GB."""
    driver = FakeNvml(state)
    driver.says(CARD)
    return driver


@pytest.fixture
def coordinator(
    driver: FakeNvml, state: Path, tmp_path: Path, fake_nvml_library: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Coordinator]:
    """A coordinator that sees the card, keeps 0.5 GB of it free, and waits 1 s for memory to come back."""
    assert driver
    monkeypatch.setenv("FAKE_NVML_STATE", str(state))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(fake_nvml_library.parent))
    config = tmp_path / "policy.toml"
    config.write_text("[policy]\nreclaim_timeout_s = 1.0\ngrace_s = 2.0\n")
    coordinator = Coordinator(tmp_path, "--config", str(config), declare=False)
    yield coordinator
    coordinator.stop()


@pytest.fixture
def program(state: Path) -> Iterator[Callable[[], Program]]:
    """Starts processes that can hold memory of the card."""
    started: list[Program] = []

    def start() -> Program:
        started.append(Program(state))
        return started[-1]

    yield start
    for running in started:
        running.kill()
