"""What a model remembers of the text so far: the KV cache, and the states of recurrent layers.

    cache = sum over layers of cells x (K width + V width) x bytes of a number, for each sequence
    cells = the context, or in a layer with a window: the window and the micro-batch, if that is less

as llama.cpp allots it (src/llama-kv-cache-iswa.cpp, src/llama-memory-recurrent.cpp): cells in steps of 256, states
as f32, one for each sequence.  A row of a quantised cache holds whole blocks.
"""

from cf_orch.gpus.sizes.architecture import Architecture, Layer
from cf_orch.gpus.sizes.quantisations import Quantisation

__all__ = ["MICRO_BATCH", "cells", "kv_bytes", "state_bytes"]

MICRO_BATCH = 512
"""Tokens that are computed at once: the default of llama.cpp and Ollama."""

_CELL_STEP = 256


def kv_bytes(architecture: Architecture, context: int, parallel: int, kv_type: Quantisation) -> int:
    """Bytes of the KV cache of `parallel` sequences of `context` tokens each."""
    rows = ((_row_bytes(layer, kv_type), cells(layer, context)) for layer in architecture.layers)
    return parallel * sum(row_bytes * count for row_bytes, count in rows)


def state_bytes(architecture: Architecture, parallel: int) -> int:
    """Bytes of the states of recurrent layers."""
    return parallel * sum(layer.state_bytes for layer in architecture.layers)


def cells(layer: Layer, context: int) -> int:
    """Tokens that a layer keeps of each sequence."""
    whole = _stepped(context)
    return whole if layer.window is None else min(whole, _stepped(layer.window + MICRO_BATCH))


def _row_bytes(layer: Layer, kv_type: Quantisation) -> int:
    return _packed(layer.k_width, kv_type) + _packed(layer.v_width, kv_type)


def _packed(width: int, kv_type: Quantisation) -> int:
    return -(-width // kv_type.block_weights) * kv_type.block_bytes


def _stepped(count: int) -> int:
    return -(-count // _CELL_STEP) * _CELL_STEP
