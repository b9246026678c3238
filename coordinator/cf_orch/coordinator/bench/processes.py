"""The processes of a measurement: a real coordinator on a real disk, the floor, the workers; all ended by their pid."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cf_orch.coordinator.bench.worker import Work

__all__ = ["coordinator_process", "floor_port", "resident_mb", "run_workers"]

STARTED_WITHIN_S = 30.0


@contextmanager
def coordinator_process(state_dir: Path, device: str) -> Iterator[tuple[str, int]]:
    """Run ``cf-orch serve`` on a free port; yields its URL and its pid."""
    command = [sys.executable, "-m", "cf_orch.coordinator.cli", "serve", "--port", "0"]
    command += ["--state-dir", str(state_dir), "--device", device]
    with _process(command, stderr=subprocess.DEVNULL) as process:
        match = re.search(r"http://\S+", _first_line(process))
        if match is None:
            raise RuntimeError("the coordinator did not say where it serves")
        _wait_ready(match[0])
        yield match[0], process.pid


def _wait_ready(url: str) -> None:
    with urllib.request.urlopen(f"{url}/readyz", timeout=STARTED_WITHIN_S) as answer:  # noqa: S310 - our own http URL
        answer.read()


@contextmanager
def floor_port() -> Iterator[int]:
    """Run the server that does nothing; yields its port."""
    with _process([sys.executable, "-m", "cf_orch.coordinator.bench.floor"]) as process:
        yield int(_first_line(process))


@contextmanager
def _process(command: list[str], stderr: int | None = None) -> Iterator[subprocess.Popen[str]]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("CF_ORCH_")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environ) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _first_line(process: subprocess.Popen[str]) -> str:
    if process.stdout is None:
        raise RuntimeError("its output is not read")
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{' '.join(map(str, process.args))} ended before it served")  # type: ignore[arg-type]
    return line


def run_workers(url: str, *, processes: int, clients: int, gb: float, seconds: float) -> list[Work]:
    """Let processes contend for leases of ``gb`` each; returns what each did."""
    arguments = [url, str(clients // processes), str(gb), str(seconds)]
    command = [sys.executable, "-m", "cf_orch.coordinator.bench.worker", *arguments]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]  # noqa: S603
    return [msgspec.json.decode(worker.communicate()[0], type=Work) for worker in running]


def resident_mb(pid: int) -> float:
    """Read a process's resident memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    return round(int(match[1]) / 1024, 1) if match else 0.0


def import_ms() -> float:
    """Time ``import cf_orch.client`` in a fresh interpreter, less the interpreter itself: the best of five."""
    code = "import time; t = time.perf_counter(); import cf_orch.client; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(5)]  # noqa: S603
    return round(min(float(json.loads(run.stdout)) for run in runs) * 1e3, 1)
