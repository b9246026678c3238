"""Processes of the demo: started in a group of their own, listened to, and ended by their own id."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cf_orch.gpus import ProcFs

__all__ = ["Died", "Engines", "Process", "running"]

ENDS_WITHIN_S = 10.0
LOOKED_FOR_EVERY_S = 0.01
TOLD_LINES = 6


class Died(Exception):  # noqa: N818 - it names what happened
    """A process ended before its time; ``str()`` says which, and its last lines."""


class Process:
    """A process that runs; made by ``running``."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        """Wrap what was started."""
        self.name = name
        self._process = process
        self._log = log

    async def line(self) -> str:
        """Return its next line of output.  Raises Died at its end."""
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        line = await self._process.stdout.readline()
        if not line:
            raise Died(self._obituary(await self._process.wait()))
        return line.decode(errors="replace").strip()

    def send(self, line: str) -> None:
        """Write a line to its input."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(f"{line}\n".encode())

    async def end(self) -> None:
        """Close its input, ask it to end, wait, and make it end if it does not."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.close()
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(ENDS_WITHIN_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _obituary(self, status: int) -> str:
        last = self._log.read_text(errors="replace").strip().splitlines()[-TOLD_LINES:]
        return "\n  ".join((f"the {self.name} ended with status {status}; its last lines:", *last))


@asynccontextmanager
async def running(name: str, command: Sequence[str], scratch: Path) -> AsyncIterator[Process]:
    """Run a process until the context ends; what it says on stderr goes to a file in ``scratch``.

    No setting of the user's own coordinator reaches it, and no key of the terminal: its ending is this process's.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CF_ORCH_")}
    log = scratch / f"{name}.log"
    with log.open("wb") as errors:
        started = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=environ,
            start_new_session=True,
        )
    process = Process(name, started, log)
    try:
        yield process
    finally:
        await process.end()


class Engines:
    """The processes with the models: children of the products, so they are known by pid and start."""

    def __init__(self) -> None:
        """Know none yet."""
        self._procfs = ProcFs()
        self._starts: dict[int, int | None] = {}

    def add(self, pid: int) -> None:
        """Know one more."""
        self._starts[pid] = self._procfs.start_ticks(pid)

    def pss_bytes(self) -> dict[int, int]:
        """What each that lives has now; takes milliseconds."""
        return self._procfs.tree_pss_bytes(self._starts.items())

    async def gone(self) -> None:
        """Wait until none lives; they end with their products, and are made to if they do not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ENDS_WITHIN_S):
                while self._living():  # noqa: ASYNC110 - the kernel tells nobody but their parent
                    await asyncio.sleep(LOOKED_FOR_EVERY_S)
        for pid in self._living():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _living(self) -> list[int]:
        return [
            pid for pid, start in self._starts.items() if start is not None and self._procfs.start_ticks(pid) == start
        ]
