"""An architecture out of a GGUF file's metadata, as llama.cpp's loader reads it (src/llama-hparams.cpp, src/models/).

Keys begin with the architecture's name: ``llama.block_count``.  A number may stand for all layers or be an array with
one for each.
"""

import math
from typing import NoReturn

from cf_orch.gpus.sizes.architecture import Architecture, Layer
from cf_orch.gpus.sizes.errors import ModelFileError
from cf_orch.gpus.sizes.gguf import GgufFile, Tensor

__all__ = ["gguf_architecture"]

_MOST_LAYERS = 4096
_MOST_NUMBER = 2**32
_FLOAT_BYTES = 4

#: layers in a period of which the last sees everything and the others a window, where the file does not say
_WINDOW_PERIODS = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gemma-embedding": 6,
    "cohere2": 4,
    "cohere2moe": 4,
    "gpt-oss": 2,
    "llama4": 4,
    "olmo2": 4,
    "exaone4": 4,
    "exaone-moe": 4,
    "afmoe": 4,
    "smallthinker": 4,
}
_FULL_FIRST = {"smallthinker"}
_FIXED_WINDOWS = {"llama4": 8192}  # its files do not name it
_IGNORES_WINDOW = {"phi3", "llama", "mistral3", "qwen2", "qwen2moe", "qwen3", "qwen3moe"}  # cached in full all the same
_ALL_RECURRENT = {"mamba", "mamba2", "rwkv6", "rwkv7", "arwkv7", "rwkv6qwen2"}
_BOTH_IN_EACH_LAYER = {"falcon-h1"}
_INTERVAL_HYBRIDS = {"qwen3next", "qwen35", "qwen35moe"}
_CACHES_WHAT_IT_LEAVES_OUT = {"glm4moe"}  # as measured: its layers for speculation have a cache all the same
_ENCODERS = {"t5", "t5encoder", "bert", "nomic-bert", "modern-bert", "jina-bert-v2", "clip", "wavtokenizer-dec"}
_NOT_MODELLED = {
    "attention.compress_ratios": "it compresses its cache, which is not modelled",
    "attention.indexer.head_count": "its indexer keeps a cache of its own, which is not modelled",
    "hyper_connection.count": "its hyper-connections keep several streams in flight, which is not modelled",
}


def gguf_architecture(file: GgufFile) -> Architecture:
    """Read what the metadata says.  Raises ModelFileError if it contradicts itself or lacks what every model has."""
    return _Reader(file).read()


