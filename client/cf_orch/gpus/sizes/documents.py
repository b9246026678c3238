"""JSON out of a model's files, with one error for all that can be wrong with it."""

from typing import TypeVar

import msgspec

from cf_orch.gpus.sizes.bounded import DOWNLOAD_AGAIN, BoundedFile

__all__ = ["decode"]

Kind = TypeVar("Kind")


def decode(file: BoundedFile, text: bytes | msgspec.Raw, kind: type[Kind], what: str, *, at_byte: int = 0) -> Kind:
    """Decode a text of this kind, which begins at a byte of the file.  Raises ModelFileError."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return file.refuse(f"{what}: {error}", DOWNLOAD_AGAIN, at_byte=at_byte)
