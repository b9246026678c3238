"""What GGUF metadata says of layers, where no model in models.py has it: by hand, as llama.cpp's sources have it."""

from pathlib import Path

import pytest
from tests.sizes.gguf_writer import Tensor, Value, write

from cf_orch.gpus.sizes import estimate, read_model
from cf_orch.gpus.sizes.architecture import Architecture
from cf_orch.gpus.sizes.kv import kv_bytes
from cf_orch.gpus.sizes.quantisations import KV_TYPES

_SHAPE: dict[str, Value] = {
    "block_count": 8,
    "embedding_length": 512,
    "context_length": 8192,
    "attention.head_count": 8,
    "attention.head_count_kv": 2,
    "feed_forward_length": 1024,
}


def _read(tmp_path: Path, architecture: str, *tensors: Tensor, **keys: Value) -> Architecture:
    shape = _SHAPE | {key.replace("__", "."): value for key, value in keys.items()}
    metadata: dict[str, Value] = {"general.architecture": architecture}
    write(tmp_path / "m.gguf", metadata | {f"{architecture}.{key}": value for key, value in shape.items()}, tensors)
    read = read_model(tmp_path / "m.gguf").architecture
    assert read is not None
    return read


def _windows(architecture: Architecture) -> str:
    """One letter a layer: w with a window, f that keeps all, - without a cache."""
    return "".join("-" if not layer.k_width else "f" if layer.window is None else "w" for layer in architecture.layers)


@pytest.mark.parametrize(
    ("architecture", "keys", "windows"),
    [
        ("gemma3", {}, "wwwwwfww"),
        ("gemma2", {}, "wfwfwfwf"),
        ("gpt-oss", {}, "wfwfwfwf"),
        ("cohere2", {}, "wwwfwwwf"),
        ("smallthinker", {}, "fwwwfwww"),
        ("gemma3", {"attention__sliding_window_pattern": 3}, "wwfwwfww"),
        ("gemma4", {"attention__sliding_window_pattern": [True, False] * 4}, "wfwfwfwf"),
        ("gemma4", {"attention__sliding_window_pattern": [True] * 8, "attention__shared_kv_layers": 6}, "ww------"),
        ("llama", {}, "ffffffff"),
        ("unheard-of", {}, "ffffffff"),
        ("deci", {"attention__head_count_kv": [2, 0, 2, 0, 2, 0, 2, 0]}, "f-f-f-f-"),
    ],
)
def test_which_layers_have_a_window(tmp_path: Path, architecture: str, keys: dict[str, Value], windows: str) -> None:
    """By an array in the file, a period in the file, the architecture's own period, or none."""
    assert _windows(_read(tmp_path, architecture, attention__sliding_window=1024, **keys)) == windows


def test_a_window_is_named_by_no_key_in_llama4(tmp_path: Path) -> None:
    """Chunks of 8192 tokens, as fixed in llama.cpp."""
    layers = _read(tmp_path, "llama4").layers

    assert [layer.window for layer in layers] == [8192, 8192, 8192, None] * 2


def test_heads_under_a_window_may_have_another_size(tmp_path: Path) -> None:
    """Gemma 4: 512 numbers in full layers, 256 in windowed ones."""
    keys: dict[str, Value] = {"attention__key_length": 512, "attention__value_length": 512}
    swa: dict[str, Value] = {"attention__key_length_swa": 256, "attention__value_length_swa": 128}
    pattern = [True] * 7 + [False]
    layers = _read(
        tmp_path, "gemma4", attention__sliding_window=64, attention__sliding_window_pattern=pattern, **keys, **swa
    ).layers

    assert [(layer.k_width, layer.v_width) for layer in layers] == [(512, 256)] * 7 + [(1024, 1024)]


def test_latent_attention_in_old_files(tmp_path: Path) -> None:
    """Files from before llama.cpp kept the latent row have no key_length_mla: every head is cached."""
    keys: dict[str, Value] = {"attention__kv_lora_rank": 512, "attention__key_length": 192}
    old = _read(tmp_path, "deepseek2", attention__head_count_kv=8, attention__value_length=128, **keys)
    assert kv_bytes(old, 256, 1, KV_TYPES["f16"]) == 8 * 256 * 8 * (192 + 128) * 2


