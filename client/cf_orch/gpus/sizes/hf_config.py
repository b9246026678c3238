"""An architecture out of ``config.json``, as models on huggingface.co have it beside their safetensors.

Each model class has names of its own for the same things; those of transformers' widely used classes are known here.
What is not understood makes a doubt, never a guess.
"""

from pathlib import Path
from typing import Any, NoReturn

from cf_orch.gpus.sizes.architecture import Architecture, Layer
from cf_orch.gpus.sizes.bounded import BoundedFile
from cf_orch.gpus.sizes.documents import decode
from cf_orch.gpus.sizes.errors import ModelFileError

__all__ = ["hf_architecture"]

_MOST_BYTES = 1 << 20
_MOST_LAYERS = 4096
_MOST_NUMBER = 2**32
_FLOAT_BYTES = 4
_INNER = ("text_config", "llm_config", "language_config")
_RECURRENT_TYPES = {"linear_attention", "mamba", "mamba2", "recurrent", "conv"}
_WINDOWED_TYPES = {"sliding_attention", "chunked_attention", "local_attention"}
_WITHOUT_MIXER = {"mlp", "moe"}
_NEMOTRON_TYPES = {"M": "mamba", "*": "full_attention", "-": "mlp", "E": "moe"}


def hf_architecture(path: Path) -> Architecture:
    """Read a config.json.  Raises ModelFileError if it is none, or lacks what every model has."""
    with BoundedFile(path) as file:
        if file.size > _MOST_BYTES:
            file.refuse(f"a config of {file.size} bytes is more than any model has ({_MOST_BYTES})", at_byte=0)
        text = file.take(file.size, "the config")
        config = decode(file, text, dict[str, Any], "this is no config of a model")
    inner = next((config[name] for name in _INNER if isinstance(config.get(name), dict)), config)
    return _Reader(path, inner, str(config.get("model_type", "unknown"))[:80]).read()