class _Reader:
    def __init__(self, file: GgufFile) -> None:
        self._file = file
        self.name = str(file.metadata.get("general.architecture", ""))
        if not self.name:
            self._refuse("general.architecture is missing, so nothing in the file can be understood")
        self._tensors = {tensor.name: tensor for tensor in file.tensors}

    def read(self) -> Architecture:
        count, speculative = self.number("block_count"), self.number("nextn_predict_layers", 0)
        if not speculative < count <= _MOST_LAYERS:
            self._refuse(f"{self.name}.block_count is {count}: {speculative + 1} to {_MOST_LAYERS} layers are possible")
        embd = self.number("embedding_length")
        recurrent = self._recurrent(count - speculative) + [False] * speculative
        windows = self._windows(count)
        kept = self._layers_with_cache(count, speculative)
        layers = [
            self._layer(layer, embd, recurrent=recurrent[layer], window=windows[layer], cached=layer < kept)
            for layer in range(count)
        ]
        return Architecture(
            name=self.name,
            embd_width=embd,
            vocabulary=self._vocabulary(),
            layers=tuple(layers),
            speculative_layers=speculative,
            carried_width=count * self.number("embedding_length_per_layer_input", 0),
            trained_context=self.number("context_length", 0) or None,
            doubts=self._doubts(windows),
        )

    def number(self, key: str, default: int | None = None, *, layer: int = 0) -> int:
        """A count for this layer, out of a number or an array; 0 or more."""
        full = f"{self.name}.{key}"
        value = self._file.metadata.get(full, default)
        if isinstance(value, tuple):
            if layer >= len(value):
                self._refuse(f"{full} has {len(value)} numbers, none for layer {layer}")
            value = value[layer]
        if isinstance(value, int) and 0 <= value < _MOST_NUMBER:
            return int(value)
        return self._refuse(f"{full} is missing" if value is None else f"{full} is {value!r}, which is no count")

    def _layer(self, layer: int, embd: int, *, recurrent: bool, window: int | None, cached: bool) -> Layer:
        attends = not recurrent or self.name in _BOTH_IN_EACH_LAYER
        state_bytes, state_width = self._state(embd, layer) if recurrent else (0, 0)
        k_width, v_width, attention_width = self._attention(layer, embd, window) if attends else (0, 0, 0)
        return Layer(
            k_width=k_width if cached else 0,
            v_width=v_width if cached else 0,
            window=window if attends else None,
            state_bytes=state_bytes,
            mixer_width=attention_width + state_width,
            feed_forward_width=self._feed_forward(layer, embd),
        )

    def _attention(self, layer: int, embd: int, window: int | None) -> tuple[int, int, int]:
        """Widths of K, of V and of everything in flight."""
        heads = self.number("attention.head_count", layer=layer)
        kv_heads = self.number("attention.head_count_kv", heads, layer=layer)
        usual = embd // heads if heads else 0
        key = self._head("key_length", usual, window)
        value = self._head("value_length", usual, window)
        latent = self.number("attention.kv_lora_rank", 0)
        if latent and (each := self.number("attention.key_length_mla", 0)):
            # Latent attention: one row of latent and rope for all heads; V is the latent part of it, kept once.
            return key * kv_heads, 0, heads * (each + key + latent)
        return key * kv_heads, value * kv_heads, 2 * (heads + kv_heads) * key + heads * value

    def _head(self, key: str, usual: int, window: int | None) -> int:
        everywhere = self.number(f"attention.{key}", usual)
        return everywhere if window is None else self.number(f"attention.{key}_swa", everywhere)

    def _state(self, embd: int, layer: int) -> tuple[int, int]:
        """Bytes of a sequence's state (of f32), and numbers in flight for each token."""
        if head := self.number("wkv.head_size", 0):
            return _FLOAT_BYTES * embd * (self.number("token_shift_count", 2) + head), 6 * embd
        if cache := self.number("shortconv.l_cache", 0):
            return _FLOAT_BYTES * embd * (cache - 1), 4 * embd
        kernel = self.number("ssm.conv_kernel", 0)
        if head := self.number("kda.head_dim", 0):
            inner = head * self.number("attention.head_count", layer=layer)
            return _FLOAT_BYTES * (3 * max(0, kernel - 1) * inner + head * inner), 6 * inner
        inner, size = self.number("ssm.inner_size"), self.number("ssm.state_size")
        convolved = inner + 2 * self.number("ssm.group_count", 0) * size
        return _FLOAT_BYTES * (max(0, kernel - 1) * convolved + size * inner), 2 * (inner + convolved)

    def _feed_forward(self, layer: int, embd: int) -> int:
        """Gate, up and their product; of experts those in use, which also give a row each."""
        dense = 3 * self.number("feed_forward_length", 0, layer=layer)
        used = self.number("expert_used_count", 0, layer=layer)
        if not used or layer < self.number("leading_dense_block_count", 0):
            return dense
        width = self.number("expert_feed_forward_length", self.number("feed_forward_length", 0, layer=layer))
        return max(3 * used * width, used * width + 2 * used * embd)

    def _recurrent(self, count: int) -> list[bool]:
        """Which layers keep a state in place of a cache, or beside it."""
        if self.name in _ALL_RECURRENT | _BOTH_IN_EACH_LAYER:
            return [True] * count
        listed = self._file.metadata.get(f"{self.name}.attention.recurrent_layers")
        if isinstance(listed, tuple) and len(listed) >= count:
            return [bool(flag) for flag in listed[:count]]
        if self.name in _INTERVAL_HYBRIDS:
            interval = self.number("full_attention_interval", 4)
            return [bool(interval) and (layer + 1) % interval != 0 for layer in range(count)]
        if not any(
            f"{self.name}.{key}" in self._file.metadata
            for key in ("ssm.inner_size", "shortconv.l_cache", "kda.head_dim")
        ):
            return [False] * count
        return [self._is_mixer(layer) for layer in range(count)]

    def _is_mixer(self, layer: int) -> bool:
        """Without KV heads a layer is recurrent; in Nemotron-H it may also be feed-forward alone."""
        if self.number("attention.head_count_kv", 0, layer=layer):
            return False
        return not (self.name.startswith("nemotron_h") and self.number("feed_forward_length", 0, layer=layer))

    def _windows(self, count: int) -> list[int | None]:
        """Each layer's window."""
        window = self.number("attention.sliding_window", 0) or _FIXED_WINDOWS.get(self.name, 0)
        if not window or self.name in _IGNORES_WINDOW:
            return [None] * count
        pattern = self._file.metadata.get(f"{self.name}.attention.sliding_window_pattern")
        if isinstance(pattern, tuple) and len(pattern) >= count:
            return [window if windowed else None for windowed in pattern[:count]]
        period = _WINDOW_PERIODS.get(self.name, 1) if isinstance(pattern, tuple | None) else self._period()
        full = 0 if self.name in _FULL_FIRST else period - 1
        return [window if not period or layer % period != full else None for layer in range(count)]

    def _period(self) -> int:
        return self.number("attention.sliding_window_pattern")

    def _layers_with_cache(self, count: int, speculative: int) -> int:
        """How many layers, from the first, have a cache; the rest share one of those, or are not used."""
        if self.name == "gemma3n":
            return min(count, 20)
        unused = 0 if self.name in _CACHES_WHAT_IT_LEAVES_OUT else speculative
        return max(0, count - unused - self.number("attention.shared_kv_layers", 0))

    def _vocabulary(self) -> int:
        embedding = self._tensors.get("token_embd.weight", Tensor("", (0, 0), "", 0))
        return math.prod(embedding.shape[1:])

    def _doubts(self, windows: list[int | None]) -> tuple[str, ...]:
        doubts = [why for key, why in _NOT_MODELLED.items() if f"{self.name}.{key}" in self._file.metadata]
        if self.name in _ENCODERS:
            doubts.append(f"{self.name} is no text generator: only its weights are certain")
        unused = self.number("attention.sliding_window", 0) and not any(windows) and self.name not in _IGNORES_WINDOW
        if unused:
            doubts.append("which layers have a window is not known: all are counted in full")
        return tuple(doubts)

    def _refuse(self, what: str) -> NoReturn:
        raise ModelFileError(self._file.path, what, "the metadata is damaged: download the file again")
