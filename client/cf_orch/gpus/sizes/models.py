"""A model on the disk: its weights, and what its shape says, from whichever files it lies in."""

import re
from pathlib import Path
from typing import Literal

import msgspec

from cf_orch.gpus.sizes.architecture import Architecture
from cf_orch.gpus.sizes.bounded import is_file
from cf_orch.gpus.sizes.errors import ModelFileError
from cf_orch.gpus.sizes.gguf import GgufFile
from cf_orch.gpus.sizes.gguf_architecture import gguf_architecture
from cf_orch.gpus.sizes.hf_config import hf_architecture
from cf_orch.gpus.sizes.safetensors import INDEX_SUFFIX, Contents, read_index, read_safetensors
from cf_orch.gpus.sizes.shards import read_all_shards

__all__ = ["Model", "Weights", "read_model"]

_BLOCK = re.compile(r"blk\.(\d{1,9})\.")
_SAY_WHICH = "name one of the files"
# llama.cpp looks rows up in these on the host, and keeps them there.
_LOOKED_UP = ("token_embd.weight", "per_layer_token_embd.weight", "position_embd.weight", "token_types.weight")


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """What of a model's tensors goes to the card (`device_*`), and what stays in host memory."""

    tensors: int
    device_bytes: int
    device_parameters: int
    host_bytes: int
    #: layers that predict further tokens for speculation: engines leave them out unless told otherwise
    left_out_bytes: int
    bytes_by_type: dict[str, int]

    @property
    def commonest_type(self) -> str:
        """The type that most bytes are in."""
        return max(self.bytes_by_type, key=lambda name: self.bytes_by_type[name], default="nothing")


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model that can be estimated; `architecture` is None where no config lies beside the weights."""

    path: str
    format: Literal["gguf", "safetensors"]
    weights: Weights
    architecture: Architecture | None


def read_model(path: Path | str) -> Model:
    """Read a .gguf file (or any of its shards), a .safetensors file, its index, or a folder with one model.

    Only headers are read.  Raises ModelFileError: which file, at which byte, what is wrong and what to do.
    """
    found = _resolve(Path(path) if isinstance(path, str) else path)
    if found.name.endswith(INDEX_SUFFIX):
        return _from_safetensors(found, [found.with_name(name) for name in read_index(found)])
    if found.suffix == ".safetensors":
        return _from_safetensors(found, [found])
    return _from_gguf(read_all_shards(found))


def _resolve(path: Path) -> Path:
    """The file that stands for the model in a folder: the index, or the only one, or the first shard."""
    try:
        if not path.is_dir():
            return path
        files = sorted(entry for entry in path.iterdir() if is_file(entry))
    except OSError as error:
        raise ModelFileError(path, f"cannot be looked at: {error}", "look at its name and its permissions") from None
    for suffix in (INDEX_SUFFIX, ".safetensors", ".gguf"):
        found = [file for file in files if file.name.endswith(suffix) and not file.name.startswith("mmproj")]
        first = [file for file in found if "-00001-of-" in file.name] or found
        if len(first) == 1:
            return first[0]
        if first:
            names = ", ".join(file.name for file in first[:5])
            raise ModelFileError(path, f"has {len(first)} files that could be the model: {names}", _SAY_WHICH)
    raise ModelFileError(path, "has neither a .gguf nor a .safetensors file", "name the folder or file of a model")


def _from_gguf(file: GgufFile) -> Model:
    architecture = gguf_architecture(file)
    loaded = len(architecture.layers) - architecture.speculative_layers
    tied = not any(tensor.name == "output.weight" for tensor in file.tensors)
    device_bytes = device_parameters = host_bytes = left_out_bytes = 0
    bytes_by_type: dict[str, int] = {}
    for tensor in file.tensors:
        bytes_by_type[tensor.quantisation] = bytes_by_type.get(tensor.quantisation, 0) + tensor.size_bytes
        block = _BLOCK.match(tensor.name)
        if block and int(block[1]) >= loaded:
            left_out_bytes += tensor.size_bytes
            continue
        looked_up = tensor.name in _LOOKED_UP
        host_bytes += tensor.size_bytes if looked_up else 0
        # Without an output matrix the embedding serves as one, and is on the card too.
        if not looked_up or (tied and tensor.name == "token_embd.weight"):
            device_bytes += tensor.size_bytes
            device_parameters += tensor.weights
    weights = Weights(
        tensors=len(file.tensors),
        device_bytes=device_bytes,
        device_parameters=device_parameters,
        host_bytes=host_bytes,
        left_out_bytes=left_out_bytes,
        bytes_by_type=bytes_by_type,
    )
    return Model(path=str(file.path), format="gguf", weights=weights, architecture=architecture)


def _from_safetensors(named: Path, files: list[Path]) -> Model:
    parts: list[Contents] = [read_safetensors(file) for file in files]
    bytes_by_type: dict[str, int] = {}
    for part in parts:
        for name, size_bytes in part.bytes_by_type.items():
            bytes_by_type[name] = bytes_by_type.get(name, 0) + size_bytes
    weights = Weights(
        tensors=sum(part.tensors for part in parts),
        device_bytes=sum(bytes_by_type.values()),
        device_parameters=sum(part.parameters for part in parts),
        host_bytes=0,
        left_out_bytes=0,
        bytes_by_type=bytes_by_type,
    )
    config = named.with_name("config.json")
    architecture = hf_architecture(config) if is_file(config) else None
    return Model(path=str(named), format="safetensors", weights=weights, architecture=architecture)
