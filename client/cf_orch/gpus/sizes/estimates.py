"""How much of a card a model will take: weights + KV cache + computing + the driver's context, each with its reason.

It is what an engine of llama.cpp's kind (llama-server, Ollama, LM Studio) takes with the whole model on one card.
vLLM, SGLang and TabbyAPI are told a share of the card and fill it: there the sum is the least that they need.
"""

from pathlib import Path
from typing import Literal

import msgspec

from cf_orch.gpus.sizes.compute import compute_bytes, logits_of_every_token_bytes
from cf_orch.gpus.sizes.kv import MICRO_BATCH, kv_bytes, state_bytes
from cf_orch.gpus.sizes.models import Model, read_model
from cf_orch.gpus.sizes.quantisations import KV_TYPES

__all__ = ["CONTEXT_BYTES", "Confidence", "Estimate", "estimate"]

Confidence = Literal["high", "medium", "low"]

CONTEXT_BYTES = 512 << 20
"""What a process has on a card before it loads anything: CUDA's context, its kernels and its workspaces.

300 to 600 MiB, by card and driver; a llama-server that has put its model to sleep keeps some 614 MiB
(github.com/ggml-org/llama.cpp/issues/19379).
"""

_MOST_CONTEXT = 2**31
_MOST_PARALLEL = 4096
_MIB = 2**20

#: compared with llama.cpp's own loader, in tests/sizes
_COMPARED = frozenset(
    {
        "cohere2",
        "deepseek2",
        "falcon-h1",
        "gemma2",
        "gemma3",
        "gemma4",
        "glm4moe",
        "gpt-oss",
        "granitehybrid",
        "lfm2",
        "llama",
        "mamba2",
        "openelm",
        "phi3",
        "qwen3",
        "qwen35",
        "qwen3moe",
        "qwen3next",
    }
)


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A model's need at one context, in bytes; `explained` says of each part how it came about."""

    model: str
    architecture: str
    #: tokens of each sequence, and how many sequences: llama-server's --ctx-size is their product
    context: int
    parallel: int
    kv_type: str
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    context_bytes: int
    #: kept in host memory beside, such as the token embedding: no part of the total
    host_bytes: int
    confidence: Confidence
    confidence_reason: str
    #: weights, kv, compute, context: how each came about
    explained: dict[str, str]

    @property
    def total_bytes(self) -> int:
        """The sum of the parts on the card."""
        return self.weights_bytes + self.kv_bytes + self.compute_bytes + self.context_bytes


def estimate(model: Path | str | Model, *, context: int, parallel: int = 1, kv_type: str = "f16") -> Estimate:
    """Estimate what a model needs on one card, for `parallel` sequences of `context` tokens each.

    `model` is a path as read_model takes it, or what it returned; `kv_type` one of KV_TYPES.  Raises ModelFileError if
    a file cannot be read, and ValueError for an impossible context, parallel or kv_type.
    """
    _check(context, parallel, kv_type)
    known = model if isinstance(model, Model) else read_model(model)
    confidence, reason = _confidence(known, context)
    cache = states = compute = 0
    if known.architecture is not None:
        cache = kv_bytes(known.architecture, context, parallel, KV_TYPES[kv_type])
        states = state_bytes(known.architecture, parallel)
        compute = compute_bytes(known.architecture, context, parallel)
    return Estimate(
        model=known.path,
        architecture=known.architecture.name if known.architecture else "unknown",
        context=context,
        parallel=parallel,
        kv_type=kv_type,
        weights_bytes=known.weights.device_bytes,
        kv_bytes=cache + states,
        compute_bytes=compute,
        context_bytes=CONTEXT_BYTES,
        host_bytes=known.weights.host_bytes,
        confidence=confidence,
        confidence_reason=reason,
        explained={
            "weights": _weights_explained(known),
            "kv": _kv_explained(known, states, context, _stored(kv_type, parallel)),
            "compute": _compute_explained(known),
            "context": "CUDA's context and kernels: 300 to 600 MB by card and driver",
        },
    )


def _check(context: int, parallel: int, kv_type: str) -> None:
    if not 0 < context <= _MOST_CONTEXT:
        raise ValueError(f"a context of {context} tokens is impossible: 1 to {_MOST_CONTEXT}")
    if not 0 < parallel <= _MOST_PARALLEL:
        raise ValueError(f"{parallel} sequences at once are impossible: 1 to {_MOST_PARALLEL}")
    if kv_type not in KV_TYPES:
        raise ValueError(f"{kv_type!r} is no type of a KV cache: {', '.join(KV_TYPES)}")


def _confidence(model: Model, context: int) -> tuple[Confidence, str]:
    architecture = model.architecture
    if architecture is None:
        return "low", "there is no config.json beside the weights: only they are counted"
    if architecture.doubts:
        return "low", "; ".join(architecture.doubts)
    if model.format == "safetensors":
        return "medium", "weights and KV are exact, but engines of safetensors differ in what computing takes"
    if architecture.name not in _COMPARED:
        return "medium", f"{architecture.name} was not compared with llama.cpp's loader"
    if architecture.trained_context and context > architecture.trained_context:
        return "medium", f"the model was trained for {architecture.trained_context} tokens: an engine may allot fewer"
    return "high", f"{architecture.name} was compared with llama.cpp's loader"


def _weights_explained(model: Model) -> str:
    weights = model.weights
    stays = f"; {weights.host_bytes / _MIB:.0f} MB of embeddings stay in host memory" if weights.host_bytes else ""
    left = f"; {weights.left_out_bytes / _MIB:.0f} MB for speculation are not loaded" if weights.left_out_bytes else ""
    return f"{weights.tensors} tensors, most bytes in {weights.commonest_type}{stays}{left}"


def _kv_explained(model: Model, states: int, context: int, how: str) -> str:
    if model.architecture is None:
        return "unknown"
    layers = model.architecture.layers
    full = sum(1 for layer in layers if layer.k_width and layer.window is None)
    windows = sorted({layer.window for layer in layers if layer.k_width and layer.window is not None})
    windowed = sum(1 for layer in layers if layer.k_width and layer.window is not None)
    parts = [f"{full} of {len(layers)} layers keep {context} tokens"] if full else []
    if windowed:
        parts.append(f"{windowed} keep a window of {' or '.join(map(str, windows))}")
    if states:
        recurrent = sum(1 for layer in layers if layer.state_bytes)
        parts.append(f"{recurrent} keep a state, {states / _MIB:.0f} MB in all")
    return f"{', '.join(parts)}; {how}" if parts else "none"


def _stored(kv_type: str, parallel: int) -> str:
    return f"as {kv_type}" + (f", for each of {parallel} sequences" if parallel > 1 else "")


def _compute_explained(model: Model) -> str:
    if model.architecture is None:
        return "unknown"
    more = logits_of_every_token_bytes(model.architecture) / _MIB
    return (
        f"{MICRO_BATCH} tokens at once, with flash attention; {more:.0f} MB more in engines that keep every token's "
        "logits, as llama-server did until mid-2026"
    )
