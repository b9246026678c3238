"""True headers that the fuzzing begins with: each format, each kind of architecture, several files."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from tests.sizes.gguf_writer import BLOCKS, Tensor, Value, header

__all__ = ["SEEDS", "Seed"]


class Seed(NamedTuple):
    """A file that is changed and the zeroes after it; `named` is read, with others `beside` it."""

    name: str
    content: bytes
    data_bytes: int
    named: str
    beside: Mapping[str, bytes] = MappingProxyType({})


def _gguf(architecture: str, name: str = "model.gguf", **keys: Value) -> Seed:
    shape: dict[str, Value] = {"block_count": 4, "embedding_length": 64, "context_length": 4096}
    shape |= {"attention.head_count": 8, "attention.head_count_kv": 2, "feed_forward_length": 128}
    shape |= {key.replace("__", "."): value for key, value in keys.items()}
    metadata: dict[str, Value] = {"general.architecture": architecture, "general.alignment": 32}
    metadata |= {f"{architecture}.{key}": value for key, value in shape.items()}
    metadata |= {"tokenizer.ggml.tokens": ["a", "bc", ""], "tokenizer.ggml.scores": [0.5, 1.5], "note": "x" * 20}
    tensors = [Tensor("token_embd.weight", (256, 3), "Q8_0"), Tensor("output.weight", (256, 3), "Q6_K")]
    tensors += [Tensor(f"blk.{number}.w", (256, 2), kind) for number, kind in enumerate(BLOCKS)]
    content = header(metadata, tensors)
    return Seed(name, content, sum(tensor.size_bytes + 64 for tensor in tensors), name)


def _shard() -> Seed:
    first = _gguf("llama", "m-00001-of-00002.gguf")
    second = "m-00002-of-00002.gguf"
    content = header({"split.count": 2, "split.no": 1}, [Tensor("w", (4,), "F32")])
    return Seed(second, content, 64, second, {first.name: first.content + bytes(first.data_bytes)})


def _safetensors(name: str = "model.safetensors", **beside: bytes) -> Seed:
    entries = {
        "__metadata__": {"format": "pt"},
        "a.weight": {"dtype": "BF16", "shape": [4, 8], "data_offsets": [0, 64]},
        "b.weight": {"dtype": "F4", "shape": [16], "data_offsets": [64, 72]},
    }
    encoded = json.dumps(entries).encode()
    content = len(encoded).to_bytes(8, "little") + encoded
    return Seed(name, content, 72, name, {key.replace("_", "."): value for key, value in beside.items()})


def _index() -> Seed:
    part = _safetensors()
    index = {"metadata": {"total_size": 72}, "weight_map": {"a.weight": "part.safetensors", "b": "part.safetensors"}}
    content = json.dumps(index).encode()
    name = "model.safetensors.index.json"
    return Seed(name, content, 0, name, {"part.safetensors": part.content + bytes(72)})


def _config(**keys: object) -> Seed:
    config = {"model_type": "x", "num_hidden_layers": 6, "hidden_size": 64, "intermediate_size": 128, "vocab_size": 99}
    config |= {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 64}
    content = json.dumps(config | keys).encode()
    part = _safetensors()
    return Seed("config.json", content, 0, part.name, {part.name: part.content + bytes(72)})


SEEDS = (
    _gguf("llama"),
    _gguf("gemma3", attention__sliding_window=1024, attention__head_count_kv=[2, 1, 2, 0]),
    _gguf("gemma4", attention__sliding_window=512, attention__sliding_window_pattern=[True, True, True, False]),
    _gguf("deepseek2", attention__kv_lora_rank=512, attention__key_length_mla=192, attention__key_length=576),
    _gguf(
        "granitehybrid",
        ssm__inner_size=128,
        ssm__state_size=16,
        ssm__conv_kernel=4,
        attention__head_count_kv=[0, 2, 0, 0],
    ),
    _gguf("qwen3moe", expert_count=8, expert_used_count=2, expert_feed_forward_length=32),
    _gguf("rwkv7", wkv__head_size=64),
    _shard(),
    _safetensors(),
    _safetensors(config_json=_config().content),
    _index(),
    _config(),
    _config(layer_types=["sliding_attention", "mamba", "full_attention"] * 2, mamba_n_heads=4, mamba_d_head=8),
    _config(kv_lora_rank=512, qk_rope_head_dim=64, num_experts_per_tok=2, hybrid_override_pattern="M*-E" * 2),
)
