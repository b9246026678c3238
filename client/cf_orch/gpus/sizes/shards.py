"""A model in one GGUF file or in several: NAME-00001-of-00003.gguf and so on, as llama-gguf-split makes them.

The first file has the metadata; each has its own tensors.  Any of them names the model.
"""

import re
from pathlib import Path

from cf_orch.gpus.sizes.bounded import is_file
from cf_orch.gpus.sizes.errors import ModelFileError
from cf_orch.gpus.sizes.gguf import GgufFile, Tensor, read_gguf

__all__ = ["read_all_shards"]

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_MOST_SHARDS = 999
_MOST_TENSORS = 32_768


def read_all_shards(path: Path) -> GgufFile:
    """Read a model's header, of all its files if it has several.  Raises ModelFileError, also if one is missing."""
    one = read_gguf(path)
    count = one.metadata.get("split.count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= _MOST_SHARDS:
        raise ModelFileError(path, f"split.count is {count!r}: 1 to {_MOST_SHARDS} are possible", "download it again")
    if count <= 1:
        return one
    return _joined(_paths(path, count))


def _paths(path: Path, count: int) -> list[Path]:
    match = _SHARD.fullmatch(path.name)
    if match is None or int(match["count"]) != count:
        raise ModelFileError(
            path,
            f"its header says that it is one of {count} files, but its name does not",
            f"name them as they were published: NAME-00001-of-{count:05}.gguf",
        )
    shards = [path.with_name(f"{match['stem']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]
    for shard in shards:
        if not is_file(shard):
            raise ModelFileError(shard, f"is missing: the model has {count} files", "put it beside the others")
    return shards


def _joined(shards: list[Path]) -> GgufFile:
    """One header at a time, so that many files take no more memory than one."""
    tensors: dict[str, Tensor] = {}
    for path in shards:
        shard = read_gguf(path)
        if len(tensors) + len(shard.tensors) > _MOST_TENSORS:
            raise ModelFileError(path, f"with it the model has over {_MOST_TENSORS} tensors", "no model has so many")
        for tensor in shard.tensors:
            if tensor.name in tensors:
                raise ModelFileError(path, f"{tensor.name!r} is in another file too", "download the model again")
            tensors[tensor.name] = tensor
    first = read_gguf(shards[0])
    return GgufFile(first.path, first.version, first.metadata, tuple(tensors.values()))
