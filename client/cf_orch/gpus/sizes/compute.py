"""What a model needs while it computes: the activations of one micro-batch, and the masks of its attention.

llama.cpp reserves the largest set of tensors that are alive at once, and reuses it for every layer.  What that is was
found by asking its loader (tests/sizes/measured.json) and reading what grows with what: in the widest layer the parts
of the feed-forward or of the attention, and up to four rows of the model's own width (what comes in, what goes out, the
normalised one and a scaled one), each as f32; for every kind of cache a mask of f16.  Flash attention is on, as it is
by default on every GPU that has it; without it, scores of context x heads come on top.
"""

from cf_orch.gpus.sizes.architecture import Architecture
from cf_orch.gpus.sizes.kv import MICRO_BATCH, cells

__all__ = ["compute_bytes", "logits_of_every_token_bytes"]

_FLOAT_BYTES = 4
_MASK_BYTES = 2
_OWN_ROWS = 4


def compute_bytes(architecture: Architecture, context: int, parallel: int) -> int:
    """Bytes of the compute buffer for micro-batches of MICRO_BATCH tokens."""
    widest = max(max(layer.mixer_width, layer.feed_forward_width) for layer in architecture.layers)
    width = widest + _OWN_ROWS * architecture.embd_width + architecture.carried_width
    activations = width * min(MICRO_BATCH, context * parallel) * _FLOAT_BYTES
    logits = architecture.vocabulary * parallel * _FLOAT_BYTES
    return max(activations, logits) + _masks_bytes(architecture, context)


def logits_of_every_token_bytes(architecture: Architecture) -> int:
    """What engines reserve on top that give probabilities for every token of the prompt, not only for the last.

    llama-server did so before github.com/ggml-org/llama.cpp/pull/23861 (of mid-2026), and libraries on llama.cpp do
    unless they say otherwise.
    """
    return architecture.vocabulary * MICRO_BATCH * _FLOAT_BYTES


def _masks_bytes(architecture: Architecture, context: int) -> int:
    kinds = {(layer.window, cells(layer, context)) for layer in architecture.layers if layer.k_width}
    return sum(count for _, count in kinds) * MICRO_BATCH * _MASK_BYTES
