"""A real coordinator, and the command line as a real process, piped or on a terminal."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

GIB = 2**30
CF_ORCH = [sys.executable, "-m", "cf_orch.coordinator.cli"]
SOON_S = 20.0
"""Longer than anything here takes, even on a busy machine."""


def until(condition: Callable[[], Any]) -> Any:
    """Look at other processes until something is so, and return it."""
    deadline = time.monotonic() + SOON_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


class Coordinator:
    """A running coordinator, spoken to over plain HTTP as an operator does."""

    def __init__(self, folder: Path, *flags: str, declare: bool = True) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("CF_ORCH_")}
        config = folder / "cf-orch.toml"
        config.write_text("[policy]\nttl_s = 6\n[tasks.llm]\nvram_gb = 5.5\n")
        where = ["--port", "0", "--socket", str(folder / "sock"), "--state-dir", str(folder), "--journal", "memory"]
        declared = ["--device", "name=RTX 4090,vram_gb=24"] if declare else []
        self.process = subprocess.Popen(
            [*CF_ORCH, "serve", *where, "--config", str(config), *declared, *flags],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        greeting = self.process.stdout.readline()
        self.url = next(word for word in greeting.split() if word.startswith("http://"))
        self.socket = folder / "sock"
        until(lambda: self.get("/devices")["devices"])

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=SOON_S)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(
            f"{self.url}/api/v1{path}", data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(asked, timeout=SOON_S) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def ask(self, service: str, vram_gb: float, **fields: Any) -> str:
        """Ask for a lease without a session; return its id."""
        lease = self.call("POST", "/leases", {"service": service, "vram_gb": vram_gb, "ttl_s": 600, **fields})
        return str(lease["id"])

    def release(self, lease_id: str) -> None:
        self.call("DELETE", f"/leases/{lease_id}")

    def leases(self, state: str = "") -> list[dict[str, Any]]:
        leases: list[dict[str, Any]] = self.get("/leases")["leases"]
        return [lease for lease in leases if state in ("", lease["state"])]

    def release_all(self) -> None:
        for lease in self.leases("queued") + self.leases():
            self.release(lease["id"])
        until(lambda: not self.leases())

    def report(self, *, age_s: float = 0.0, used_gb: float = 10, error: str | None = None, **facts: Any) -> None:
        """Report a 48 GB card of another host, as its observer would."""
        card = {
            "uuid": "GPU-5b0c", "name": "NVIDIA RTX 6000 Ada Generation", "index": 0, "age_s": age_s, "error": error,
            "total_bytes": 48 * GIB, "reserve_bytes": GIB // 2, "capabilities": ["bf16", "fp8"],
            "used_bytes": int(used_gb * GIB), "free_bytes": int((48 - used_gb) * GIB),
            "processes": [{"pid": 812, "name": "Xorg", "used_bytes": int(used_gb * GIB)}],
        }  # fmt: skip
        self.call("POST", "/devices/report", {"host_id": "b00t", "host_name": "heron", "devices": [{**card, **facts}]})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    """One coordinator with an RTX 4090 for all tests of a file."""
    coordinator = Coordinator(tmp_path_factory.mktemp("coordinator"))
    yield coordinator
    coordinator.stop()


@pytest.fixture
def coordinator(running: Coordinator) -> Iterator[Coordinator]:
    """The coordinator, left without leases."""
    yield running
    running.release_all()


class Cli:
    """The command line, asked to talk to one coordinator."""

    def __init__(self, url: str, folder: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CF_ORCH_", "COLUMNS"))}
        self.env = {
            **kept,
            "CF_ORCH_URL": url,
            "CF_ORCH_RUNTIME_DIR": str(folder),
            "TERM": "xterm-256color",
            "TZ": "UTC",
        }
        self.started: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*CF_ORCH, *arguments], env=self.env | env, capture_output=True, text=True, check=False, timeout=SOON_S
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command and leave it running, in a process group of its own, as a shell does."""
        process = subprocess.Popen(
            [*CF_ORCH, *arguments], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, process_group=0,
        )  # fmt: skip
        self.started.append(process)
        return process

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate(timeout=SOON_S)


@pytest.fixture
def cli(coordinator: Coordinator, tmp_path: Path) -> Iterator[Cli]:
    """The command line; what was started and still runs is ended."""
    cli = Cli(coordinator.url, tmp_path)
    yield cli
    cli.end()


def said(cli: Cli, *arguments: str, **env: str) -> str:
    """Run a command that succeeds, and return what it printed, each run of blanks as one."""
    ended = cli(*arguments, **env)
    assert (ended.returncode, ended.stderr) == (0, "")
    return re.sub(r"[ \n]+", " ", ended.stdout)


class Terminal:
    """A program on a terminal of 80 columns, with the keys to send to it."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._keys, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no thread runs here
        )  # fmt: skip
        os.close(theirs)
        self.shown = ""

    def press(self, keys: str) -> None:
        os.write(self._keys, keys.encode())

    def read_until(self, text: str) -> str:
        """Read on until the text appears; return what was shown from the last such point to this one."""
        deadline = time.monotonic() + SOON_S
        while text not in self.shown:
            left_s = deadline - time.monotonic()
            assert select.select([self._keys], [], [], max(0, left_s))[0], f"{text!r} did not appear in {self.shown!r}"
            self.shown += os.read(self._keys, 4096).decode(errors="replace")
        before, found, self.shown = self.shown.partition(text)
        return before + found

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=SOON_S)
        os.close(self._keys)


StartTerminal = Callable[..., Terminal]


@pytest.fixture
def terminal(cli: Cli) -> Iterator[StartTerminal]:
    """Start programs on terminals; they are ended."""
    terminals: list[Terminal] = []

    def start(*command: str, **env: str) -> Terminal:
        terminals.append(Terminal(list(command), cli.env | env))
        return terminals[-1]

    yield start
    for made in terminals:
        made.close()
