"""Whether a model fits a card, what is left over, and if not: by how much, and what would."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from cf_orch.gpus.profiles import GpuProfile
from cf_orch.gpus.sizes.estimates import Estimate, estimate
from cf_orch.gpus.sizes.models import Model, read_model
from cf_orch.gpus.sizes.quantisations import FILE_BITS_PER_WEIGHT

__all__ = ["RESERVE_BYTES", "Fit", "QuantisationFit", "fit", "quantizations"]

RESERVE_BYTES = 512 << 20
"""What is left free on every card, as the coordinator's own reserve."""

_GB = 2**30
_LEAST_CONTEXT = 512
_CONTEXT_STEP = 256
_SMALLER_KV = "q8_0"


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a card: `left_bytes` is negative where it does not fit, and then `remedies` say what would."""

    estimate: Estimate
    gpu: str
    usable_bytes: int
    left_bytes: int
    remedies: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether nothing is missing."""
        return self.left_bytes >= 0


class QuantisationFit(NamedTuple):
    """A quantisation in which a model fits a card, and about what it would take there."""

    quantisation: str
    total_bytes: int


def fit(
    model: Path | str | Model, profile: GpuProfile, *, context: int, parallel: int = 1, kv_type: str = "f16"
) -> Fit:
    """Hold an estimate against a card's memory less the reserve.  Raises what estimate() raises."""
    known = model if isinstance(model, Model) else read_model(model)
    asked = estimate(known, context=context, parallel=parallel, kv_type=kv_type)
    usable = _usable_bytes(profile)
    left = usable - asked.total_bytes
    remedies = () if left >= 0 else _remedies(known, usable, asked)
    return Fit(estimate=asked, gpu=profile.name, usable_bytes=usable, left_bytes=left, remedies=remedies)


def quantizations(
    profile: GpuProfile, model: Path | str | Model, *, context: int, parallel: int = 1, kv_type: str = "f16"
) -> tuple[QuantisationFit, ...]:
    """In which of llama.cpp's quantisations a model would fit a card, the most exact first; empty if in none.

    The weights are counted anew at each quantisation's mean bits a weight; all else is as in the file.
    """
    known = model if isinstance(model, Model) else read_model(model)
    asked = estimate(known, context=context, parallel=parallel, kv_type=kv_type)
    usable = _usable_bytes(profile)
    sizes = _in_each_quantisation(known, asked.total_bytes - asked.weights_bytes)
    return tuple(size for size in sizes if size.total_bytes <= usable)


def _in_each_quantisation(model: Model, beside_bytes: int) -> list[QuantisationFit]:
    parameters = model.weights.device_parameters
    return [
        QuantisationFit(name, beside_bytes + round(parameters * bits / 8))
        for name, bits in FILE_BITS_PER_WEIGHT.items()
    ]


def _usable_bytes(profile: GpuProfile) -> int:
    return round(profile.vram_gb * _GB) - RESERVE_BYTES


def _remedies(model: Model, usable: int, asked: Estimate) -> tuple[str, ...]:
    """Each alone, the least first: a smaller cache, a shorter context, both, another quantisation."""

    def need(context: int, kv_type: str) -> int:
        return estimate(model, context=context, parallel=asked.parallel, kv_type=kv_type).total_bytes

    smaller = need(asked.context, _SMALLER_KV)
    has_smaller = smaller < asked.total_bytes
    remedies = []
    if has_smaller and smaller <= usable:
        remedies.append(f"--kv-type {_SMALLER_KV}")
    if longest := _longest_context(usable, asked.context, lambda context: need(context, asked.kv_type)):
        remedies.append(f"--context {longest}")
    if has_smaller and smaller > usable:
        longest = _longest_context(usable, asked.context, lambda context: need(context, _SMALLER_KV))
        if longest:
            remedies.append(f"--kv-type {_SMALLER_KV} --context {longest}")
    return (*remedies, *_smaller_quantisation(model, usable, asked))


def _smaller_quantisation(model: Model, usable: int, asked: Estimate) -> list[str]:
    beside = asked.total_bytes - asked.weights_bytes
    sizes = _in_each_quantisation(model, beside)
    return [f"the model in {size.quantisation}" for size in sizes if size.total_bytes <= usable][:1]


def _longest_context(usable: int, below: int, need: Callable[[int], int]) -> int | None:
    """The longest context, in steps, that fits; None if not even the least does."""
    low, high = _LEAST_CONTEXT // _CONTEXT_STEP, below // _CONTEXT_STEP
    if high < low or need(low * _CONTEXT_STEP) > usable:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if need(middle * _CONTEXT_STEP) <= usable else (low, middle - 1)
    return low * _CONTEXT_STEP
