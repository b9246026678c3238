"""A process of its own that keeps one lease for another, so that the other may be stopped, or be anything.

It is forked before any thread starts, asks for the lease, says how the wait goes, renews, and gives the lease back
when it is told to, or when the one it keeps it for is gone: their pipe ends with either.  It inherits the block on
signals (see ``signals``), so that no key on the terminal reaches it.
"""

import asyncio
import fcntl
import os
import select
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Literal, NamedTuple, NoReturn, Self

import msgspec

from cf_orch.client import LeaseError, LeaseLost, ResourceCoordinator, VRAMSlot
from cf_orch.client.address import find_addresses
from cf_orch.protocol.messages import LeaseInfo, StatusAnswer
from cf_orch.sidecar.commands.api import Api
from cf_orch.sidecar.commands.failures import CommandFailed
from cf_orch.sidecar.commands.wording import Names, device_name, waits

__all__ = ["Failed", "Granted", "Keeper", "Kept", "Lost", "News", "Noted", "Waiting"]

FIRST_LOOK_S = 0.2
LOOK_EVERY_S = 1.0
RELEASE_WITHIN_S = 5.0


class Kept(NamedTuple):
    """What is to be kept, and how: the slot, the coordinator's URL if not the default, what to do without one."""

    slot: VRAMSlot
    url: str | None = None
    fallback: Literal["local", "wait", "fail"] = "local"


class Waiting(msgspec.Struct, frozen=True, tag=True):
    """The lease is not granted yet; ``why`` says what it waits for, and changes with every figure.

    ``key`` changes only when something of note has: the place in the queue, or who is in front.
    """

    why: str
    key: str


class Granted(msgspec.Struct, frozen=True, tag=True):
    """The lease is granted: with what the program needs in its environment, and where it is."""

    lease_id: str
    vram_gb: float
    devices: list[str]
    env: dict[str, str]


class Noted(msgspec.Struct, frozen=True, tag=True):
    """Something that the user should know."""

    what: str


class Lost(msgspec.Struct, frozen=True, tag=True):
    """The lease was held, and is no longer."""

    why: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """There will be no lease."""

    why: str


class _Attach(msgspec.Struct, frozen=True, tag=True):
    pid: int


News = Waiting | Granted | Noted | Lost | Failed


class Keeper:
    """The handle on the process; a SIGIO comes to who started it with every piece of news, a SIGCHLD at its end."""

    def __init__(self, kept: Kept) -> None:
        """Fork.  Must be called before this process starts a thread, with signals blocked."""
        self._pipe, theirs = Pipe()
        fcntl.fcntl(self._pipe.fileno(), fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self._pipe.fileno(), fcntl.F_SETFL, os.O_ASYNC)
        self._pid = os.fork()
        if self._pid == 0:
            self._pipe.close()
            _be_keeper(kept, theirs)
        theirs.close()
        self._over = False

    def __enter__(self) -> Self:
        """Use it; it ends with the context."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the lease go, and wait until it is; not for ever, for nobody could interrupt that."""
        self._pipe.close()
        pidfd = os.pidfd_open(self._pid)
        if not select.select([pidfd], [], [], RELEASE_WITHIN_S)[0]:
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(pidfd)

    def news(self) -> Iterator[News]:
        """Take what it has said so far; its sudden end is the loss of the lease, and nothing follows a loss."""
        while not self._over and self._pipe.poll():
            try:
                news = msgspec.json.decode(self._pipe.recv_bytes(), type=News)
            except (EOFError, OSError):
                news = Lost("the process that kept it has died")
            self._over = isinstance(news, Lost | Failed)
            yield news

    def attach(self, pid: int) -> None:
        """Say which process uses the memory."""
        with suppress(OSError):  # its end is news
            self._pipe.send_bytes(msgspec.json.encode(_Attach(pid)))


def _be_keeper(kept: Kept, pipe: Connection) -> NoReturn:
    """Live as the keeper; never return into the code of the process that was forked."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *_rest, **_named: _say(pipe, Noted(str(message)))
    status = 1
    try:
        asyncio.run(_keep(kept, pipe))
        status = 0
    except Exception as error:  # noqa: BLE001 - a person reads a sentence, not a traceback
        _say(pipe, Failed(f"the lease could not be kept: {error!r}"))
    finally:
        sys.stderr.flush()
        os._exit(status)


def _say(pipe: Connection, news: News) -> None:
    with suppress(OSError):  # nobody listens any more: the end is near
        pipe.send_bytes(msgspec.json.encode(news))


async def _keep(kept: Kept, pipe: Connection) -> None:
    """Hold the lease until the other end of the pipe is gone."""
    attached: asyncio.Queue[int] = asyncio.Queue()
    holding = asyncio.create_task(_hold(kept, pipe, attached))
    asyncio.get_running_loop().add_reader(pipe.fileno(), _read, pipe, attached, holding)
    with suppress(asyncio.CancelledError):
        await holding


def _read(pipe: Connection, attached: asyncio.Queue[int], holding: asyncio.Task[None]) -> None:
    try:
        attached.put_nowait(msgspec.json.decode(pipe.recv_bytes(), type=_Attach).pid)
    except (EOFError, OSError):
        asyncio.get_running_loop().remove_reader(pipe.fileno())
        holding.cancel()


async def _hold(kept: Kept, pipe: Connection, attached: asyncio.Queue[int]) -> None:
    explaining = asyncio.create_task(_explain(kept, pipe))
    try:
        with ResourceCoordinator(kept.url, fallback=kept.fallback) as coordinator:
            async with coordinator.lease(kept.slot) as lease:
                explaining.cancel()
                devices = [f"{device_name(device.name)} on {device.host}" for device in lease.devices]
                _say(pipe, Granted(lease.id, lease.vram_gb, devices, dict(lease.env)))
                while True:
                    await lease.attach(await attached.get())
    except LeaseLost as error:
        _say(pipe, Lost(str(error)))
    except LeaseError as error:
        _say(pipe, Failed(str(error)))
    finally:
        explaining.cancel()


async def _explain(kept: Kept, pipe: Connection) -> None:
    """Say each second how the wait goes; a grant that comes at once is not kept waiting for words."""
    api = Api(find_addresses(kept.url), os.environ.get("CF_ORCH_TOKEN"))
    while True:
        await asyncio.sleep(FIRST_LOOK_S)
        waiting = await asyncio.to_thread(_look, api, kept)
        if waiting is not None:
            _say(pipe, waiting)
        await asyncio.sleep(LOOK_EVERY_S - FIRST_LOOK_S)


def _look(api: Api, kept: Kept) -> Waiting | None:
    try:
        status = api.get(StatusAnswer, "/status")
    except CommandFailed as failure:
        return Waiting(f"waits: {failure}", "away")
    lease = _own(status, kept.slot.service)
    if lease is None:
        return None
    why = waits(lease, Names(status.devices, status.leases))
    before = lease.position or 0
    behind = lease.waiting_for.behind if lease.waiting_for else []
    rule = lease.waiting_for.rule if lease.waiting_for else ""
    return Waiting(f"{lease.id} is number {before + 1} in the queue and {why}", f"{before} {rule} {behind}")


def _own(status: StatusAnswer, service: str) -> LeaseInfo | None:
    """Find what this process waits for: by its session, or, where its pid has another number there, by its service."""
    queued = [lease for lease in status.leases if lease.state == "queued" and lease.service == service]
    mine = {session.id for session in status.sessions if session.pid == os.getpid()}
    found = [lease for lease in queued if lease.session_id in mine] or queued
    return found[0] if len(found) == 1 else None
