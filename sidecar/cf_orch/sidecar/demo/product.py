"""The frame of a product of the demo: a process that takes a lease for each turn and knows only the client library.

It is told "take turn N" by a line with N on its stdin, and tells what happens by lines of JSON on its stdout.  When
its stdin ends, it ends; when its own end comes, however it comes, its engines' stdin ends and they end too.
"""

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple, Self

from cf_orch.client import LeaseError, Priority, ResourceCoordinator, VRAMSlot

__all__ = ["Engine", "Product", "Result", "serve_turns"]

ENDS_WITHIN_S = 5.0


class Result(NamedTuple):
    """What came of a turn; not ``complete`` if the model was cut off."""

    text: str
    complete: bool = True


class EngineFailed(Exception):  # noqa: N818 - it names what happened
    """The process with the model ended, or said something else than it should."""


class Engine:
    """The process that holds the model; only its end gives the memory back, as far as the CPU is concerned."""

    def __init__(self, module: str) -> None:
        """Start it; it loads its model at once."""
        command = [sys.executable, "-I", "-m", module]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, line: str) -> str:
        """Write a line, and return the line that it answers."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self.hear()

    def hear(self) -> str:
        """Return its next line.  Raises EngineFailed if it ends instead."""
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        line = self._process.stdout.readline()
        if not line:
            raise EngineFailed(f"the process with the model ended with status {self._process.wait()}")
        return line.strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and wait until it is gone."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._process.stdin.close()
        try:
            self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Product(NamedTuple):
    """What makes a product: its name and task, what it needs, its engine's module, and what it does with it."""

    service: str
    task_type: str
    vram_gb: float
    engine_module: str
    work: Callable[[Engine, str, int], Result]
    """Given the engine, the line that it said when it was loaded, and the number of the turn."""


def serve_turns(product: Product) -> None:
    """Be the product, until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--device", required=True)
    arguments = parser.parse_args()
    slot = VRAMSlot(
        product.service,
        product.task_type,
        product.vram_gb,
        device=arguments.device,
        priority=Priority.NORMAL,  # one class for both, so that they are served in the order of their asking
    )
    tell = _Teller()
    with ResourceCoordinator(arguments.url, fallback="fail") as coordinator:
        tell("ready")
        for line in sys.stdin:
            threading.Thread(target=_turn, args=(product, coordinator, slot, int(line), tell), daemon=True).start()


class _Teller:
    """Writes one line for each thing that happens, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, event: str, turn: int = 0, **details: str | int) -> None:
        with self._lock:
            print(json.dumps({"event": event, "turn": turn, **details}), flush=True)


def _turn(product: Product, coordinator: ResourceCoordinator, slot: VRAMSlot, turn: int, tell: _Teller) -> None:
    try:
        with coordinator.lease(slot) as lease:
            tell("granted", turn, lease_id=lease.id)
            with Engine(product.engine_module) as engine:
                lease.attach(engine.pid)
                tell("started", turn, pid=engine.pid)
                loaded = engine.hear()
                tell("loaded", turn)
                result = product.work(engine, loaded, turn)
                tell("result", turn, text=result.text, complete=result.complete)
        tell("released", turn)
    except (LeaseError, EngineFailed, OSError, ValueError) as error:
        tell("failed", turn, why=f"{type(error).__name__}: {error}")
