"""The header of a GGUF file: what the model is, and which tensors it has (github.com/ggml-org/ggml, docs/gguf.md).

    magic "GGUF", version, number of tensors, number of keys, the keys with typed values, the tensors' names, shapes,
    types and offsets, padding, and then the data, which nobody reads here.

Versions 2 and 3 differ in nothing that is read here.  Limits are far above what models have and far below what hurts:
whatever a header says, some 40 MB are the most that reading it can take.
"""

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cf_orch.gpus.sizes.bounded import DOWNLOAD_AGAIN, BoundedFile
from cf_orch.gpus.sizes.quantisations import BY_NUMBER

__all__ = ["GgufFile", "Metadata", "Tensor", "Value", "read_gguf"]

Value = bool | int | float | str | tuple[bool | int | float, ...]
Metadata = Mapping[str, Value]

_MOST_KEYS = 4096
_MOST_TENSORS = 32_768
_MOST_KEY_BYTES = 256
_MOST_NAME_BYTES = 128
_MOST_TEXT_BYTES = 1024
_MOST_KEPT_ELEMENTS = 65_536
_MOST_DIMENSIONS = 4
_MOST_WEIGHTS = 2**63 - 1
_MOST_ALIGNMENT = 2**20
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_SCALARS = {
    number: struct.Struct(f"<{code}")
    for number, code in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}
_NEWER = "it may be newer than this version of cf-orch: update it, or " + DOWNLOAD_AGAIN


