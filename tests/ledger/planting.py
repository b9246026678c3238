"""What a planted bug is."""

from typing import NamedTuple

__all__ = ["Bug"]


class Bug(NamedTuple):
    """A text of the ledger, what stands there instead, and the rule (or rules, as a pattern) that then breaks."""

    name: str
    file: str
    old: str
    new: str
    breaks: str
    found_by: str = "histories"
    """The program that finds it: ``histories``, or ``liveness``."""
    most_histories: int = 300
    """How many it takes at the most."""
