"""The frame of a product of the demo: a process that does its tasks under leases and knows only the client library.

It gets a task by a line on its stdin, and tells what happens by lines on its stdout (see ``said``).  When its stdin
ends, it ends; when its own end comes, however it comes, its engines' stdin ends and they end too.

A task's items are each done inside ``lease.use()``.  One that yields gives ``checkpoint``, which ends the process with
the model, and ``restore``, which starts it again: the client calls the first only when no item is being done.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from cf_orch.client import Lease, LeaseError, ResourceCoordinator, VRAMSlot
from cf_orch.sidecar.demo.engine import Engine
from cf_orch.sidecar.demo.said import Said, Task

__all__ = ["Product", "Result", "serve_tasks"]

LOOKED_AT_EVERY_S = 0.02


class Result(NamedTuple):
    """What came of an item; not ``complete`` if the model was cut off."""

    text: str
    complete: bool = True


class Product(NamedTuple):
    """What makes a product: its name and task, what it needs, its engine's module, and what it does with it."""

    service: str
    task_type: str
    vram_gb: float
    engine_module: str
    work: Callable[[Engine, str, int], Result]
    """Given the engine, the line that it said when it was loaded, and the number of the item."""


def serve_tasks(product: Product) -> None:
    """Be the product, until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--device", required=True)
    arguments = parser.parse_args()
    teller = _Teller()
    with ResourceCoordinator(arguments.url) as coordinator:
        teller.tell("ready")
        for line in sys.stdin:
            task = msgspec.json.decode(line, type=Task)
            slot = VRAMSlot(
                product.service, product.task_type, product.vram_gb, device=arguments.device, priority=task.priority
            )
            work = _Work(product, task, teller)
            threading.Thread(target=work.do, args=(coordinator, slot), daemon=True).start()


class _Teller:
    """Writes one line for each thing that happens, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def tell(self, event: str, **details: Any) -> None:
        with self._lock:
            print(msgspec.json.encode(Said(event, time.monotonic(), **details)).decode(), flush=True)


class _Work:
    """One task, from the asking to the giving back."""

    def __init__(self, product: Product, task: Task, teller: _Teller) -> None:
        self._product = product
        self._task = task
        self._teller = teller
        self._lease: Lease | None = None
        self._engine: Engine | None = None
        self._loaded = ""

    def do(self, coordinator: ResourceCoordinator, slot: VRAMSlot) -> None:
        self._tell("asks")
        hooks = {"checkpoint": self._checkpoint, "restore": self._start} if self._task.yields else {}
        try:
            with coordinator.lease(slot, **hooks) as lease:
                self._lease = lease
                threading.Thread(target=self._watch, args=(lease,), daemon=True).start()
                try:
                    for item in self._task.items:
                        with lease.use():
                            self._do(item)
                finally:
                    self._stop()
            self._tell("ended")
        except Exception as error:  # noqa: BLE001 - whatever ended it is told, and fails the verdict
            self._tell("failed", why=f"{type(error).__name__}: {error}")

    def _do(self, item: int) -> None:
        if self._engine is None:
            self._start()
        assert self._engine is not None  # noqa: S101 - it was started
        self._tell("begins", item=item)
        result = self._product.work(self._engine, self._loaded, item)
        self._tell("result", item=item, text=result.text, complete=result.complete)

    def _start(self) -> None:
        """Start the process with the model, and let its memory count for the lease."""
        self._engine = Engine(self._product.engine_module)
        self._tell("started", pid=self._engine.pid)
        assert self._lease is not None  # noqa: S101 - nothing starts before it is held
        self._lease.attach(self._engine.pid)
        self._loaded = self._engine.hear()
        self._tell("loaded", pid=self._engine.pid)

    def _stop(self) -> None:
        if self._engine is not None:
            engine, self._engine = self._engine, None
            engine.end()
            self._tell("stopped", pid=engine.pid)

    def _checkpoint(self) -> float:
        """Give the memory up; nothing of it stays."""
        self._tell("leaves")
        self._stop()
        return 0.0

    def _watch(self, lease: Lease) -> None:
        """Tell each change of how the lease reads, until it is over."""
        told: dict[str, Any] = {}
        with suppress(LeaseError):
            while True:
                reads = {"lease_id": lease.id, "token": lease.token, "local": lease.local, "state": lease.state}
                if reads != told:
                    told = reads
                    self._tell("lease", **reads)
                time.sleep(LOOKED_AT_EVERY_S)

    def _tell(self, event: str, **details: Any) -> None:
        self._teller.tell(event, job=self._task.job, **details)
