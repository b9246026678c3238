"""Architectures that no loader here takes, by arithmetic: config.json as published, figures that makers gave."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.sizes.test_safetensors import write_safetensors

from cf_orch.gpus.sizes import estimate
from cf_orch.gpus.sizes.hf_config import hf_architecture
from cf_orch.gpus.sizes.kv import kv_bytes, state_bytes
from cf_orch.gpus.sizes.quantisations import KV_TYPES

# The keys that matter of huggingface.co/REPOSITORY/config.json.
CONFIGS: dict[str, dict[str, Any]] = {
    "deepseek-ai/DeepSeek-V3": {
        "model_type": "deepseek_v3", "num_hidden_layers": 61, "hidden_size": 7168, "intermediate_size": 18432,
        "num_attention_heads": 128, "num_key_value_heads": 128, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 128, "moe_intermediate_size": 2048, "num_experts_per_tok": 8,
        "first_k_dense_replace": 3, "vocab_size": 129280, "max_position_embeddings": 163840,
    },
    "Qwen/Qwen2.5-72B": {
        "model_type": "qwen2", "num_hidden_layers": 80, "hidden_size": 8192, "intermediate_size": 29568,
        "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 152064, "use_sliding_window": False,
        "sliding_window": 131072, "max_window_layers": 80, "max_position_embeddings": 131072,
    },
    "meta-llama/Llama-3.1-405B": {
        "model_type": "llama", "num_hidden_layers": 126, "hidden_size": 16384, "intermediate_size": 53248,
        "num_attention_heads": 128, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
    },
    "ai21labs/Jamba-v0.1": {
        "model_type": "jamba", "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336,
        "num_attention_heads": 32, "num_key_value_heads": 8, "attn_layer_period": 8, "attn_layer_offset": 4,
        "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "num_experts_per_tok": 2, "vocab_size": 65536,
        "sliding_window": None, "max_position_embeddings": 262144,
    },
    "mistralai/Mixtral-8x7B-v0.1": {
        "model_type": "mixtral", "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336,
        "num_attention_heads": 32, "num_key_value_heads": 8, "num_experts_per_tok": 2, "vocab_size": 32000,
        "sliding_window": None, "max_position_embeddings": 32768,
    },
    "google/gemma-3-27b-it": {
        "model_type": "gemma3",
        "text_config": {
            "num_hidden_layers": 62, "hidden_size": 5376, "intermediate_size": 21504, "num_attention_heads": 32,
            "num_key_value_heads": 16, "head_dim": 128, "sliding_window": 1024, "sliding_window_pattern": 6,
            "vocab_size": 262208, "max_position_embeddings": 131072,
        },
    },
    "nvidia/Nemotron-H-8B-Base-8K": {
        "model_type": "nemotron_h", "num_hidden_layers": 52, "hidden_size": 4096, "intermediate_size": 21504,
        "num_attention_heads": 32, "num_key_value_heads": 8, "attention_head_dim": 128, "vocab_size": 131072,
        "hybrid_override_pattern": "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-",
        "mamba_num_heads": 128, "mamba_head_dim": 64, "ssm_state_size": 128, "n_groups": 8, "conv_kernel": 4,
        "max_position_embeddings": 8192,
    },
}  # fmt: skip

_GB = 2**30
_F16 = KV_TYPES["f16"]


def _config(tmp_path: Path, repository: str) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIGS[repository]))
    return path


@pytest.mark.parametrize(
    ("repository", "bytes_per_token"),
    [("deepseek-ai/DeepSeek-V3", 70_272), ("Qwen/Qwen2.5-72B", 327_680), ("meta-llama/Llama-3.1-405B", 516_096)],
)
def test_kv_of_a_token(tmp_path: Path, repository: str, bytes_per_token: int) -> None:
    """As table 1 of "Insights into DeepSeek-V3" (arXiv 2505.09343) has it for BF16."""
    architecture = hf_architecture(_config(tmp_path, repository))

    for context in (4096, 262_144):
        assert kv_bytes(architecture, context, 1, _F16) == context * bytes_per_token


@pytest.mark.parametrize(("repository", "kv_gb"), [("ai21labs/Jamba-v0.1", 4), ("mistralai/Mixtral-8x7B-v0.1", 32)])
def test_kv_of_a_long_context(tmp_path: Path, repository: str, kv_gb: int) -> None:
    """As table 1 of "Jamba" (arXiv 2403.19887) has it for 256 K tokens and 16 bits."""
    architecture = hf_architecture(_config(tmp_path, repository))

    assert kv_bytes(architecture, 256 * 1024, 1, _F16) == kv_gb * _GB


def test_windows_are_kept_short(tmp_path: Path) -> None:
    """Gemma 3 27B: layers 6, 12, ... 60 keep all; 52 keep 1024 tokens and a micro-batch of 512."""
    architecture = hf_architecture(_config(tmp_path, "google/gemma-3-27b-it"))

    token_bytes = 2 * 16 * 128 * 2
    assert kv_bytes(architecture, 32768, 1, _F16) == (10 * 32768 + 52 * 1536) * token_bytes


def test_states_do_not_grow(tmp_path: Path) -> None:
    """Nemotron-H 8B: 24 Mamba-2 layers keep a state of f32 for each sequence; 4 layers attend."""
    architecture = hf_architecture(_config(tmp_path, "nvidia/Nemotron-H-8B-Base-8K"))

    state = 4 * (3 * (8192 + 2 * 8 * 128) + 128 * 8192)
    assert state_bytes(architecture, 3) == 3 * 24 * state
    assert kv_bytes(architecture, 8192, 1, _F16) == 4 * 8192 * 2 * 8 * 128 * 2


def test_a_folder_with_a_config(tmp_path: Path) -> None:
    """Weights by the headers, KV by the config beside them; medium, as the engine is not known."""
    _config(tmp_path, "Qwen/Qwen2.5-72B")
    write_safetensors(tmp_path / "model.safetensors", {"w": ("BF16", [1000, 8])})

    need = estimate(tmp_path, context=1024, kv_type="fp8")

    assert (need.weights_bytes, need.kv_bytes) == (16_000, 1024 * 327_680 // 2)
    assert (need.confidence, need.architecture) == ("medium", "qwen2")


def test_without_a_config(tmp_path: Path) -> None:
    """Only the weights are known, and it says so."""
    write_safetensors(tmp_path / "model.safetensors", {"w": ("F32", [10])})

    need = estimate(tmp_path / "model.safetensors", context=1024)

    assert (need.weights_bytes, need.kv_bytes, need.confidence) == (40, 0, "low")
    assert "no config.json" in need.confidence_reason
