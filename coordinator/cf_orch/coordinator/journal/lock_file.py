"""A lock that ends with its process, on a file that names the holder."""

import fcntl
import os
from pathlib import Path

from cf_orch.coordinator.journal.interface import JournalLocked

__all__ = ["LockFile"]


class LockFile:
    """A lock that ends with its process, on a file that names the holder; to delete it would be a race."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self, me: str) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, holder = os.pread(self._fd, 4096, 0).decode(errors="replace").strip().partition(" ")
            self.release()
            place = str(self._path.parent)
            raise JournalLocked(place, int(pid) if pid.isdigit() else None, holder) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()} {me}\n".encode(), 0)

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
