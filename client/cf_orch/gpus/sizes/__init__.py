"""What a model needs of a card, read from its files' headers: weights, KV cache, computing, context."""

from cf_orch.gpus.sizes.errors import ModelFileError
from cf_orch.gpus.sizes.estimates import CONTEXT_BYTES, Confidence, Estimate, estimate
from cf_orch.gpus.sizes.fitting import RESERVE_BYTES, Fit, QuantisationFit, fit, quantizations
from cf_orch.gpus.sizes.models import Model, Weights, read_model
from cf_orch.gpus.sizes.quantisations import FILE_BITS_PER_WEIGHT, KV_TYPES, bits_per_weight

__all__ = [
    "CONTEXT_BYTES",
    "FILE_BITS_PER_WEIGHT",
    "KV_TYPES",
    "RESERVE_BYTES",
    "Confidence",
    "Estimate",
    "Fit",
    "Model",
    "ModelFileError",
    "QuantisationFit",
    "Weights",
    "bits_per_weight",
    "estimate",
    "fit",
    "quantizations",
    "read_model",
]
