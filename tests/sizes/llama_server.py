"""Asks llama.cpp itself what it would put on a card, without a card and without weights.

Its RPC backend makes any process a device that the loader offloads to as to a GPU, and its fitting step lays a model
out without allocating: `common_memory_breakdown_print` then says, in whole MiB, what would lie where.  So the true
sizes of an 8B or a 671B model are had in a tenth of a second on any machine, from a file that is a header and a hole.
"""

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = ["Measured", "ask", "rpc_device"]

_ROW = re.compile(r"- RPC0 .*\( *\d+ = +(?P<model>\d+) \+ +(?P<context>\d+) \+ +(?P<compute>\d+)\)")
_HOST = re.compile(r"- Host .*\| +\d+ = +(?P<model>\d+) \+")
_START_S = 10


class Measured(NamedTuple):
    """What the loader says, in MiB: on the device, and of the weights in host memory."""

    weights_mib: int
    kv_mib: int
    compute_mib: int
    host_mib: int


@contextmanager
def rpc_device(rpc_server: Path) -> Iterator[str]:
    """Run a device; yields its address.  It is ended by its own pid."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(rpc_server), "-H", "127.0.0.1", "-p", str(port), "-d", "CPU"]
    device = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield f"127.0.0.1:{port}"
    finally:
        device.kill()
        device.wait()


def ask(server: Path, device: str, model: Path, *, context: int, parallel: int, kv_type: str) -> Measured:
    """Let the loader lay out a model, and end it before it reads a weight."""
    command = [str(server), "-m", str(model), "--rpc", device, "-ngl", "999", "--no-webui", "--no-warmup", "-lv", "5"]
    command += ["-c", str(context * parallel), "-np", str(parallel), "-ctk", kv_type, "-ctv", kv_type, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    assert process.stdout is not None
    said: list[str] = []
    row = None
    try:
        for line in process.stdout:
            said.append(line)
            row = _ROW.search(line) or row
            if row and (host := _HOST.search(line)):
                return Measured(int(row["model"]), int(row["context"]), int(row["compute"]), int(host["model"]))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    raise RuntimeError(f"llama-server did not say what {model.name} takes:\n" + "".join(said[-20:]))


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.02)
    raise RuntimeError(f"no RPC device listened on port {port} within {_START_S} s")
