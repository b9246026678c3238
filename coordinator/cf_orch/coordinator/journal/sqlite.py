"""The journal in one SQLite file: for one coordinator, the default.

Two guards keep a second writer out: a lock on a file beside the journal, which the kernel drops when its
holder dies, and the epoch, which every write compares inside its own transaction. The file is in WAL mode
with synchronous=FULL, the only setting under which a commit outlives a power cut. Readers take short looks,
so that SQLite's automatic checkpoint (each 1000 pages, 4 MiB) is never held off and the WAL stays that
small. The room of pruned entries is used again, but the file does not shrink.

One thread writes and another reads: a long history never delays an append.
"""

import asyncio
import fcntl
import os
import sqlite3
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from cf_orch.coordinator.journal.interface import (
    Compacted,
    Entry,
    Fenced,
    Journal,
    JournalBroken,
    JournalLocked,
    Snapshot,
    Term,
)

__all__ = ["SqliteJournal"]

_T = TypeVar("_T")

_APPLICATION_ID = 0x63_66_6F_72  # "cfor": tells a journal from any other SQLite file
_SCHEMA_VERSION = 1
_SCHEMA = """
    CREATE TABLE term (id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL);
    INSERT INTO term VALUES (1, 0);
    CREATE TABLE entry (
        seq INTEGER PRIMARY KEY,
        epoch INTEGER NOT NULL,
        wall_unix_s REAL NOT NULL,
        crc32 INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE snapshot (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        seq INTEGER NOT NULL,
        crc32 INTEGER NOT NULL,
        body BLOB NOT NULL
    );
"""
_EPOCH = "SELECT epoch FROM term"
_SNAPSHOT_SEQ = "SELECT coalesce((SELECT seq FROM snapshot), 0)"
_OLDEST_SEQ = "SELECT coalesce((SELECT min(seq) FROM entry), (SELECT seq + 1 FROM snapshot), 1)"
_HEAD_SEQ = "SELECT coalesce((SELECT max(seq) FROM entry), (SELECT seq FROM snapshot), 0)"
_READ_ENTRIES = 100  # bounds what one look holds in memory
_PRUNE_ENTRIES = 1000  # bounds a transaction: appends pass between two
_WAL_KEPT_BYTES = 16 * 2**20  # what a large snapshot added beyond is given back

_START_OVER = "keep a copy, then restore a backup or move it aside to begin with an empty ledger"
_ADVICE = {
    sqlite3.SQLITE_FULL: "cannot grow, the disk is full: make room and start again",
    sqlite3.SQLITE_READONLY: "is read-only: mount it writable or mend its permissions, and start again",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: mend the permissions of its directory, and start again",
    sqlite3.SQLITE_BUSY: "is held by another program, such as a sqlite3 shell: end that and start again",
    sqlite3.SQLITE_IOERR: "met an error of the disk: see the kernel's log, and start again when it is well",
    sqlite3.SQLITE_CORRUPT: f"is damaged: {_START_OVER}",
    sqlite3.SQLITE_NOTADB: f"is not an SQLite file: {_START_OVER}",
}