class _Reader:
    def __init__(self, path: Path, config: dict[str, Any], name: str) -> None:
        self._path = path
        self._config = config
        self._name = name

    def read(self) -> Architecture:
        count = self.number("num_hidden_layers", "n_layer", "num_transformer_layers", "n_layers")
        if not 0 < count <= _MOST_LAYERS:
            self._refuse(f"num_hidden_layers is {count}: 1 to {_MOST_LAYERS} layers are possible")
        embd = self.number("hidden_size", "n_embd", "model_dim", "d_model")
        kinds = self._kinds(count)
        kept = count - self.number("num_kv_shared_layers", default=0)
        return Architecture(
            name=self._name,
            embd_width=embd,
            vocabulary=self.number("vocab_size", default=0),
            layers=tuple(self._layer(layer, kind, embd, cached=layer < kept) for layer, kind in enumerate(kinds)),
            trained_context=self.number("max_position_embeddings", "max_context_length", "n_positions", default=0)
            or None,
            doubts=self._doubts(),
        )

    def number(self, *names: str, default: int | None = None, layer: int = 0) -> int:
        """The first of these names that is there, as a count; a list has one for each layer."""
        value = next((self._config[name] for name in names if self._config.get(name) is not None), default)
        if isinstance(value, list):
            value = value[layer] if layer < len(value) else None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_NUMBER:
            return value
        return self._refuse(f"{names[0]} is {str(value)[:80]!r}, which is no count")

    def _layer(self, layer: int, kind: str, embd: int, *, cached: bool) -> Layer:
        feed_forward = self._feed_forward(layer, embd)
        if kind in _WITHOUT_MIXER:
            return Layer(feed_forward_width=feed_forward)
        if kind in _RECURRENT_TYPES:
            state_bytes, width = self._state(kind, embd)
            return Layer(state_bytes=state_bytes, mixer_width=width, feed_forward_width=feed_forward)
        k_width, v_width, width = self._attention(layer, embd)
        return Layer(
            k_width=k_width if cached else 0,
            v_width=v_width if cached else 0,
            window=self._window() if kind in _WINDOWED_TYPES else None,
            mixer_width=width,
            feed_forward_width=feed_forward,
        )

    def _attention(self, layer: int, embd: int) -> tuple[int, int, int]:
        """Widths of K, of V and of everything in flight."""
        heads = self.number("num_attention_heads", "num_query_heads", "n_head", "num_heads", layer=layer)
        if latent := self.number("kv_lora_rank", default=0):
            rope = self.number("qk_rope_head_dim", default=0)
            each = rope + self.number("qk_nope_head_dim", default=0)
            return latent + rope, 0, heads * (each + rope + 2 * latent)
        shared = 1 if self._config.get("multi_query") is True else heads
        kv_heads = self.number("num_key_value_heads", "num_kv_heads", "n_head_kv", default=shared, layer=layer)
        head = self.number("head_dim", "attention_head_dim", default=embd // heads if heads else 0)
        return head * kv_heads, head * kv_heads, head * (3 * heads + 2 * kv_heads)

    def _state(self, kind: str, embd: int) -> tuple[int, int]:
        """Bytes of a sequence's state (of f32), and numbers in flight for each token."""
        if kind == "conv":
            return _FLOAT_BYTES * embd * (self.number("conv_L_cache") - 1), 4 * embd
        if kind == "linear_attention":
            keys = self.number("linear_num_key_heads") * self.number("linear_key_head_dim")
            values = self.number("linear_num_value_heads") * self.number("linear_value_head_dim")
            size, convolved = self.number("linear_key_head_dim"), 2 * keys + values
            kernel, inner = self.number("linear_conv_kernel_dim"), values
        else:
            inner = self.number("mamba_n_heads", "mamba_num_heads", default=0) * self.number(
                "mamba_d_head", "mamba_head_dim", default=0
            ) or embd * self.number("mamba_expand", "expand", default=2)
            size = self.number("mamba_d_state", "ssm_state_size", "state_size", default=16)
            convolved = inner + 2 * self.number("mamba_n_groups", "n_groups", default=0) * size
            kernel = self.number("mamba_d_conv", "conv_kernel", default=4)
        return _FLOAT_BYTES * (max(0, kernel - 1) * convolved + size * inner), 2 * (inner + convolved)

    def _feed_forward(self, layer: int, embd: int) -> int:
        """Gate, up and their product; of experts those in use, which also give a row each."""
        dense = self.number("intermediate_size", "ffn_dim", "n_inner", default=4 * embd, layer=layer)
        used = self.number("num_experts_per_tok", "num_experts_per_token", "moe_topk", default=0)
        if not used or layer < self.number("first_k_dense_replace", default=0):
            return 3 * dense
        width = self.number("moe_intermediate_size", default=dense, layer=layer)
        return max(3 * used * width, used * width + 2 * used * embd)

    def _window(self) -> int | None:
        return self.number("sliding_window", "attention_chunk_size", default=0) or None

    def _kinds(self, count: int) -> list[str]:
        """What each layer is, by transformers' names."""
        if isinstance(pattern := self._config.get("hybrid_override_pattern"), str):
            return self._checked([_NEMOTRON_TYPES.get(letter, letter) for letter in pattern], count)
        for name in ("layer_types", "layers_block_type"):
            if isinstance(listed := self._config.get(name), list):
                return self._checked([str(kind) for kind in listed], count)
        if period := self.number("attn_layer_period", default=0):
            offset = self.number("attn_layer_offset", default=0)
            return ["attention" if layer % period == offset else "mamba" for layer in range(count)]
        if interval := self.number("full_attention_interval", default=0):
            return ["linear_attention" if (layer + 1) % interval else "full_attention" for layer in range(count)]
        return self._windowed_kinds(count)

    def _windowed_kinds(self, count: int) -> list[str]:
        """Older configs name a window and a period, or leave the period to the model's class."""
        if self._config.get("use_sliding_window") is False or not self._window():
            return ["full_attention"] * count
        period = self.number("sliding_window_pattern", "_sliding_window_pattern", default=2 * ("gemma2" in self._name))
        if not period:
            return ["sliding_attention"] * count
        return ["sliding_attention" if (layer + 1) % period else "full_attention" for layer in range(count)]

    def _checked(self, kinds: list[str], count: int) -> list[str]:
        if len(kinds) < count:
            self._refuse(f"it has {count} layers, but says of {len(kinds)} what they are")
        return kinds[:count]

    def _doubts(self) -> tuple[str, ...]:
        doubts = []
        if self._config.get("is_encoder_decoder") is True:
            doubts.append("it encodes and decodes: the encoder's part is not modelled")
        if isinstance(self._config.get("block_configs"), list):
            doubts.append("its layers differ in ways that are not modelled: all are counted alike")
        if self._config.get("index_topk") is not None:
            doubts.append("its indexer keeps a cache of its own, which is not modelled")
        return tuple(doubts)

    def _refuse(self, what: str) -> NoReturn:
        raise ModelFileError(self._path, what, "the config is damaged or unlike any known: download it again")
