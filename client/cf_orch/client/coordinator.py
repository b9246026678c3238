"""The client's handle on the coordinator."""

import os
import socket
import threading
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

from cf_orch.client.address import Address, find_addresses
from cf_orch.client.away import LocalLeases, nvidia_devices
from cf_orch.client.connection import Connection, connect
from cf_orch.client.io_thread import IoThread
from cf_orch.client.local import LocalTurns, runtime_folder
from cf_orch.client.opener import LeaseOpener
from cf_orch.client.session import Fallback, Session
from cf_orch.client.slot import VRAMSlot
from cf_orch.gpus import NvmlReader, ProcFs, host_identity
from cf_orch.protocol.messages import Notice, SessionRequest

__all__ = ["ResourceCoordinator"]

ANSWERS_WITHIN_S = 1.0


class ResourceCoordinator:
    """A handle on the coordinator, for any number of tasks, loops and threads of one process.

    ``url`` is http://HOST:PORT or unix:///PATH, or several with commas between, tried in turn; without it CF_ORCH_URL
    holds, else the unix socket if there is one, else http://127.0.0.1:7700.  ``token`` is CF_ORCH_TOKEN's by default.
    ``fallback`` says what happens while nobody answers: ``local`` takes turns with all others on this host, ``wait``
    waits for ever, ``fail`` raises CoordinatorUnreachable.  ``ttl_s`` is how long the coordinator waits for a sign of
    life, by default as it is configured.  Nothing connects before the first lease.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        fallback: Fallback = "local",
        ttl_s: float | None = None,
    ) -> None:
        """Raises ValueError for what is no URL or no fallback."""
        if fallback not in ("local", "wait", "fail"):
            raise ValueError(f"fallback is 'local', 'wait' or 'fail', not {fallback!r}")
        self._make = partial(
            _Process, find_addresses(url), token or os.environ.get("CF_ORCH_TOKEN") or None, fallback, ttl_s
        )
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._is_closed = False
        _handles.add(self)

    def lease(
        self,
        slot: VRAMSlot,
        *,
        checkpoint: Callable[[], Any] | None = None,
        restore: Callable[[], Any] | None = None,
    ) -> LeaseOpener:
        """Ask for memory: ``async with`` yields an AsyncLease, ``with`` a Lease.  Nothing is asked before that.

        With ``checkpoint`` the lease can be evicted: when another needs the memory more, new ``use()`` waits, and when
        the last one has left, ``checkpoint()`` gives the memory up.  It returns what stays on each device in GB, or
        None for the slot's ``residue_gb``.  When the memory is there again ``restore()`` takes it back, and ``use()``
        goes on.  Async ones run on the loop of the ``async with``, plain ones in a thread of their own.  A checkpoint
        that raises must leave things as they were: the lease keeps its memory.  A restore that raises ends the lease:
        its body gets LeaseLost, with the error as its cause.  Opening raises a LeaseError.
        """
        if restore is not None and checkpoint is None:
            raise ValueError("restore without checkpoint: there would be nothing to restore")
        return LeaseOpener(self, slot, checkpoint, restore)

    def session_for(self, service: str) -> tuple[Session, IoThread]:
        """The one session of this process for a service, and the thread that it lives in."""
        with self._lock:
            if self._is_closed:
                raise RuntimeError("this ResourceCoordinator is closed")
            if self._process is None:
                self._process = self._make()
                weakref.finalize(self, self._process.close)
            return self._process.session_for(service), self._process.io

    def close(self) -> None:
        """Give back all that is held, and end.  Also done when the process exits."""
        with self._lock:
            process, self._process, self._is_closed = self._process, None, True
        if process is not None:
            process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _forked(self) -> None:
        """In a child process: begin anew.  What was inherited stays the parent's."""
        self._lock = threading.Lock()
        if self._process is not None:
            self._process.forked()
            _inherited.append(self._process)
            self._process = None


class _Process:
    """What a handle has in one process: the I/O thread, and a session for each service."""

    def __init__(
        self, addresses: tuple[Address, ...], token: str | None, fallback: Fallback, ttl_s: float | None
    ) -> None:
        self.io = IoThread()
        self._connect = partial(_connect, addresses, token)
        self._fallback: Fallback = fallback
        self._me = _registration(ttl_s)
        self._turns = LocalTurns(runtime_folder(), self._me.pid_start)
        self._look = partial(nvidia_devices, NvmlReader())
        self._sessions: dict[str, Session] = {}

    def session_for(self, service: str) -> Session:
        session = self._sessions.get(service)
        if session is None:
            session = self._sessions[service] = self._open(service)
        return session

    def close(self) -> None:
        """Close, and wait for it; in the I/O thread itself, where garbage may be collected, do not wait."""
        if self.io.is_usable:
            closed = self.io.run(self._close())
            if not self.io.is_current:
                closed.result()
            self.io.stop()

    def forked(self) -> None:
        self._turns.close()
        for session in self._sessions.values():
            session.forked()

    def _open(self, service: str) -> Session:
        registration = SessionRequest(
            service=service,
            host_id=self._me.host_id,
            host_name=self._me.host_name,
            pid=self._me.pid,
            pid_start=self._me.pid_start,
            ttl_s=self._me.ttl_s,
        )
        local = LocalLeases(self._turns, self._look, self._me.host_name or "")
        session = Session(registration, self._connect, self._turns, local, self._fallback)
        self.io.soon(session.start)
        return session

    async def _close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._turns.close()


def _connect(
    addresses: tuple[Address, ...], token: str | None, on_notice: Callable[[Notice], None]
) -> Awaitable[Connection]:
    return connect(addresses, token, on_notice, within_s=ANSWERS_WITHIN_S)


def _registration(ttl_s: float | None) -> SessionRequest:
    try:
        host = host_identity()
        host_id, host_name = host.host_id, host.host_name
    except OSError:  # no Linux: the coordinator then counts it as a host without devices
        host_id, host_name = None, socket.gethostname()
    pid = os.getpid()
    return SessionRequest(
        service="", host_id=host_id, host_name=host_name, pid=pid, pid_start=ProcFs().start_ticks(pid), ttl_s=ttl_s
    )


_handles: weakref.WeakSet[ResourceCoordinator] = weakref.WeakSet()
_inherited: list[_Process] = []
"""What forked children got from their parents, kept so that no destructor disturbs what they share with them."""


def _after_fork_in_child() -> None:
    for handle in list(_handles):
        handle._forked()  # noqa: SLF001 - its own module


os.register_at_fork(after_in_child=_after_fork_in_child)
