"""What a check found: one thing, how bad it is, why it matters and what to do about it."""

from collections.abc import Iterable
from typing import Literal

import msgspec

__all__ = ["LEVELS", "Finding", "Level", "worst"]

Level = Literal["ok", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "info", "warning", "error")
"""From good to bad; ``info`` is neither: something to know."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was found.

    ``id`` is stable, for programs; ``found``, ``why`` and ``do`` are sentences for people, ``do`` empty where there is
    nothing to do.
    """

    id: str
    level: Level
    found: str
    why: str
    do: str = ""


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level among them, ``ok`` if there are none."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")
