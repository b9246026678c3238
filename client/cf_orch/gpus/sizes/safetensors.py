"""The header of a safetensors file (github.com/huggingface/safetensors, "Format"), and of a model in several.

    length of the header as 64 bits, the header as JSON {name: {dtype, shape, data_offsets}}, and then the data

The header says where each tensor lies; together they must fill the file without a hole.  A model in several files has
an index, ``model.safetensors.index.json``, that says which file each tensor is in.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from cf_orch.gpus.sizes.bounded import DOWNLOAD_AGAIN, BoundedFile
from cf_orch.gpus.sizes.documents import decode

__all__ = ["INDEX_SUFFIX", "Contents", "read_index", "read_safetensors"]

INDEX_SUFFIX = ".safetensors.index.json"

_MOST_HEADER_BYTES = 8 << 20
_MOST_INDEX_BYTES = 16 << 20
# What JSON becomes in memory is bounded by how many of these it has, before it is decoded.
_MOST_COLONS = 100_000
_MOST_COMMAS = 400_000
_MOST_SHARDS = 999
_BITS = {
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}
_SHARD_NAME = re.compile(rb':\s*"([^"\\/]{1,200}\.safetensors)"')


class Contents(NamedTuple):
    """What a file holds: how many tensors, their weights, and their bytes by type."""

    tensors: int
    parameters: int
    bytes_by_type: Mapping[str, int]


class _Place(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class _Index(msgspec.Struct):
    weight_map: msgspec.Raw


def read_safetensors(path: Path) -> Contents:
    """Read one file's header.  Raises ModelFileError."""
    with BoundedFile(path) as file:
        length = int.from_bytes(file.take(8, "the length of the header"), "little")
        if length > _MOST_HEADER_BYTES:
            file.refuse(
                f"a header of {length} bytes is more than any model has ({_MOST_HEADER_BYTES}), or this is no "
                "safetensors file",
                "name a .safetensors or .gguf file",
                at_byte=0,
            )
        header = file.take(length, "the header")
        places = _places(file, header)
        return _contents(file, places)


def read_index(path: Path) -> list[str]:
    """The names of the files that an index names, in order.  Raises ModelFileError."""
    with BoundedFile(path) as file:
        if file.size > _MOST_INDEX_BYTES:
            file.refuse(f"an index of {file.size} bytes is more than any model has ({_MOST_INDEX_BYTES})")
        text = file.take(file.size, "the index")
        index = decode(file, text, _Index, "this is no index of safetensors files")
        names: set[bytes] = set()
        for match in _SHARD_NAME.finditer(index.weight_map):
            names.add(match[1])
            if len(names) > _MOST_SHARDS:
                file.refuse(f"the index names over {_MOST_SHARDS} files", at_byte=0)
        if not names:
            file.refuse("the index names no .safetensors file", at_byte=0)
        return sorted(name.decode(errors="replace") for name in names)


def _places(file: BoundedFile, header: bytes) -> dict[str, _Place]:
    if header.count(b":") > _MOST_COLONS or header.count(b",") > _MOST_COMMAS:
        file.refuse(f"the header has more entries than any model ({_MOST_COLONS // 4} tensors)", at_byte=8)
    what = "the header is no JSON as safetensors have it"
    entries = decode(file, header, dict[str, msgspec.Raw], what, at_byte=8)
    entries.pop("__metadata__", None)
    return {name: decode(file, entry, _Place, what, at_byte=8) for name, entry in entries.items()}


def _contents(file: BoundedFile, places: dict[str, _Place]) -> Contents:
    start, end, parameters = file.position, 0, 0
    bytes_by_type: dict[str, int] = {}
    for name, place in sorted(places.items(), key=lambda item: item[1].data_offsets):
        begin, after = place.data_offsets
        if begin != end or after < begin or after > file.size - start:
            file.refuse(
                f"the tensor {name[:80]!r} lies at {begin} to {after}, but the one before it ends at {end} and the "
                f"data has {file.size - start} bytes",
                at_byte=start + end,
            )
        weights = _weights(file, name, place)
        parameters += weights
        bytes_by_type[place.dtype] = bytes_by_type.get(place.dtype, 0) + after - begin
        end = after
    if start + end != file.size:
        file.refuse(f"the tensors end at byte {start + end}, but the file has {file.size}", at_byte=start + end)
    return Contents(len(places), parameters, bytes_by_type)


def _weights(file: BoundedFile, name: str, place: _Place) -> int:
    """How many, if shape, type and place agree."""
    begin, after = place.data_offsets
    if place.dtype not in _BITS:
        file.refuse(
            f"the tensor {name[:80]!r} has the unknown type {place.dtype[:40]!r}",
            "update cf-orch, or " + DOWNLOAD_AGAIN,
        )
    weights = math.prod(place.shape) if all(0 <= side <= file.size for side in place.shape[:16]) else -1
    if len(place.shape) > 16 or weights < 0 or weights * _BITS[place.dtype] != 8 * (after - begin):  # noqa: PLR2004
        file.refuse(
            f"the tensor {name[:80]!r} of shape {place.shape[:16]} and type {place.dtype} does not take the "
            f"{after - begin} bytes that it lies in"
        )
    return weights