@pytest.mark.parametrize(
    ("architecture", "keys", "state_bytes"),
    [
        ("mamba", {"ssm__conv_kernel": 4, "ssm__inner_size": 1024, "ssm__state_size": 16}, 4 * (3 * 1024 + 16 * 1024)),
        ("rwkv7", {"wkv__head_size": 64}, 4 * 512 * (2 + 64)),
        ("rwkv6qwen2", {"wkv__head_size": 64, "token_shift_count": 1}, 4 * 512 * (1 + 64)),
        (
            "kimi-linear",
            {"kda__head_dim": 64, "ssm__conv_kernel": 4, "attention__head_count_kv": 0},
            4 * (3 * 3 * 512 + 64 * 512),
        ),
    ],
)
def test_states(tmp_path: Path, architecture: str, keys: dict[str, Value], state_bytes: int) -> None:
    """Every layer is recurrent, and none has a cache."""
    layers = _read(tmp_path, architecture, **keys).layers

    assert {(layer.state_bytes, layer.k_width) for layer in layers} == {(state_bytes, 0)}


def test_nemotron_h_has_three_kinds(tmp_path: Path) -> None:
    """Mamba without KV heads and feed-forward, feed-forward alone, and attention."""
    ssm: dict[str, Value] = {"ssm__conv_kernel": 4, "ssm__inner_size": 1024, "ssm__state_size": 16}
    layers = _read(
        tmp_path,
        "nemotron_h",
        attention__head_count_kv=[0, 0, 2, 0, 0, 0, 2, 0],
        feed_forward_length=[0, 1024, 0, 1024, 0, 1024, 0, 1024],
        **ssm,
    ).layers

    assert "".join("m" if layer.state_bytes else "a" if layer.k_width else "f" for layer in layers) == "mfafmfaf"


@pytest.mark.parametrize(
    ("architecture", "keys", "doubt"),
    [
        ("deepseek4", {"attention__compress_ratios": [4, 8]}, "it compresses its cache"),
        ("glm-dsa", {"attention__indexer__head_count": 4}, "its indexer keeps a cache of its own"),
        ("t5", {}, "t5 is no text generator"),
        ("unheard-of", {"attention__sliding_window": 128}, "which layers have a window is not known"),
    ],
)
def test_what_is_not_modelled_is_doubted(tmp_path: Path, architecture: str, keys: dict[str, Value], doubt: str) -> None:
    """Confidence is low, and the reason says what is missing."""
    _read(tmp_path, architecture, **keys)

    need = estimate(tmp_path / "m.gguf", context=4096)

    assert need.confidence == "low"
    assert doubt in need.confidence_reason


def test_what_was_not_compared_is_less_certain(tmp_path: Path) -> None:
    """A plain architecture that nobody measured, and a context longer than the model's own."""
    _read(tmp_path, "starcoder2")
    plain = estimate(tmp_path / "m.gguf", context=4096)
    _read(tmp_path, "llama")
    longer = estimate(tmp_path / "m.gguf", context=16384)

    assert (plain.confidence, longer.confidence) == ("medium", "medium")
    assert "was trained for 8192 tokens" in longer.confidence_reason


def test_what_stays_on_the_host(tmp_path: Path) -> None:
    """Embeddings are looked up there; one that serves as output too is on the card as well."""
    embedding = Tensor("token_embd.weight", (512, 100), "F16")
    _read(tmp_path, "llama", embedding, Tensor("output.weight", (512, 100), "F16"))
    apart = read_model(tmp_path / "m.gguf").weights
    _read(tmp_path, "llama", embedding, Tensor("per_layer_token_embd.weight", (512, 50), "F16"))
    tied = read_model(tmp_path / "m.gguf").weights

    assert (apart.device_bytes, apart.host_bytes) == (102_400, 102_400)
    assert (tied.device_bytes, tied.host_bytes) == (102_400, 153_600)


def test_context_is_allotted_in_steps(tmp_path: Path) -> None:
    """Of 256 tokens, for each sequence."""
    model = _read(tmp_path, "llama")
    token_bytes = 8 * 2 * 2 * 64 * 2

    assert kv_bytes(model, 1, 1, KV_TYPES["f16"]) == 256 * token_bytes
    assert kv_bytes(model, 257, 3, KV_TYPES["f16"]) == 3 * 512 * token_bytes
    assert kv_bytes(model, 256, 1, KV_TYPES["q8_0"]) == 256 * token_bytes * 34 // 64
