"""Why a command was refused.  A refusal is raised before anything changed.

``Refusal``
 |- code     a stable word that programs may rely on
 |- message  what happened, with the numbers, and what to do
 `- numbers  the same numbers for programs, sizes in bytes
"""

__all__ = ["Refusal"]


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault of ours
    """The ledger will not do this; ``code`` says why in a word, ``str()`` in a sentence."""

    def __init__(self, code: str, message: str, **numbers: float | str) -> None:
        """Make a refusal; ``numbers`` are facts that a program may want beside the sentence."""
        super().__init__(message)
        self.code = code
        self.numbers = numbers
