"""Deadlines, so that one armed timer serves the whole ledger.

An entry is a hint to look: whoever is asked at that time reads the record's own deadline and, if it moved on (a
heartbeat came), is asked again then.  So a renewal costs nothing here, and nothing is ever removed.
"""

from enum import IntEnum, auto
from heapq import heappop, heappush

__all__ = ["Timer", "Timers"]


class Timer(IntEnum):
    """What a deadline is about; at the same instant the earlier kind is looked at first."""

    SESSION_EXPIRES = auto()
    LEASE_EXPIRES = auto()
    CUT_ENDS = auto()
    WAIT_ENDS = auto()
    AGES = auto()
    LOAD_ENDS = auto()
    RECLAIM_ENDS = auto()
    EVICT_ENDS = auto()
    DRAIN_ENDS = auto()
    LOOK_AGAIN = auto()
    FORGET = auto()
    FORGET_CANCEL = auto()


class Timers:
    """A heap of (when, what, whose)."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, Timer, str]] = []

    def at(self, when: float, kind: Timer, key: str) -> None:
        """Ask to be looked at."""
        heappush(self._heap, (when, kind, key))

    def next(self) -> float | None:
        """The earliest time at which something may be due."""
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> tuple[Timer, str] | None:
        """Take the first entry that is due, if one is."""
        if not self._heap or self._heap[0][0] > now:
            return None
        _, kind, key = heappop(self._heap)
        return kind, key

    def clear(self) -> None:
        """Forget all."""
        self._heap.clear()
