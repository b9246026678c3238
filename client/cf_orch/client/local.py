"""Turns: how the processes of one host share its devices while no coordinator answers.

One lease at a time on the host, in the order of asking.  The runtime folder, which all of the host's processes must
share, holds:

``local.json``   the tickets, in order: who waits, and whose turn it is
``local.guard``  flock: whoever reads and writes the tickets
``local.lock``   flock: exclusive while a turn lasts; shared while a process uses a lease that the coordinator granted
``owner-*``      flock: held by each process that has a ticket; free, it says that the process is dead

The kernel drops a dead process's locks, so that its turn ends and its tickets are void, whatever its pid namespace.
Memory that is kept warm but idle holds no lock and keeps nobody out.
"""

import asyncio
import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

__all__ = ["LocalTurns", "Ticket", "runtime_folder"]

LOOK_EVERY_S = 0.05
RELAYED_TURN_GRACE_S = 2.0
"""Longer than a process takes to hold the lock itself, when who took its turn for it has died."""


SYSTEM_FOLDER = Path("/run/cf-orch")


def runtime_folder(environ: Mapping[str, str] = os.environ, *, system: Path = SYSTEM_FOLDER) -> Path:
    """The folder that all processes of this host should share."""
    if given := environ.get("CF_ORCH_RUNTIME_DIR"):
        return Path(given)
    if system.is_dir() and os.access(system, os.W_OK):
        return system  # containers and other users share it
    if per_user := environ.get("XDG_RUNTIME_DIR"):
        return Path(per_user) / "cf-orch"
    if not system.exists() and os.access(system.parent, os.W_OK):
        return system
    return Path(f"/tmp/cf-orch-{os.getuid()}")  # noqa: S108 - named by user, made with mode 0700, checked


class Ticket(msgspec.Struct, kw_only=True):
    """One place in the order of the host; ``pid`` and ``pid_start`` as the process itself sees them."""

    number: int
    owner: str
    pid: int
    pid_start: int | None
    request_id: str
    vram_bytes: int
    devices: list[str] = []
    has_turn: bool = False
    is_relayed: bool = False  #: for another process, which goes on if the owner dies
    dead_since: float | None = None  #: when a relayed turn was first seen without its owner, by CLOCK_BOOTTIME


class _Tickets(msgspec.Struct):
    next_number: int = 1
    tickets: list[Ticket] = []


