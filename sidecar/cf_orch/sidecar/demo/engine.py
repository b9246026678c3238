"""The process that holds a product's model; only its end gives the memory back, as far as the CPU is concerned."""

import subprocess
import sys

__all__ = ["Engine", "EngineFailed"]

ENDS_WITHIN_S = 5.0


class EngineFailed(Exception):  # noqa: N818 - it names what happened
    """The process with the model ended, or said something else than it should."""


class Engine:
    """One such process; its first line says that its model is loaded, and each line that it is asked is answered."""

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

    def end(self) -> None:
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
