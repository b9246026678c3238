"""The journal: what was promised is here before it is said."""

from cf_orch.coordinator.journal.interface import (
    Compacted,
    Entry,
    Fenced,
    Journal,
    JournalBroken,
    JournalError,
    JournalLocked,
    Snapshot,
    Term,
)
from cf_orch.coordinator.journal.memory import MemoryDisk, MemoryJournal
from cf_orch.coordinator.journal.sqlite import SqliteJournal

__all__ = [
    "Compacted",
    "Entry",
    "Fenced",
    "Journal",
    "JournalBroken",
    "JournalError",
    "JournalLocked",
    "MemoryDisk",
    "MemoryJournal",
    "Snapshot",
    "SqliteJournal",
    "Term",
]