class LocalTurns:
    """One process's part in the turns of its host.  Not thread-safe: used from one event loop.

    ``use`` and ``leave`` count the coordinator's leases in use here; ``take_turn`` waits for a turn.
    """

    def __init__(self, folder: Path, pid_start: int | None = None, *, relays: bool = False) -> None:
        """Touch nothing yet; one that ``relays`` takes its turns for other processes."""
        self._relays = relays
        self._folder = folder
        self._pid_start = pid_start
        self._owner = f"owner-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._files: dict[str, int] = {}
        self._users: set[str] = set()
        self._alone: set[str] = set()
        self._turns: dict[int, str] = {}

    # --- leases that the coordinator granted

    def use(self, request_id: str, *, alone: bool = False) -> None:
        """A lease of the coordinator is in use: no turn begins beside it.

        One that is a sidecar's turn is used ``alone``.
        """
        self._users.add(request_id)
        (self._alone.add if alone else self._alone.discard)(request_id)
        self.refresh()

    def leave(self, request_id: str) -> None:
        """It is not in use any more."""
        self._users.discard(request_id)
        self._alone.discard(request_id)
        if not self._users and not self._turns and "local.lock" in self._files:
            fcntl.flock(self._files["local.lock"], fcntl.LOCK_UN)

    def refresh(self) -> None:
        """Take the shared lock that a turn of another process withheld, if it can be had now.

        A sidecar's turn is taken over from it: exclusively, and in vain for as long as it lives.
        """
        if self._users and not self._turns:
            kind = fcntl.LOCK_EX if self._alone else fcntl.LOCK_SH
            with contextlib.suppress(OSError):  # held by a turn elsewhere, or a folder that cannot be written
                fcntl.flock(self._file("local.lock"), kind | fcntl.LOCK_NB)

    def are_wanted(self) -> bool:
        """Tell whether anybody on this host waits for a turn or, having it, for room on a device."""
        try:
            with self._tickets() as book:
                return any(not ticket.devices for ticket in book.tickets if self._is_alive(ticket.owner))
        except (OSError, msgspec.MsgspecError):  # a folder that cannot be used: then nobody takes turns here
            return False

    @property
    def has_turn(self) -> bool:
        """True while this process has a turn."""
        return bool(self._turns)

    def is_free(self) -> bool:
        """Tell whether no turn lasts on this host."""
        if self._turns or self._alone:
            return False
        try:
            lock = self._file("local.lock")
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a folder that cannot be written: then nobody takes turns here
            return True
        if not self._users:
            fcntl.flock(lock, fcntl.LOCK_UN)
        return not self._is_turn_orphaned()

    def _is_turn_orphaned(self) -> bool:
        """Tell whether a sidecar died just now whose turn another process may still be about to take over."""
        with self._tickets() as book:
            return any(
                ticket.has_turn and not self._is_alive(ticket.owner) and _is_used_still(ticket)
                for ticket in book.tickets
            )

    # --- turns

    async def take_turn(self, request_id: str, vram_bytes: int, within: frozenset[str] = frozenset()) -> Ticket:
        """Wait for a turn, behind all who asked before.

        ``within`` names the leases from inside of which this one is asked for: they cannot end before it is served,
        so that it shares their turn, or waits only for those who use the host now.
        """
        ticket = self._draw(request_id, vram_bytes)
        try:
            while not self._try_turn(ticket, within):  # noqa: ASYNC110 - the event is another process's
                await asyncio.sleep(LOOK_EVERY_S)
        except BaseException:
            self.end_turn(ticket)
            raise
        return ticket

    def end_turn(self, ticket: Ticket) -> None:
        """Give the turn, or the wait for it, up."""
        with self._tickets() as book:
            book.tickets = [other for other in book.tickets if other.number != ticket.number]
            self._turns.pop(ticket.number, None)
            if not self._turns and (lock := self._files.get("local.lock")) is not None:
                fcntl.flock(lock, fcntl.LOCK_UN)
                self.refresh()

    def note_devices(self, ticket: Ticket, devices: list[str]) -> None:
        """Say, for who looks at the tickets, where a turn takes its memory."""
        with self._tickets() as book:
            for mine in book.tickets:
                if mine.number == ticket.number:
                    mine.devices = devices

    def close(self) -> None:
        """Let go of all locks and tickets; in a forked child, of its copies of them only."""
        for file in self._files.values():
            os.close(file)
        if self._files and self._owner.startswith(f"owner-{os.getpid()}-"):
            (self._folder / self._owner).unlink(missing_ok=True)
        self._files.clear()

    def _draw(self, request_id: str, vram_bytes: int) -> Ticket:
        if self._owner not in self._files:
            fcntl.flock(self._file(self._owner), fcntl.LOCK_EX)
        with self._tickets() as book:
            ticket = Ticket(
                number=book.next_number,
                owner=self._owner,
                pid=os.getpid(),
                pid_start=self._pid_start,
                request_id=request_id,
                vram_bytes=vram_bytes,
                is_relayed=self._relays,
            )
            book.next_number += 1
            book.tickets.append(ticket)
        return ticket

    def _try_turn(self, ticket: Ticket, within: frozenset[str]) -> bool:
        with self._tickets() as book:
            if not self._is_next(ticket, book, within) or not self._lock_exclusively():
                return False
            self._turns[ticket.number] = ticket.request_id
            for mine in book.tickets:
                mine.has_turn = mine.has_turn or mine.number == ticket.number
            return True

    def _is_next(self, ticket: Ticket, book: _Tickets, within: frozenset[str]) -> bool:
        """Tell whether nobody stands before; void the tickets of the dead on the way."""
        in_use_here = self._users | set(self._turns.values())
        if in_use_here:
            return in_use_here <= within
        for other in list(book.tickets):
            if other.number == ticket.number:
                return True
            if self._is_alive(other.owner) or _is_used_still(other):
                return False
            book.tickets.remove(other)
        raise AssertionError(f"ticket {ticket.number} is not among the tickets of {self._folder}")

    def _lock_exclusively(self) -> bool:
        """Try, with the guard in hand: a failed try drops the shared lock, and no turn may begin before it is back."""
        try:
            fcntl.flock(self._file("local.lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.refresh()
            return False
        return True

    def _is_alive(self, owner: str) -> bool:
        if owner == self._owner:
            return True
        path = self._folder / owner
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        path.unlink(missing_ok=True)
        return False

    @contextlib.contextmanager
    def _tickets(self) -> Iterator[_Tickets]:
        """Read the tickets under the guard, and write back what was changed."""
        path = self._folder / "local.json"
        guard = self._file("local.guard")
        fcntl.flock(guard, fcntl.LOCK_EX)
        try:
            before = path.read_bytes() if path.exists() else b"{}"
            book = msgspec.json.decode(before, type=_Tickets)
            yield book
            after = msgspec.json.encode(book)
            if after != before:
                draft = path.with_suffix(".new")
                draft.unlink(missing_ok=True)  # another user may have died over his
                draft.write_bytes(after)
                draft.replace(path)
        finally:
            fcntl.flock(guard, fcntl.LOCK_UN)

    def _file(self, name: str) -> int:
        """Open a file to lock; that needs no right to write it, which another user of the folder may not have."""
        if name not in self._files:
            self._make_folder()
            self._files[name] = os.open(self._folder / name, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o660)
        return self._files[name]

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._folder.is_symlink():
            raise PermissionError(f"{self._folder} is a symbolic link: set CF_ORCH_RUNTIME_DIR to a folder of your own")


def _is_used_still(ticket: Ticket) -> bool:
    """Tell whether the process that a relayed turn was for may not have taken the lock over yet."""
    if not (ticket.is_relayed and ticket.has_turn):
        return False
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    ticket.dead_since = now if ticket.dead_since is None else ticket.dead_since
    return now - ticket.dead_since < RELAYED_TURN_GRACE_S
