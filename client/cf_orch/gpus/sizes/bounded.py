"""A file that is read within bounds: never past its end, and never more at once than asked for.

A header says how long its parts are, and a hostile one lies.  So every length is held against what the file still has
before anything is read, and what nobody asks for is skipped, not read.
"""

import os
import struct
from pathlib import Path
from stat import S_ISREG
from types import TracebackType
from typing import BinaryIO, NoReturn, Self

from cf_orch.gpus.sizes.errors import ModelFileError

__all__ = ["DOWNLOAD_AGAIN", "BoundedFile", "is_file"]

_NAME_A_MODEL = "name a .gguf or .safetensors file, or a folder that holds them"
DOWNLOAD_AGAIN = "the file is damaged or cut off: download it again"

_WINDOW_BYTES = 1 << 20
_MOST_STRINGS = 1 << 24
_LENGTH = struct.Struct("<Q")


def is_file(path: Path) -> bool:
    """Whether a file is there, and False for a name that no file can have or that may not be looked at."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


class BoundedFile:
    """A regular file, opened for reading from its start; use it in a ``with``.

    Whatever goes wrong raises ModelFileError; an OSError on the way becomes one at the end of the ``with``.
    """

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self.path = path
        try:
            self._file = _opened(path)
        except FileNotFoundError:
            raise ModelFileError(path, "does not exist", _NAME_A_MODEL) from None
        except (OSError, ValueError) as error:
            raise ModelFileError(path, f"cannot be opened: {error}", "look at its name and its permissions") from None
        self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if isinstance(value, OSError):
            raise ModelFileError(self.path, f"cannot be read: {value}", "look at the disk that it is on") from value

    @property
    def position(self) -> int:
        """The next byte to be read."""
        return self._file.tell()

    @property
    def left(self) -> int:
        """How many bytes there are from here to the end."""
        return self.size - self.position

    def refuse(self, what: str, todo: str = DOWNLOAD_AGAIN, at_byte: int | None = None) -> NoReturn:
        """Say what is wrong, at this byte if no other is named."""
        raise ModelFileError(self.path, what, todo, self.position if at_byte is None else at_byte)

    def take(self, count: int, what: str) -> bytes:
        """Read exactly so many bytes of what is named."""
        self._need(count, what)
        taken = self._file.read(count)
        if len(taken) < count:
            self.refuse(f"the file ended while {what} was read: it shrank")
        return taken

    def skip(self, count: int, what: str) -> None:
        """Go on by so many bytes without reading them."""
        self._need(count, what)
        self._file.seek(count, os.SEEK_CUR)

    def skip_strings(self, count: int, what: str) -> None:
        """Go past strings that each begin with their length as 64 bits: a tokenizer has half a million of them."""
        self._need(count * _LENGTH.size, what)
        if count > _MOST_STRINGS:
            self.refuse(f"{what} has {count} strings: {_MOST_STRINGS} are the most")
        while count:
            start = self.position
            window = self._file.read(min(_WINDOW_BYTES, self.size - start))
            offset, last = 0, len(window) - _LENGTH.size
            while count and offset <= last:
                offset += _LENGTH.size + _LENGTH.unpack_from(window, offset)[0]
                count -= 1
            if start + offset > self.size or not offset:
                self.refuse(f"{what} goes on past the end of the file, which has {self.size} bytes", at_byte=start)
            self._file.seek(start + offset)

    def _need(self, count: int, what: str) -> None:
        if count > self.left:
            self.refuse(f"{what} needs {count} bytes, but the file has {self.left} left")


def _opened(path: Path) -> BinaryIO:
    if not S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its other end
        raise OSError("it is no regular file")
    return path.open("rb")
