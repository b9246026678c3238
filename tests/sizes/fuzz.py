"""Headers that lie: ``python tests/sizes/fuzz.py --inputs 1000000 --seed 1``.

Each input is a true header with a few changes: bytes turned, numbers put to the edges of their types, pieces cut out,
doubled or moved, the end cut off.  It is read as a user's file would be, estimated if it can be read, and must either
succeed or be refused by ModelFileError: no other exception, no read past the file's end or of more than is asked for,
and no more than 64 MB taken.  Every input follows from the seed and its number, which a failure names.
"""

import argparse
import io
import os
import struct
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path, PosixPath
from random import Random
from typing import NamedTuple

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.sizes.corpus import SEEDS, Seed

from cf_orch.gpus.sizes import ModelFileError, estimate, read_model

__all__ = ["MOST_BYTES", "Tally", "WatchedPath", "fuzz", "mutate", "try_one"]

MOST_BYTES = 64 * 10**6
_MOST_READ_BYTES = 17 << 20
_EDGES = (
    0,
    1,
    2,
    7,
    8,
    9,
    31,
    32,
    33,
    255,
    2**15,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
_SAY_EVERY = 50_000


class Tally(NamedTuple):
    """How many inputs were read, how many refused, how many reads were watched, and the most memory one input took."""

    read: int
    refused: int
    watched_reads: int
    peak_bytes: int


class _Watched(io.BufferedReader):
    """A file that objects to a read of everything, of too much, or past its end."""

    reads = 0

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(str(path)))
        self._end = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        _Watched.reads += 1
        assert size is not None, "a read without a bound"
        assert 0 <= size <= _MOST_READ_BYTES, f"a read of {size} bytes"
        assert self.tell() + size <= self._end, f"a read of {size} bytes at {self.tell()} of {self._end}"
        return super().read(size)


class WatchedPath(PosixPath):
    """A path whose file watches what is read of it."""

    def open(self, *_arguments: object, **_named: object) -> io.BufferedReader:  # type: ignore[override]
        """Open for reading, watched."""
        return _Watched(self)


def mutate(content: bytes, random: Random) -> bytes:
    """Change a header in one to four places."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 4)):
        if not changed:
            break
        at = random.randrange(len(changed))
        match random.randrange(7):
            case 0:
                changed[at] ^= 1 << random.randrange(8)
            case 1:
                changed[at] = random.randrange(256)
            case 2 | 3:
                edge = random.choice(_EDGES) + random.choice((0, 0, 0, len(content)))
                width = random.choice((4, 8))
                changed[at : at + width] = struct.pack("<Q", edge % 2**64)[:width]
            case 4:
                del changed[at : at + random.randint(1, 40)]
            case 5:
                start = random.randrange(len(changed))
                changed[at:at] = changed[start : start + random.randint(1, 40)]
            case _:
                del changed[random.choice((at, len(changed) - 1)) :]
    return bytes(changed)


def try_one(folder: Path, seed: Seed, content: bytes, data_bytes: int) -> bool:
    """Whether a file with this content, and so many zeroes after it, is read; False if it is refused."""
    path = folder / seed.name
    with open(path, "r+b" if path.exists() else "wb") as file:  # noqa: PTH123 - a watched path opens for reading only
        file.write(content)
        file.truncate(len(content))
        file.truncate(len(content) + data_bytes)
    try:
        estimate(read_model(WatchedPath(folder / seed.named)), context=4096)
    except ModelFileError:
        return False
    return True


def fuzz(inputs: int, seed: int, *, say: bool = False) -> Tally:
    """Try so many inputs; an exception tells the number of the one that failed."""
    read, peak, begun, reads = 0, 0, time.monotonic(), _Watched.reads
    tracemalloc.start()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as temporary:
        folders = [_folder(Path(temporary) / str(number), chosen) for number, chosen in enumerate(SEEDS)]
        for number in range(inputs):
            random = Random(f"{seed} {number}")
            which = random.randrange(len(SEEDS))
            chosen = SEEDS[which]
            content = mutate(chosen.content, random)
            data_bytes = random.choice((chosen.data_bytes, chosen.data_bytes, chosen.data_bytes, 0))
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                read += try_one(folders[which], chosen, content, data_bytes)
                took = tracemalloc.get_traced_memory()[1] - before
                assert took <= MOST_BYTES, f"it took {took} bytes"
            except Exception as error:
                error.add_note(f"input {number} of seed {seed}, from {chosen.name}")
                raise
            peak = max(peak, took)
            if say and (number + 1) % _SAY_EVERY == 0:
                sys.stdout.write(f"{number + 1} inputs, {time.monotonic() - begun:.0f} s, {read} read\n")
                sys.stdout.flush()
    tracemalloc.stop()
    return Tally(read, inputs - read, _Watched.reads - reads, peak)


def _folder(folder: Path, seed: Seed) -> Path:
    """A folder with the files that stand beside the one that changes."""
    folder.mkdir()
    for name, content in seed.beside.items():
        (folder / name).write_bytes(content)
    return folder


def main() -> None:
    """Read the command line and fuzz."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    tally = fuzz(arguments.inputs, arguments.seed, say=True)
    sys.stdout.write(f"{tally}\n")


if __name__ == "__main__":
    main()
