"""The one error of the header readers."""

from pathlib import Path

__all__ = ["ModelFileError"]


class ModelFileError(ValueError):
    """A model file cannot be read: what is wrong, at which byte of which file, and what to do.

    `at_byte` is None where no single byte is to blame, as with a file that is missing.
    """

    def __init__(self, path: Path, what: str, todo: str, at_byte: int | None = None) -> None:
        self.path = path
        self.what = what
        self.todo = todo
        self.at_byte = at_byte
        where = "" if at_byte is None else f" at byte {at_byte}"
        super().__init__(f"{path}{where}: {what}; {todo}")
