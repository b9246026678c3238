"""The journal's twin without a disk, for simulations and tests."""

import os
from bisect import bisect_left
from collections.abc import AsyncIterator
from itertools import takewhile
from operator import attrgetter

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

__all__ = ["MemoryDisk", "MemoryJournal"]


class MemoryDisk:
    """What outlives a `MemoryJournal`: hand it to the next one, and that is a restart."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.snapshot: Snapshot | None = None
        self.epoch = 0
        self.holder: str | None = None

    @property
    def oldest_seq(self) -> int:
        """The first entry that is there, or the next that will be."""
        if self.entries:
            return self.entries[0].seq
        return self.snapshot.seq + 1 if self.snapshot else 1

    @property
    def head_seq(self) -> int:
        """The last entry ever appended; 0 before the first."""
        return self.oldest_seq + len(self.entries) - 1

    def crash(self) -> None:
        """Lose the holder as kill -9 would: what was appended stays, and the next one may campaign."""
        self.holder = None
        self.epoch += 1  # or the one that was killed could still write


class MemoryJournal(Journal):
    """A `Journal` on a `MemoryDisk`; with `fail_after`, the disk breaks after so many appends."""

    def __init__(self, disk: MemoryDisk | None = None, *, fail_after: int | None = None) -> None:
        self._disk = disk if disk is not None else MemoryDisk()
        self._appends_left = fail_after
        self._term: Term | None = None
        self._broken: str | None = None
        self._closed = False

    async def campaign(self, me: str) -> Term:
        self._check_usable()
        leads = self._term is not None and self._term.epoch == self._disk.epoch
        if self._disk.holder is not None and not leads:
            raise JournalLocked("the memory", os.getpid(), self._disk.holder)
        self._disk.holder = me
        self._disk.epoch += 1
        self._term = Term(self._disk.epoch)
        return self._term

    def holds(self, term: Term) -> bool:
        return self._broken is None and term == self._term and term.epoch == self._disk.epoch

    async def append(self, term: Term, seq: int, wall_unix_s: float, body: bytes) -> None:
        self._check_term(term)
        head_seq = self._disk.head_seq
        if seq != head_seq + 1:
            raise Fenced(f"entry {seq} cannot follow entry {head_seq}, the last in the memory")
        self._spend_append()
        self._disk.entries.append(Entry(seq, term.epoch, wall_unix_s, body))

    async def read(self, from_seq: int) -> AsyncIterator[Entry]:
        self._check_open()
        seq = from_seq
        while True:
            oldest_seq = self._disk.oldest_seq
            if seq < oldest_seq:
                raise Compacted(seq, oldest_seq)
            index = bisect_left(self._disk.entries, seq, key=attrgetter("seq"))
            if index == len(self._disk.entries):
                return
            yield self._disk.entries[index]
            seq += 1

    async def latest_snapshot(self) -> Snapshot | None:
        self._check_open()
        return self._disk.snapshot

    async def snapshot(self, term: Term, seq: int, body: bytes) -> None:
        self._check_term(term)
        earlier_seq = self._disk.snapshot.seq if self._disk.snapshot else 0
        if not earlier_seq <= seq <= self._disk.head_seq:
            raise ValueError(f"snapshot of entry {seq}: not within {earlier_seq} to {self._disk.head_seq}")
        self._disk.snapshot = Snapshot(seq, body)

    async def prune(self, term: Term, before_wall_unix_s: float) -> int:
        self._check_term(term)
        covered_seq = self._disk.snapshot.seq if self._disk.snapshot else 0
        old = takewhile(lambda e: e.seq <= covered_seq and e.wall_unix_s < before_wall_unix_s, self._disk.entries)
        dropped = len(list(old))
        del self._disk.entries[:dropped]
        return dropped

    async def resign(self, term: Term) -> None:
        if term == self._term:
            if term.epoch == self._disk.epoch:
                self._disk.holder = None
            self._term = None

    async def close(self) -> None:
        if self._term is not None:
            await self.resign(self._term)
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise JournalBroken("the journal in memory was closed")

    def _check_usable(self) -> None:
        self._check_open()
        if self._broken is not None:
            raise JournalBroken(self._broken)

    def _check_term(self, term: Term) -> None:
        self._check_usable()
        if not self.holds(term):
            raise Fenced(f"term {term.epoch} has ended: the newest in the memory is {self._disk.epoch}")

    def _spend_append(self) -> None:
        if self._appends_left is None:
            return
        if self._appends_left == 0:
            self._broken = "the memory's disk is full, as this test asked"
            raise JournalBroken(self._broken)
        self._appends_left -= 1
