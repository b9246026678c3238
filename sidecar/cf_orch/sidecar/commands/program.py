"""The program that runs under a lease: found, started, signalled, and ended with us."""

import ctypes
import errno
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from cf_orch.sidecar.commands.failures import CommandFailed

__all__ = ["EXIT_NOT_EXECUTABLE", "EXIT_NOT_FOUND", "Program", "find_program"]

EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
_PR_SET_PDEATHSIG = 1


def find_program(name: str) -> str:
    """Return the path of a program as a shell would find it; raises CommandFailed with the shell's statuses."""
    found = shutil.which(name)
    if found is not None:
        return found
    path = Path(name)
    if "/" in name and path.is_dir():
        raise CommandFailed(f"{name} is a folder, no program", EXIT_NOT_EXECUTABLE)
    if "/" in name and path.exists():
        raise CommandFailed(f"{name} is not executable: try chmod +x, or name its interpreter", EXIT_NOT_EXECUTABLE)
    raise CommandFailed(f"{name}: no such program", EXIT_NOT_FOUND)


class Program:
    """A started program, in our process group, so that the terminal's keys reach it as they reach us."""

    def __init__(self, path: str, command: list[str], env: Mapping[str, str], mask: set[signal.Signals | int]) -> None:
        """Start it with this environment beside ours, and with this signal mask.  Raises CommandFailed."""
        prepare = partial(_prepare, _libc_prctl(), os.getpid(), mask)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - running what the user names is the purpose
                command,
                executable=path,
                env={**os.environ, **env},
                preexec_fn=prepare,  # noqa: PLW1509 - this process has one thread
            )
        except OSError as error:
            status = EXIT_NOT_FOUND if error.errno == errno.ENOENT else EXIT_NOT_EXECUTABLE
            reason = "its interpreter is missing" if status == EXIT_NOT_FOUND else (error.strerror or "").lower()
            raise CommandFailed(f"{path} cannot be run: {reason}", status) from None
        self.pid = self._process.pid

    def exit_status(self) -> int | None:
        """Its exit status as a shell gives it, 128+n after signal n; None while it runs."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        self._process.send_signal(number)

    def end(self, grace_s: float) -> None:
        """End it and all that it started, for the memory may be a grandchild's: SIGTERM, and SIGKILL after a grace."""
        family = _open_all([self.pid, *_descendants(self.pid)])
        try:
            for number in (signal.SIGTERM, signal.SIGCONT):  # a stopped one could not end
                _send_all(family, number)
            deadline = time.monotonic() + grace_s
            left = set(family)
            while left and (left_s := deadline - time.monotonic()) > 0:
                left -= set(select.select(left, [], [], left_s)[0])
            _send_all(left, signal.SIGKILL)
        finally:
            for pidfd in family:
                os.close(pidfd)
        self._process.wait()


def _open_all(pids: Iterable[int]) -> list[int]:
    """Hold on to processes, so that no signal meets another one that has got the same pid."""
    pidfds: list[int] = []
    for pid in pids:
        with suppress(ProcessLookupError):
            pidfds.append(os.pidfd_open(pid))
    return pidfds


def _send_all(pidfds: Iterable[int], number: int) -> None:
    for pidfd in pidfds:
        with suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(pidfd, number)


def _descendants(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:  # it ended while we looked
        return
    for child in map(int, children.split()):
        yield child
        yield from _descendants(child)


def _libc_prctl() -> Callable[..., int]:
    prctl: Callable[..., int] = ctypes.CDLL(None).prctl
    return prctl


def _prepare(prctl: Callable[..., int], parent: int, mask: set[signal.Signals | int]) -> None:
    """Make the kernel kill this process when its parent ends, however that ends; runs between fork and exec."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(EXIT_NOT_EXECUTABLE)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
