"""Safetensors: one file, several by an index, and what is refused."""

import json
import math
from pathlib import Path

import pytest

from cf_orch.gpus.sizes import ModelFileError, read_model
from cf_orch.gpus.sizes.safetensors import read_index, read_safetensors

_BYTES = {"BF16": 2, "F32": 4, "F8_E4M3": 1}


def write_safetensors(path: Path, tensors: dict[str, tuple[str, list[int]]], **instead: object) -> None:
    """Write a file; `instead` replaces a tensor's entry in the header."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        size = math.prod(shape) * _BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header | instead).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded)
    with path.open("r+b") as file:
        file.truncate(8 + len(encoded) + offset)


def test_one_file(tmp_path: Path) -> None:
    """Tensors, weights, and bytes by type; the format's own metadata is no tensor."""
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"a": ("BF16", [3, 5]), "b": ("F8_E4M3", [7]), "scalar": ("F32", [])})

    assert read_safetensors(path) == (3, 23, {"BF16": 30, "F8_E4M3": 7, "F32": 4})


@pytest.mark.parametrize("named", ["", "model.safetensors.index.json"])
def test_several_files(tmp_path: Path, named: str) -> None:
    """The index names them; the folder or the index names the model."""
    weight_map = {}
    for number in (1, 2):
        name = f"model-{number:05}-of-00002.safetensors"
        write_safetensors(tmp_path / name, {f"w{number}": ("BF16", [100 * number])})
        weight_map[f"w{number}"] = name
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    model = read_model(tmp_path / named)

    assert (model.weights.tensors, model.weights.device_bytes) == (2, 600)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"dtype": "BF16", "shape": [4], "data_offsets": [0, 6]}, "does not take the 6 bytes"),
        ({"dtype": "BF16", "shape": [-4], "data_offsets": [0, 8]}, "does not take"),
        ({"dtype": "BF16", "shape": [2**62, 2**62], "data_offsets": [0, 8]}, "does not take"),
        ({"dtype": "BF16", "shape": [4], "data_offsets": [0, 2**60]}, "the data has 8 bytes"),
        ({"dtype": "BF16", "shape": [4], "data_offsets": [8, 16]}, "the one before it ends at 0"),
        ({"dtype": "BF16", "shape": [0], "data_offsets": [0, 0]}, "the tensors end at byte"),
        ({"dtype": "Q4_Z", "shape": [4], "data_offsets": [0, 8]}, "unknown type 'Q4_Z'"),
        ({"dtype": "BF16", "shape": "4", "data_offsets": [0, 8]}, "no JSON as safetensors have it"),
    ],
)
def test_an_entry_that_lies(tmp_path: Path, entry: dict[str, object], said: str) -> None:
    """Shape, type and place must agree with each other and with the file."""
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"w": ("BF16", [4])}, w=entry)

    with pytest.raises(ModelFileError, match=said):
        read_safetensors(path)


@pytest.mark.parametrize(("begin", "after"), [(0, 16), (16, 32)])
def test_tensors_that_overlap_or_leave_a_hole(tmp_path: Path, begin: int, after: int) -> None:
    """What is counted would not be what is there."""
    path = tmp_path / "model.safetensors"
    second = {"dtype": "BF16", "shape": [8], "data_offsets": [begin, after]}
    write_safetensors(path, {"a": ("BF16", [4]), "b": ("BF16", [8])}, b=second)
    with path.open("r+b") as file:
        file.truncate(8 + int.from_bytes(path.read_bytes()[:8], "little") + after)

    with pytest.raises(ModelFileError, match="but the one before it ends at"):
        read_safetensors(path)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"", "needs 8 bytes, but the file has 0 left"),
        ((2**63).to_bytes(8, "little"), "more than any model has"),
        ((100).to_bytes(8, "little") + b"{}", "needs 100 bytes, but the file has 2 left"),
        ((2).to_bytes(8, "little") + b"[]", "no JSON as safetensors have it"),
        ((100_000).to_bytes(8, "little") + b"[" * 100_000, "no JSON as safetensors have it"),
        ((600_002).to_bytes(8, "little") + b'{"":' * 150_000 + b"{}", "more entries than any model"),
    ],
)
def test_a_header_that_lies(tmp_path: Path, start: bytes, said: str) -> None:
    """Too long, cut off, no object, nested without end, full of nothing."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(start)

    with pytest.raises(ModelFileError, match=said):
        read_safetensors(path)


@pytest.mark.parametrize(
    "weight_map", ["{}", '{"w": "../secret.safetensors"}', '{"w": "/etc/passwd"}', '{"w": 5}', "[", '"x"']
)
def test_an_index_that_leads_elsewhere(tmp_path: Path, weight_map: str) -> None:
    """Only files beside it are read."""
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(f'{{"weight_map": {weight_map}}}')

    with pytest.raises(ModelFileError, match=r"no index|names no \.safetensors file"):
        read_index(path)


def test_a_shard_that_is_missing(tmp_path: Path) -> None:
    """It is named."""
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"w": "part-2.safetensors"}}')

    with pytest.raises(ModelFileError, match=r"part-2\.safetensors: does not exist"):
        read_model(tmp_path)
