"""Processes of the demo: started in a group of their own, listened to, and ended by their own id."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cf_orch.gpus import ProcFs

__all__ = ["Died", "Engines", "NotUp", "Process", "running"]

ENDS_WITHIN_S = 10.0
LOOKED_FOR_EVERY_S = 0.01
TOLD_LINES = 6


class Died(Exception):  # noqa: N818 - it names what happened
    """A process ended before its time; ``str()`` says which, and its last lines."""


class NotUp(Exception):  # noqa: N818 - it names what happened
    """A process lives, and does not say that it serves; ``str()`` says which, and its last lines."""


class Process:
    """A process that runs; made by ``running``."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        """Wrap what was started."""
        self.name = name
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def line(self) -> str:
        """Return its next line of output.  Raises Died at its end."""
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        line = await self._process.stdout.readline()
        if not line:
            status = await self._process.wait()
            raise Died(f"the {self.name} ended with status {status}{self._last_lines()}")
        return line.decode(errors="replace").strip()

    async def says(self, pattern: str, within_s: float) -> str:
        """Wait for a line that has ``pattern`` in it, and return what matched.  Raises Died, NotUp."""
        try:
            async with asyncio.timeout(within_s):
                while not (found := re.search(pattern, await self.line())):
                    pass
        except TimeoutError as late:
            raise NotUp(f"the {self.name} did not come up within {within_s:g} s{self._last_lines()}") from late
        return found[0]

    def send(self, line: str) -> None:
        """Write a line to its input."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(f"{line}\n".encode())

    async def kill(self) -> None:
        """End it as kill -9 does, and wait until it is gone."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

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
            await self.kill()

    def _last_lines(self) -> str:
        last = self._log.read_text(errors="replace").strip().splitlines()[-TOLD_LINES:]
        return "\n  ".join(("; its last lines:", *last)) if last else ""


@asynccontextmanager
async def running(
    name: str, command: Sequence[str], scratch: Path, environ: Mapping[str, str]
) -> AsyncIterator[Process]:
    """Run a process until the context ends; what it says on stderr is added to a file in ``scratch``.

    No setting of the user's own coordinator reaches it but for those in ``environ``, and no key of the terminal: its
    ending is this process's.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CF_ORCH_")}
    log = scratch / f"{name}.log"
    with log.open("ab") as errors:
        started = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**inherited, **environ},
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
        return self._procfs.tree_pss_bytes(list(self._starts.items()))

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
