"""config.json: the same model has the same shape by it as by its GGUF metadata; what is odd is doubted or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.sizes.conftest import Made

from cf_orch.gpus.sizes import ModelFileError, read_model
from cf_orch.gpus.sizes.hf_config import hf_architecture
from cf_orch.gpus.sizes.kv import kv_bytes, state_bytes
from cf_orch.gpus.sizes.quantisations import KV_TYPES

PLAIN: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 4,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}

# As published beside the safetensors of the models of the same names in models.py.
SAME: dict[str, dict[str, Any]] = {
    "gemma3_12b": {
        "text_config": PLAIN
        | {"num_hidden_layers": 48, "num_key_value_heads": 8, "head_dim": 256, "sliding_window": 1024}
        | {"layer_types": [*["sliding_attention"] * 5, "full_attention"] * 8}
    },
    "gemma2_9b": PLAIN
    | {"model_type": "gemma2", "num_hidden_layers": 42, "num_key_value_heads": 8, "head_dim": 256}
    | {"sliding_window": 4096},
    "gpt_oss_20b": PLAIN
    | {"num_hidden_layers": 24, "num_key_value_heads": 8, "head_dim": 64, "sliding_window": 128}
    | {"layer_types": ["sliding_attention", "full_attention"] * 12},
    "qwen3_next_80b": PLAIN
    | {"num_hidden_layers": 48, "num_key_value_heads": 2, "head_dim": 256, "full_attention_interval": 4}
    | {"linear_num_key_heads": 16, "linear_key_head_dim": 128, "linear_num_value_heads": 32}
    | {"linear_value_head_dim": 128, "linear_conv_kernel_dim": 4},
    "granite_4_h_micro": PLAIN
    | {"num_hidden_layers": 40, "num_key_value_heads": 8, "head_dim": 64, "mamba_n_heads": 64, "mamba_d_head": 64}
    | {"mamba_d_state": 128, "mamba_n_groups": 1, "mamba_d_conv": 4}
    | {"layer_types": ["attention" if layer % 10 == 5 else "mamba" for layer in range(40)]},
    "lfm2_1b": PLAIN
    | {"num_hidden_layers": 16, "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 8}
    | {"conv_L_cache": 3}
    | {"layer_types": ["full_attention" if layer in {2, 5, 8, 10, 12, 14} else "conv" for layer in range(16)]},
    "openelm_270m": {
        "model_type": "openelm", "num_transformer_layers": 16, "model_dim": 1280, "head_dim": 64, "vocab_size": 32000,
        "num_query_heads": [12] * 5 + [16] * 7 + [20] * 4, "num_kv_heads": [3] * 5 + [4] * 7 + [5] * 4,
    },
}  # fmt: skip


def _config(tmp_path: Path, config: object) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("name", SAME)
def test_both_formats_agree(tmp_path: Path, made: Made, name: str) -> None:
    """KV and states of a model by either file."""
    by_config = hf_architecture(_config(tmp_path, SAME[name]))
    by_gguf = read_model(made(name)).architecture
    assert by_gguf is not None

    for context in (4096, 65536):
        assert kv_bytes(by_config, context, 1, KV_TYPES["f16"]) == kv_bytes(by_gguf, context, 1, KV_TYPES["f16"])
    assert state_bytes(by_config, 2) == state_bytes(by_gguf, 2)


def test_one_head_for_all_queries(tmp_path: Path) -> None:
    """Falcon 7B names no KV heads: multi_query says that there is one."""
    config = {key: value for key, value in PLAIN.items() if key != "num_key_value_heads"}

    shared = hf_architecture(_config(tmp_path, config | {"multi_query": True}))
    apart = hf_architecture(_config(tmp_path, config))

    assert (shared.layers[0].k_width, apart.layers[0].k_width) == (8, 64)


def test_layers_that_share_a_cache(tmp_path: Path) -> None:
    """Gemma 3n: the last layers have none."""
    layers = hf_architecture(_config(tmp_path, PLAIN | {"num_kv_shared_layers": 3})).layers

    assert [layer.k_width for layer in layers] == [16, 0, 0, 0]


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        ({"is_encoder_decoder": True}, "the encoder's part is not modelled"),
        ({"block_configs": [{}]}, "all are counted alike"),
        ({"index_topk": 2048}, "its indexer keeps a cache of its own"),
    ],
)
def test_what_is_not_modelled_is_doubted(tmp_path: Path, change: dict[str, Any], doubt: str) -> None:
    """The reason says what is missing."""
    assert doubt in hf_architecture(_config(tmp_path, PLAIN | change)).doubts[0]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ([], "this is no config of a model"),
        ({}, "num_hidden_layers is 'None', which is no count"),
        (PLAIN | {"num_hidden_layers": 0}, "1 to 4096 layers are possible"),
        (PLAIN | {"num_hidden_layers": True}, "num_hidden_layers is 'True', which is no count"),
        (PLAIN | {"hidden_size": -1}, "hidden_size is '-1', which is no count"),
        (PLAIN | {"num_key_value_heads": [1, 2]}, "num_key_value_heads is 'None', which is no count"),
        (PLAIN | {"layer_types": ["full_attention"]}, "it has 4 layers, but says of 1 what they are"),
        (PLAIN | {"x": "y" * (1 << 20)}, "is more than any model has"),
    ],
)
def test_what_is_refused(tmp_path: Path, config: object, said: str) -> None:
    """The key and its value are named."""
    with pytest.raises(ModelFileError) as refused:
        hf_architecture(_config(tmp_path, config))

    assert said in str(refused.value)