class Tensor(NamedTuple):
    """A tensor that a file holds; `shape` in the file's own order."""

    name: str
    shape: tuple[int, ...]
    quantisation: str
    size_bytes: int

    @property
    def weights(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


class GgufFile(NamedTuple):
    """A header.  Long texts and the tokenizer's arrays are left out of the metadata."""

    path: Path
    version: int
    metadata: Metadata
    tensors: tuple[Tensor, ...]


def read_gguf(path: Path) -> GgufFile:
    """Read one file's header.  Raises ModelFileError."""
    with BoundedFile(path) as file:
        version, tensor_count, key_count = _start(file)
        metadata = _Metadata(file).read(key_count)
        tensors = _tensors(file, tensor_count, _alignment(file, metadata))
        return GgufFile(path, version, metadata, tensors)


def _start(file: BoundedFile) -> tuple[int, int, int]:
    magic = file.take(4, "the magic word")
    if magic != b"GGUF":
        file.refuse(f"this is no GGUF file: it begins with {magic!r}", "name a .gguf file", at_byte=0)
    at = file.position
    version = _integer(file, 4, "the version")
    if version not in _VERSIONS:
        file.refuse(*_why_not(version), at_byte=at)
    at = file.position
    tensors, keys = _integer(file, 8, "the number of tensors"), _integer(file, 8, "the number of keys")
    if tensors > _MOST_TENSORS or keys > _MOST_KEYS:
        file.refuse(
            f"{tensors} tensors and {keys} keys are more than any model has ({_MOST_TENSORS} and {_MOST_KEYS})",
            at_byte=at,
        )
    return version, tensors, keys


def _why_not(version: int) -> tuple[str, str]:
    if version == 1:
        return "GGUF version 1 is no longer read by anything", "convert the model anew with llama.cpp's converter"
    if version and not version & 0xFFFF:
        return "this GGUF file is for big-endian machines", "get the little-endian one"
    return f"GGUF version {version} is unknown: 2 and 3 are read", _NEWER


class _Metadata:
    """Reads keys and values; what is long and not needed is skipped, not kept."""

    def __init__(self, file: BoundedFile) -> None:
        self._file = file
        self._kept_elements = 0

    def read(self, count: int) -> dict[str, Value]:
        """Read so many keys with their values."""
        metadata: dict[str, Value] = {}
        seen: set[str] = set()
        for _ in range(count):
            at = self._file.position
            key = _text(self._file, _MOST_KEY_BYTES, "a key")
            if key in seen:
                self._file.refuse(f"the key {key!r} is there twice", at_byte=at)
            seen.add(key)
            value = self._value(key)
            if value is not None:
                metadata[key] = value
        return metadata

    def _value(self, key: str) -> Value | None:
        at = self._file.position
        kind = _integer(self._file, 4, f"the type of {key}")
        if kind == _ARRAY:
            return self._array(key)
        if kind == _STRING:
            return self._string(key)
        if kind not in _SCALARS:
            self._file.refuse(f"the value of {key} has the unknown type {kind}", _NEWER, at_byte=at)
        return _scalars(self._file, kind, 1, key)[0]

    def _string(self, key: str) -> str | None:
        length = _integer(self._file, 8, f"the length of {key}")
        if length > _MOST_TEXT_BYTES:
            self._file.skip(length, key)
            return None
        return self._file.take(length, key).decode(errors="replace")

    def _array(self, key: str) -> tuple[bool | int | float, ...] | None:
        at = self._file.position
        kind, count = _integer(self._file, 4, f"the type of {key}"), _integer(self._file, 8, f"the length of {key}")
        if kind == _STRING:
            self._file.skip_strings(count, key)
            return None
        if kind not in _SCALARS:
            nested = "arrays within arrays" if kind == _ARRAY else f"elements of the unknown type {kind}"
            self._file.refuse(f"{key} has {nested}", _NEWER, at_byte=at)
        if key.startswith("tokenizer.") or self._kept_elements + count > _MOST_KEPT_ELEMENTS:
            self._file.skip(count * _SCALARS[kind].size, key)
            return None
        self._kept_elements += count
        return _scalars(self._file, kind, count, key)


def _scalars(file: BoundedFile, kind: int, count: int, what: str) -> tuple[bool | int | float, ...]:
    scalar = _SCALARS[kind]
    return tuple(value for (value,) in scalar.iter_unpack(file.take(count * scalar.size, what)))


def _tensors(file: BoundedFile, count: int, alignment: int) -> tuple[Tensor, ...]:
    tensors: list[Tensor] = []
    places: list[int] = []
    names: set[str] = set()
    for _ in range(count):
        at = file.position
        tensor, offset = _tensor(file, alignment)
        if tensor.name in names:
            file.refuse(f"the tensor {tensor.name!r} is there twice", at_byte=at)
        names.add(tensor.name)
        tensors.append(tensor)
        places.append(offset)
    data = -(-file.position // alignment) * alignment
    for tensor, offset in zip(tensors, places, strict=True):
        if data + offset + tensor.size_bytes > file.size:
            file.refuse(
                f"the tensor {tensor.name!r} lies at bytes {data + offset} to {data + offset + tensor.size_bytes}, "
                f"but the file has {file.size}"
            )
    return tuple(tensors)


def _tensor(file: BoundedFile, alignment: int) -> tuple[Tensor, int]:
    at = file.position
    name = _text(file, _MOST_NAME_BYTES, "a tensor's name")
    dimensions = _integer(file, 4, f"the number of dimensions of {name}")
    if not 0 < dimensions <= _MOST_DIMENSIONS:
        file.refuse(
            f"the tensor {name!r} has {dimensions} dimensions: 1 to {_MOST_DIMENSIONS} are possible", at_byte=at
        )
    shape = tuple(_integer(file, 8, f"the shape of {name}") for _ in range(dimensions))
    kind, offset = _integer(file, 4, f"the type of {name}"), _integer(file, 8, f"the offset of {name}")
    weights = math.prod(shape)
    if not 0 < weights <= _MOST_WEIGHTS:
        file.refuse(f"the tensor {name!r} has the shape {shape}, which is {weights} weights", at_byte=at)
    if kind not in BY_NUMBER:
        file.refuse(f"the tensor {name!r} has the unknown type {kind}", _NEWER, at_byte=at)
    packing = BY_NUMBER[kind]
    if shape[0] % packing.block_weights:
        file.refuse(
            f"the rows of {name!r} have {shape[0]} weights, which are no whole blocks of {packing.name}, that is of "
            f"{packing.block_weights}",
            at_byte=at,
        )
    if offset % alignment:
        file.refuse(f"the tensor {name!r} begins at {offset}, no multiple of {alignment}", at_byte=at)
    size_bytes = weights // packing.block_weights * packing.block_bytes
    return Tensor(name, shape, packing.name, size_bytes), offset


def _alignment(file: BoundedFile, metadata: Metadata) -> int:
    alignment = metadata.get("general.alignment", 32)
    if isinstance(alignment, int) and 0 < alignment <= _MOST_ALIGNMENT and not alignment & (alignment - 1):
        return alignment
    return file.refuse(f"general.alignment is {alignment!r}: it must be a power of two, at most {_MOST_ALIGNMENT}")


def _integer(file: BoundedFile, size: int, what: str) -> int:
    return int.from_bytes(file.take(size, what), "little")


def _text(file: BoundedFile, most: int, what: str) -> str:
    at = file.position
    length = _integer(file, 8, f"the length of {what}")
    if length > most:
        file.refuse(f"{what} has {length} bytes: {most} are the most", at_byte=at)
    try:
        return file.take(length, what).decode()
    except UnicodeDecodeError as error:
        return file.refuse(f"{what} is no UTF-8: {error.reason}", at_byte=at)
