"""What every journal promises, and the words it is spoken in.

A journal is an append-only, fenced log of opaque batches. Whoever *campaigns* gets a `Term`; its epoch is
greater than that of every earlier term, and only the newest term may write. An entry stands exactly at the
sequence number that its writer named, so that two writers can never both believe in the same history. State
is a fold over the entries, or over those that follow a `Snapshot`.

    JournalError
    ├── JournalLocked    another process leads here
    ├── Fenced           the term has ended, or the head has moved: step down
    ├── JournalBroken    the store failed, and so does every later write: stop the daemon
    └── Compacted        what was to be read is gone: load the snapshot
"""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

__all__ = [
    "Compacted",
    "Entry",
    "Fenced",
    "Journal",
    "JournalBroken",
    "JournalError",
    "JournalLocked",
    "Snapshot",
    "Term",
]


class JournalError(Exception):
    """The journal did not do what was asked."""


class JournalLocked(JournalError):  # noqa: N818 - the state of the journal
    """Another process leads on the same state; `pid` is None when it has not named itself yet."""

    def __init__(self, place: str, pid: int | None, holder: str) -> None:
        who = f"pid {pid} ({holder})" if pid is not None else "another process"
        super().__init__(f"{place} is in use by {who}: stop that one first, or use another state directory")
        self.pid = pid
        self.holder = holder


class Fenced(JournalError):  # noqa: N818 - the state of the writer, and the field's word for it
    """The write was refused, and nothing changed: the term has ended or the head is elsewhere."""


class JournalBroken(JournalError):  # noqa: N818 - the state of the journal
    """The store failed, or cannot be used as it is; the message says where, why and what to do.

    The batch under way may or may not have reached the disk: only reading it anew will tell.
    """


class Compacted(JournalError):  # noqa: N818 - the state of the entries
    """The entries asked for were pruned; `oldest_seq` is the first that can still be read."""

    def __init__(self, from_seq: int, oldest_seq: int) -> None:
        super().__init__(f"entries from {from_seq} on were pruned: the oldest that is left is {oldest_seq}")
        self.from_seq = from_seq
        self.oldest_seq = oldest_seq


class Term(msgspec.Struct, frozen=True):
    """The right to write, until the next campaign."""

    epoch: int


class Entry(msgspec.Struct, frozen=True):
    """One batch as it was committed, under the epoch of the term that wrote it."""

    seq: int
    epoch: int
    wall_unix_s: float
    body: bytes


class Snapshot(msgspec.Struct, frozen=True):
    """The state after the entry `seq`."""

    seq: int
    body: bytes


class Journal(Protocol):
    """An append-only log with one writer. Sequence numbers begin at 1."""

    async def campaign(self, me: str) -> Term:
        """Begin a term that ends every earlier one; `me` is shown to whoever is locked out.

        Raises JournalLocked, JournalBroken.
        """

    def holds(self, term: Term) -> bool:
        """Whether `term` is still the one that may write, as far as is known here without asking the store.

        To be asked before a promise that is not journaled, such as a renewal.
        """

    async def append(self, term: Term, seq: int, wall_unix_s: float, body: bytes) -> None:
        """Put `body` at `seq`, which must be the last plus one; on return it outlives a power cut.

        The outcome of a cancelled append is unknown. Raises Fenced, JournalBroken.
        """

    def read(self, from_seq: int) -> AsyncIterator[Entry]:
        """All entries from `from_seq` up to the head, in order and without a gap.

        Raises Compacted, also midway when they are pruned meanwhile, and JournalBroken.
        """

    async def latest_snapshot(self) -> Snapshot | None:
        """The newest snapshot. Raises JournalBroken."""

    async def snapshot(self, term: Term, seq: int, body: bytes) -> None:
        """Keep `body` as the state after entry `seq`, in place of an earlier snapshot.

        Raises ValueError beyond the head or behind the earlier snapshot; Fenced, JournalBroken.
        """

    async def prune(self, term: Term, before_wall_unix_s: float) -> int:
        """Drop the oldest entries while they are older than that and covered by the snapshot; say how many.

        The first entry that must stay ends it, so that a wall clock which jumped never leaves a gap.
        Raises Fenced, JournalBroken.
        """

    async def resign(self, term: Term) -> None:
        """End the term, so that another process can campaign at once; harmless if it has ended."""

    async def close(self) -> None:
        """Resign after the writes under way, and give everything back; harmless twice."""
