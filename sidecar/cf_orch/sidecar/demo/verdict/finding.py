"""A claim, whether it held, and what that rests on."""

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Finding", "unless"]


class Finding(NamedTuple):
    """One claim; ``is_timed`` if it is about how fast this machine was, which one that is busy may fail."""

    claim: str
    holds: bool
    because: str
    is_timed: bool = False


def unless(complaints: Iterable[str], claim: str, otherwise: str, *, is_timed: bool = False) -> Finding:
    """Make the finding that a claim holds, because of ``otherwise``, unless there are complaints."""
    against = list(complaints)
    return Finding(claim, not against, "; ".join(against) or otherwise, is_timed)