class SqliteJournal(Journal):
    """A journal in `state_dir`/journal.sqlite3; the first campaign makes the directory, for its owner alone.

    A campaign while another process leads gets JournalLocked at once. Reading needs no campaign.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir.absolute() / "journal.sqlite3"
        self._lock = _LockFile(self._path.with_suffix(".lock"))
        self._writing = ThreadPoolExecutor(1, "journal-write")
        self._reading = ThreadPoolExecutor(1, "journal-read")
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._term: Term | None = None
        self._broken: str | None = None
        self._closed = False

    async def campaign(self, me: str) -> Term:
        return await self._write(lambda: self._campaign(me))

    def holds(self, term: Term) -> bool:
        return self._broken is None and term == self._term

    async def append(self, term: Term, seq: int, wall_unix_s: float, body: bytes) -> None:
        await self._write(lambda: self._append(term, seq, wall_unix_s, body))

    async def read(self, from_seq: int) -> AsyncIterator[Entry]:
        seq = from_seq
        while entries := await self._query(partial(_select_entries, from_seq=seq)):
            for entry in entries:
                yield entry
            seq = entries[-1].seq + 1

    async def latest_snapshot(self) -> Snapshot | None:
        return await self._query(_select_snapshot)

    async def snapshot(self, term: Term, seq: int, body: bytes) -> None:
        await self._write(lambda: self._snapshot(term, seq, body))

    async def prune(self, term: Term, before_wall_unix_s: float) -> int:
        total = 0
        while dropped := await self._write(lambda: self._prune_some(term, before_wall_unix_s)):
            total += dropped
        return total

    async def resign(self, term: Term) -> None:
        if not self._closed:
            await asyncio.get_running_loop().run_in_executor(self._writing, self._resign, term)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._reading, self._close_reader)
        await loop.run_in_executor(self._writing, self._close_writer)
        self._reading.shutdown()
        self._writing.shutdown()

    async def _write(self, job: Callable[[], _T]) -> _T:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._writing, self._write_or_break, job)

    async def _query(self, query: Callable[[sqlite3.Connection], _T]) -> _T | None:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._run_query, query)

    def _check_open(self) -> None:
        if self._closed:
            raise JournalBroken(f"the journal {self._path} was closed")

    def _write_or_break(self, job: Callable[[], _T]) -> _T:
        """Run `job`; its failure is final, since after a failed fsync nobody knows what the disk holds."""
        if self._broken is not None:
            raise JournalBroken(self._broken)
        try:
            with _explained(self._path):
                return job()
        except JournalBroken as error:
            self._broken = str(error)
            raise

    def _run_query(self, query: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """Run `query` on one state of the file; None before there is a file."""
        with _explained(self._path):
            if self._reader is None:
                if not self._path.exists():
                    return None
                self._reader = _open(self._path, "ro")
            with _transaction(self._reader, "BEGIN"):
                return query(self._reader)

    def _campaign(self, me: str) -> Term:
        if self._writer is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire(me)
            if not self._path.exists():
                _create(self._path)
            self._writer = _open(self._path, "rw")
            _prepare_writer(self._writer, self._path)
        with _transaction(self._writer, "BEGIN IMMEDIATE"):
            self._writer.execute("UPDATE term SET epoch = epoch + 1")
            epoch = _integer(self._writer, _EPOCH)
        self._term = Term(epoch)
        return self._term

    @contextmanager
    def _fenced(self, term: Term) -> Iterator[sqlite3.Connection]:
        """A transaction in which `term` is the newest, by the file's own account."""
        if self._writer is None:
            raise Fenced(f"term {term.epoch} has ended, or never was held here")
        with _transaction(self._writer, "BEGIN IMMEDIATE"):
            epoch = _integer(self._writer, _EPOCH)
            if self._term is not None and self._term.epoch != epoch:
                self._term = None
            if term != self._term:
                raise Fenced(f"term {term.epoch} has ended: the newest in {self._path} is {epoch}")
            yield self._writer

    def _append(self, term: Term, seq: int, wall_unix_s: float, body: bytes) -> None:
        with self._fenced(term) as db:
            head_seq = _integer(db, _HEAD_SEQ)
            if seq != head_seq + 1:
                raise Fenced(f"entry {seq} cannot follow entry {head_seq}, the last in {self._path}")
            crc32 = _entry_crc32(seq, term.epoch, wall_unix_s, body)
            row = (seq, term.epoch, wall_unix_s, crc32, body)
            db.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?)", row)

    def _snapshot(self, term: Term, seq: int, body: bytes) -> None:
        with self._fenced(term) as db:
            earlier_seq, head_seq = _integer(db, _SNAPSHOT_SEQ), _integer(db, _HEAD_SEQ)
            if not earlier_seq <= seq <= head_seq:
                raise ValueError(f"snapshot of entry {seq}: not within {earlier_seq} to {head_seq}")
            row = (seq, _snapshot_crc32(seq, body), body)
            db.execute("INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?, ?)", row)

    def _prune_some(self, term: Term, before_wall_unix_s: float) -> int:
        with self._fenced(term) as db:
            oldest = db.execute(
                "SELECT seq, wall_unix_s FROM entry WHERE seq <= ? ORDER BY seq LIMIT ?",
                (_integer(db, _SNAPSHOT_SEQ), _PRUNE_ENTRIES),
            ).fetchall()
            old = list(takewhile(lambda row: row[1] < before_wall_unix_s, oldest))
            if old:
                db.execute("DELETE FROM entry WHERE seq <= ?", (old[-1][0],))
            return len(old)

    def _resign(self, term: Term) -> None:
        if term == self._term:
            self._close_writer()

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _close_writer(self) -> None:
        self._term = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._lock.release()


