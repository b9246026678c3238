"""Whether the processes behind the sessions still live: the kernel says so, at once and for good.

Only a process that we can see ourselves is watched: on this host, in our pid namespace, begun when it says it began.
Of any other its silence tells, when its time to live is over.
"""

import asyncio
import os
from collections.abc import Callable, Container, Coroutine
from typing import Any

from cf_orch.gpus import ProcFs, host_identity

__all__ = ["Presence"]


class Presence:
    """Watches the processes of sessions, and has a session ended the moment its process is gone."""

    def __init__(self, end: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        """Watch nobody yet; ``end`` ends the session of that id, if it has not ended by itself."""
        self._end = end
        self._procfs = ProcFs()
        self._host_id = host_identity(self._procfs).host_id
        self._watched: dict[str, int] = {}  # session id: a descriptor of its process
        self._ending: set[asyncio.Task[None]] = set()

    def watch(
        self, session_id: str, *, host_id: str | None, pid: int | None, pid_start: int | None, open_ids: Container[str]
    ) -> None:
        """Watch a process, if it can be seen and is not watched yet; ``open_ids`` are the sessions that live."""
        if session_id in self._watched or host_id != self._host_id or pid is None or pid_start is None:
            return
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:  # it is gone already, or cannot be seen: its time to live will tell
            return
        if self._procfs.start_ticks(pid) != pid_start:  # another process, in another namespace's words
            os.close(descriptor)
            return
        for other in [other for other in self._watched if other not in open_ids]:
            self._forget(other)  # it ended while its process lives on, and descriptors are few
        self._watched[session_id] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._gone, session_id)

    def close(self) -> None:
        """Watch nobody any more."""
        for session_id in list(self._watched):
            self._forget(session_id)

    def _forget(self, session_id: str) -> None:
        descriptor = self._watched.pop(session_id)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)

    def _gone(self, session_id: str) -> None:
        self._forget(session_id)
        task = asyncio.create_task(self._end(session_id))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
