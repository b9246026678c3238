"""Whether the processes behind the sessions still live: the kernel says so, at once and for good.

Only a process that we can see ourselves is watched: on this host, in our pid namespace, begun when it says it began.
Of any other its silence tells, when its time to live is over.
"""

import asyncio
import os
from contextlib import suppress

from cf_orch.coordinator.doors.views import nothing
from cf_orch.coordinator.engine import Engine, EngineStopped
from cf_orch.gpus import ProcFs, host_identity
from cf_orch.ledger import Refusal, Session, commands

__all__ = ["Presence"]


class Presence:
    """Watches the processes of sessions, and ends a session the moment its process is gone."""

    def __init__(self, engine: Engine) -> None:
        """Watch nobody yet."""
        self._engine = engine
        self._procfs = ProcFs()
        self._host_id = host_identity(self._procfs).host_id
        self._watched: dict[str, int] = {}  # session id: a descriptor of its process
        self._ending: set[asyncio.Task[None]] = set()

    def watch(self, session: Session) -> None:
        """Watch a session's process, if it can be seen and is not watched yet."""
        if session.id in self._watched or session.host_id != self._host_id:
            return
        if session.pid is None or session.pid_start is None:
            return
        try:
            descriptor = os.pidfd_open(session.pid)
        except OSError:  # it is gone already, or cannot be seen: its time to live will tell
            return
        if self._procfs.start_ticks(session.pid) != session.pid_start:  # another process, in another namespace's words
            os.close(descriptor)
            return
        self._drop_ended()
        self._watched[session.id] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._gone, session.id)

    def close(self) -> None:
        """Watch nobody any more."""
        for session_id in list(self._watched):
            self._forget(session_id)

    def _drop_ended(self) -> None:
        """Let go of sessions that ended while their process lives on, now and then: descriptors are few."""
        sessions = self._engine.ledger.sessions
        if len(self._watched) > 2 * len(sessions):
            for session_id in self._watched.keys() - sessions.keys():
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

    async def _end(self, session_id: str) -> None:
        with suppress(Refusal, EngineStopped):  # it may have ended by itself, properly
            await self._engine.do(commands.CloseSession(session_id=session_id, lost=True), nothing)
