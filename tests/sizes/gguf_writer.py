"""A small GGUF writer of the tests' own: true headers of true size, and data that is a hole in the file.

The reader under test shares no line with it.  Weights are not written: the file is as long as its header says and takes
no room on the disk, so that llama.cpp's loader can be asked about an 8B model on any machine.
"""

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

__all__ = ["BLOCKS", "Tensor", "Value", "header", "write"]

Value = bool | int | float | str | list[int] | list[bool] | list[float] | list[str]

#: quantisation: (its number in the file, weights in a block, bytes of a block); ggml/include/ggml.h of llama.cpp
BLOCKS = {
    "F32": (0, 1, 4),
    "F16": (1, 1, 2),
    "Q4_0": (2, 32, 18),
    "Q4_1": (3, 32, 20),
    "Q8_0": (8, 32, 34),
    "Q4_K": (12, 256, 144),
    "Q6_K": (14, 256, 210),
    "BF16": (30, 1, 2),
    "MXFP4": (39, 32, 17),
}
_ALIGNMENT = 32
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _UINT64 = 4, 5, 6, 7, 8, 9, 10


class Tensor(NamedTuple):
    """A tensor's place in the header; `shape` is in GGUF's order, the row's length first."""

    name: str
    shape: tuple[int, ...]
    quantisation: str

    @property
    def size_bytes(self) -> int:
        """Bytes of its data."""
        _, weights, block_bytes = BLOCKS[self.quantisation]
        count = 1
        for side in self.shape:
            count *= side
        return count // weights * block_bytes


def header(metadata: Mapping[str, Value], tensors: Iterable[Tensor], *, version: int = 3) -> bytes:
    """Everything before the data, padded to the alignment."""
    listed = list(tensors)
    parts = [b"GGUF", struct.pack("<IQQ", version, len(listed), len(metadata))]
    for key, value in metadata.items():
        parts += [_string(key), _typed(value)]
    offset = 0
    for tensor in listed:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        parts += [_string(tensor.name), shape, struct.pack("<IQ", BLOCKS[tensor.quantisation][0], offset)]
        offset += _padded(tensor.size_bytes)
    made = b"".join(parts)
    return made + bytes(_padded(len(made)) - len(made))


def write(path: Path, metadata: Mapping[str, Value], tensors: Iterable[Tensor]) -> None:
    """Write a file whose weights are all zero and take no room."""
    listed = list(tensors)
    start = header(metadata, listed)
    with path.open("wb") as file:
        file.write(start)
        _lengthen(file, len(start) + sum(_padded(tensor.size_bytes) for tensor in listed))


def _lengthen(file: BinaryIO, size_bytes: int) -> None:
    file.truncate(size_bytes)


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT) * _ALIGNMENT


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _typed(value: Value) -> bytes:
    kind, body = _scalar(value) if not isinstance(value, list) else (_ARRAY, _array(value))
    return struct.pack("<I", kind) + body


def _scalar(value: bool | float | str) -> tuple[int, bytes]:  # noqa: FBT001 - a value of any type
    match value:
        case bool():
            return _BOOL, struct.pack("<?", value)
        case int():
            return (_UINT32, struct.pack("<I", value)) if value < 2**32 else (_UINT64, struct.pack("<Q", value))
        case float():
            return _FLOAT32, struct.pack("<f", value)
        case str():
            return _STRING, _string(value)


def _array(values: list[int] | list[bool] | list[float] | list[str]) -> bytes:
    scalars = [_scalar(value) for value in values]
    kind = scalars[0][0] if scalars else _INT32
    return struct.pack("<IQ", kind, len(scalars)) + b"".join(body for _, body in scalars)
