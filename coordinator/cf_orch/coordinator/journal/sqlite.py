"""The journal in one SQLite file: for one coordinator, the default.

Two guards keep a second writer out: a lock on a file beside the journal, which the kernel drops when its
holder dies, and the epoch, which every write compares inside its own transaction. The file is in WAL mode
with synchronous=FULL, the only setting under which a commit outlives a power cut. Readers take short looks,
so that SQLite's automatic checkpoint (each 1000 pages, 4 MiB) is never held off and the WAL stays that
small. The room of pruned entries is used again, but the file does not shrink.

One thread writes and another reads: a long history never delays an append.
"""

import asyncio
import sqlite3
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from cf_orch.coordinator.journal.interface import Compacted, Entry, Fenced, Journal, JournalBroken, Snapshot, Term
from cf_orch.coordinator.journal.lock_file import LockFile
from cf_orch.coordinator.journal.sqlite_file import (
    create_file,
    explained,
    integer,
    open_file,
    prepare_writer,
    transaction,
)

__all__ = ["SqliteJournal"]

_T = TypeVar("_T")

_EPOCH = "SELECT epoch FROM term"
_SNAPSHOT_SEQ = "SELECT coalesce((SELECT seq FROM snapshot), 0)"
_OLDEST_SEQ = "SELECT coalesce((SELECT min(seq) FROM entry), (SELECT seq + 1 FROM snapshot), 1)"
_HEAD_SEQ = "SELECT coalesce((SELECT max(seq) FROM entry), (SELECT seq FROM snapshot), 0)"
_READ_ENTRIES = 100  # bounds what one look holds in memory
_PRUNE_ENTRIES = 1000  # bounds a transaction: appends pass between two


class SqliteJournal(Journal):
    """A journal in `state_dir`/journal.sqlite3; the first campaign makes the directory, for its owner alone.

    A campaign while another process leads gets JournalLocked at once. Reading needs no campaign.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir.absolute() / "journal.sqlite3"
        self._lock = LockFile(self._path.with_suffix(".lock"))
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
            with explained(self._path):
                return job()
        except JournalBroken as error:
            self._broken = str(error)
            raise

    def _run_query(self, query: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """Run `query` on one state of the file; None before there is a file."""
        with explained(self._path):
            if self._reader is None:
                if not self._path.exists():
                    return None
                self._reader = open_file(self._path, "ro")
            with transaction(self._reader, "BEGIN"):
                return query(self._reader)

    def _campaign(self, me: str) -> Term:
        if self._writer is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire(me)
            if not self._path.exists():
                create_file(self._path)
            self._writer = open_file(self._path, "rw")
            prepare_writer(self._writer, self._path)
        with transaction(self._writer, "BEGIN IMMEDIATE"):
            self._writer.execute("UPDATE term SET epoch = epoch + 1")
            epoch = integer(self._writer, _EPOCH)
        self._term = Term(epoch)
        return self._term

    @contextmanager
    def _fenced(self, term: Term) -> Iterator[sqlite3.Connection]:
        """A transaction in which `term` is the newest, by the file's own account."""
        if self._writer is None:
            raise Fenced(f"term {term.epoch} has ended, or never was held here")
        with transaction(self._writer, "BEGIN IMMEDIATE"):
            epoch = integer(self._writer, _EPOCH)
            if self._term is not None and self._term.epoch != epoch:
                self._term = None
            if term != self._term:
                raise Fenced(f"term {term.epoch} has ended: the newest in {self._path} is {epoch}")
            yield self._writer

    def _append(self, term: Term, seq: int, wall_unix_s: float, body: bytes) -> None:
        with self._fenced(term) as db:
            head_seq = integer(db, _HEAD_SEQ)
            if seq != head_seq + 1:
                raise Fenced(f"entry {seq} cannot follow entry {head_seq}, the last in {self._path}")
            crc32 = _entry_crc32(seq, term.epoch, wall_unix_s, body)
            row = (seq, term.epoch, wall_unix_s, crc32, body)
            db.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?)", row)

    def _snapshot(self, term: Term, seq: int, body: bytes) -> None:
        with self._fenced(term) as db:
            earlier_seq, head_seq = integer(db, _SNAPSHOT_SEQ), integer(db, _HEAD_SEQ)
            if not earlier_seq <= seq <= head_seq:
                raise ValueError(f"snapshot of entry {seq}: not within {earlier_seq} to {head_seq}")
            row = (seq, _snapshot_crc32(seq, body), body)
            db.execute("INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?, ?)", row)

    def _prune_some(self, term: Term, before_wall_unix_s: float) -> int:
        with self._fenced(term) as db:
            oldest = db.execute(
                "SELECT seq, wall_unix_s FROM entry WHERE seq <= ? ORDER BY seq LIMIT ?",
                (integer(db, _SNAPSHOT_SEQ), _PRUNE_ENTRIES),
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


def _select_entries(db: sqlite3.Connection, from_seq: int) -> list[Entry]:
    oldest_seq = integer(db, _OLDEST_SEQ)
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