class _LockFile:
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


def _select_entries(db: sqlite3.Connection, from_seq: int) -> list[Entry]:
    oldest_seq = _integer(db, _OLDEST_SEQ)
    if from_seq < oldest_seq:
        raise Compacted(from_seq, oldest_seq)
    rows = db.execute(
        "SELECT seq, epoch, wall_unix_s, body, crc32 FROM entry WHERE seq >= ? ORDER BY seq LIMIT ?",
        (from_seq, _READ_ENTRIES),
    ).fetchall()
    for expected_seq, (*fields, crc32) in enumerate(rows, from_seq):
        if fields[0] != expected_seq or _entry_crc32(*fields) != crc32:
            raise sqlite3.DatabaseError(f"entry {expected_seq} is not as it was written")
    return [Entry(*fields) for *fields, _ in rows]


def _select_snapshot(db: sqlite3.Connection) -> Snapshot | None:
    row: tuple[int, bytes, int] | None = db.execute("SELECT seq, body, crc32 FROM snapshot").fetchone()
    if row is None:
        return None
    seq, body, crc32 = row
    if _snapshot_crc32(seq, body) != crc32:
        raise sqlite3.DatabaseError(f"the snapshot of entry {seq} is not as it was written")
    return Snapshot(seq, body)


def _entry_crc32(seq: int, epoch: int, wall_unix_s: float, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(struct.pack(">qqd", seq, epoch, wall_unix_s)))


def _snapshot_crc32(seq: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(struct.pack(">q", seq)))


def _integer(db: sqlite3.Connection, statement: str) -> int:
    return int(db.execute(statement).fetchone()[0])


@contextmanager
def _transaction(db: sqlite3.Connection, begin: str) -> Iterator[None]:
    db.execute(begin)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # the first error tells more
            db.execute("ROLLBACK")
        raise


def _create(path: Path) -> None:
    """Make a new journal appear whole or not at all: an empty file is then always a loss, never a start."""
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists():
        raise JournalBroken(f"{path} is gone, {wal.name} is left: put it back, or remove both to begin anew")
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(0o600)
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        db.executescript(f"PRAGMA journal_mode = OFF; {_SCHEMA}")
        db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        db.execute("PRAGMA journal_mode = WAL")  # now: a rollback journal must never lie beside the real file
    _sync(new)
    new.rename(path)
    _sync(path.parent)
    _sync(path.parent.parent)  # the directory itself may be new


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _open(path: Path, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None)
    try:
        _check_kind(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _check_kind(db: sqlite3.Connection, path: Path) -> None:
    if _integer(db, "PRAGMA application_id") != _APPLICATION_ID:
        raise JournalBroken(f"{path} is empty or not a journal of cf-orch: {_START_OVER}")
    version = _integer(db, "PRAGMA user_version")
    if version > _SCHEMA_VERSION:
        raise JournalBroken(
            f"{path} was written by a newer cf-orch (schema {version}, this one knows {_SCHEMA_VERSION}): "
            "run that version, or use another state directory"
        )


def _prepare_writer(db: sqlite3.Connection, path: Path) -> None:
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalBroken(f"{path} cannot be in WAL mode: use a state directory on a local disk")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    # quick_check goes backwards, which defeats the kernel's read-ahead: 6 s for 400 MiB on a cold disk. One
    # walk forwards brings all pages in first: 0.5 s.
    db.execute("SELECT max(substr(body, -1)) FROM entry").fetchone()
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(" ".join(verdict.split()))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Tell people of a failure in a sentence: which file, what is wrong, what to do."""
    try:
        yield
    except sqlite3.Error as error:
        # An error without a code is our own: what was read is not what was written.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        advice = _ADVICE.get(code & 0xFF, "failed: start again")
        detail = f"{getattr(error, 'sqlite_errorname', 'check failed')}: {error}; {_free_room(path)}"
        raise JournalBroken(f"{path} {advice} ({detail})") from error
    except OSError as error:
        place = error.filename or path
        message = f"{place}: {error.strerror} ({_free_room(path)}): mend that and start again"
        raise JournalBroken(message) from error


def _free_room(path: Path) -> str:
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return "its directory cannot be reached"
    return f"{disk.f_bavail * disk.f_frsize} bytes free there"
