"""Files that lie about themselves: refused cleanly, within bounds and without taking memory."""

import os
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.sizes.corpus import SEEDS, Seed
from tests.sizes.fuzz import MOST_BYTES, fuzz, try_one
from tests.sizes.gguf_writer import Tensor, header

from cf_orch.gpus.sizes import ModelFileError, read_model
from cf_orch.gpus.sizes.bounded import BoundedFile

INPUTS = 3000
"""Enough for each seed and each change to meet; `python tests/sizes/fuzz.py --inputs 1000000` is the long run."""


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_the_corpus_is_read(tmp_path: Path, seed: Seed) -> None:
    """What the fuzzing changes is whole to begin with, or nothing behind the first check would ever be reached."""
    for name, content in seed.beside.items():
        (tmp_path / name).write_bytes(content)

    assert try_one(tmp_path, seed, seed.content, seed.data_bytes)


def test_changed_headers() -> None:
    """Either read or refused by the one error, watched for reads past the end and for memory."""
    tally = fuzz(INPUTS, seed=20)

    assert tally.read > INPUTS / 40
    assert tally.refused > INPUTS / 3
    assert tally.watched_reads > 2 * INPUTS
    assert tally.peak_bytes < MOST_BYTES


def _key(name: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind) + value


def _most_keys() -> bytes:
    longest = [_key(f"{number:0256}", 8, struct.pack("<Q", 1024) + bytes(1024)) for number in range(4096)]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 4096) + b"".join(longest)


def _most_elements() -> bytes:
    arrays = [_key(f"{number}", 9, struct.pack("<IQ", 10, 65536) + b"\xff" * 8 * 65536) for number in range(40)]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 40) + b"".join(arrays)


def _most_tensors() -> bytes:
    tensors = [Tensor(f"{number:0128}", (1, 1, 1, 2**20), "F32") for number in range(32_768)]
    return header({}, tensors)


def _most_entries() -> bytes:
    entry = b'"%d":{"dtype":"F16","shape":[],"data_offsets":[0,0]},'
    encoded = b"{" + b"".join(entry % number for number in range(25_000))[:-1] + b"}"
    return len(encoded).to_bytes(8, "little") + encoded


def _longest_shape() -> bytes:
    encoded = b'{"w":{"dtype":"F16","shape":[' + b"1234567890," * 399_990 + b'1],"data_offsets":[0,0]}}'
    return len(encoded).to_bytes(8, "little") + encoded


def _too_long_a_shape() -> bytes:
    encoded = b'{"w":{"dtype":"F16","shape":[' + b"1234," * 1_670_000 + b'1],"data_offsets":[0,0]}}'
    return len(encoded).to_bytes(8, "little") + encoded


def _longest_text() -> bytes:
    encoded = b'{"__metadata__":{"x":"' + b"a" * ((8 << 20) - 30) + b'"}}'
    return len(encoded).to_bytes(8, "little") + encoded


def _longest_index() -> bytes:
    return b'{"weight_map":{' + b'"a":"b.safetensors",' * 800_000 + b'"":""}}'


def _widest_config() -> bytes:
    return b'{"layer_types":[' + b"{}," * 349_000 + b"{}]}"


def _deepest_config() -> bytes:
    return b'{"a":' * 200_000


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("model.gguf", _most_keys),
        ("model.gguf", _most_elements),
        ("model.gguf", _most_tensors),
        ("model.safetensors", _most_entries),
        ("model.safetensors", _longest_shape),
        ("model.safetensors", _too_long_a_shape),
        ("model.safetensors", _longest_text),
        ("model.safetensors.index.json", _longest_index),
        ("config.json", _widest_config),
        ("config.json", _deepest_config),
    ],
)
def test_as_much_as_is_let_through(tmp_path: Path, name: str, make: Callable[[], bytes]) -> None:
    """Headers at every limit at once take less than 64 MB, whether they are refused in the end or not."""
    (tmp_path / name).write_bytes(make())
    if name == "config.json":
        (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    tracemalloc.start()
    with suppress(ModelFileError):
        read_model(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < MOST_BYTES


def test_a_disk_that_fails(tmp_path: Path) -> None:
    """An error while reading is told as one of the file."""
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(64))
    folder = os.open(tmp_path, os.O_RDONLY)

    def read() -> None:
        with BoundedFile(path) as file:
            os.dup2(folder, file._file.fileno())  # a folder in the file's place fails every read
            file.take(8, "anything")

    with pytest.raises(ModelFileError, match=r"cannot be read: .*; look at the disk"):
        read()
    os.close(folder)


def test_a_file_that_shrinks(tmp_path: Path) -> None:
    """What was there when it was opened may not be there when it is read."""
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(1 << 16))

    def read() -> None:
        with BoundedFile(path) as file:
            os.truncate(path, 100)
            file.take(1 << 15, "the data")

    with pytest.raises(ModelFileError, match="ended while the data was read"):
        read()


def test_neither_pipes_nor_devices_are_read(tmp_path: Path) -> None:
    """Opening a pipe would wait for ever, and a device has no end."""
    os.mkfifo(tmp_path / "model.gguf")

    for path in (tmp_path / "model.gguf", Path("/dev/zero")):
        with pytest.raises(ModelFileError, match="it is no regular file"):
            read_model(path)
