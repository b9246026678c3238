"""Which keys of an adapter's configuration may be left out without a change of what the adapter computes, and why.

Read from peft's sources, 0.6.0 to 0.21.2: ``tuners/lora/config.py`` (what selects what), ``tuners/lora/layer.py`` (what
changes the base model's weights when a layer is built) and ``tuners/lora/variants.py`` (what changes the forward pass).
The rules hold for a trained adapter that is loaded: how its training began is over.

A key may go if its value means the same as its absence:

1. peft never reads it from a file, or only keeps it as a note;
2. another key says that it is not used;
3. it speaks of training alone;
4. it has the default that the release which brought it gave it, and that default is "off" (null, false, empty): a
   file from before has no such key, and must go on to mean what it meant.

Everything else matters.  A default that is no "off" (a number, true) proves nothing: OFT's ``use_cayley_neumann`` is
true by default and yet another computation than before.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["Verdict", "initialization", "judge", "shown"]

Config = Mapping[str, Any]


class Verdict(NamedTuple):
    """Whether a key may go, and why; ``do`` is what else a person might do where it may not."""

    may_go: bool
    why: str
    do: str = ""


_NOTES = {
    "peft_version": "it is a note of which peft wrote the file",
    "runtime_config": "peft never reads it from a file",
}
_TRAINING = {
    "velora_config": "it changes only how gradients are computed in training, not what the adapter computes",
    "eva_config": "it says how training began, and that is over once the adapter's own weights are loaded",
}
_LIKE_NULL: dict[str, tuple[Any, ...]] = {"exclude_modules": ([],), "loftq_config": (None,), "target_parameters": ([],)}
"""Values that peft tests for truth only, so that they are as good as the default."""


def _is_init(config: Config, prefix: str) -> bool:
    return str(config.get("init_lora_weights")).lower().startswith(prefix)


_GATES: dict[str, tuple[Callable[[Config], bool], str]] = {
    "megatron_core": (lambda config: not config.get("megatron_config"), "it is used only with megatron_config"),
    "qalora_group_size": (lambda config: not config.get("use_qalora"), "it is used only with use_qalora"),
    "num_cayley_neumann_terms": (
        lambda config: config.get("use_cayley_neumann") is False,
        "it is used only with use_cayley_neumann",
    ),
    "loftq_config": (
        lambda config: not _is_init(config, "loftq"),
        'peft ignores it unless init_lora_weights is "loftq"',
    ),
    "corda_config": (
        lambda config: not _is_init(config, "corda"),
        'peft ignores it unless init_lora_weights is "corda"',
    ),
    "lora_ga_config": (
        lambda config: not _is_init(config, "lora_ga"),
        'peft ignores it unless init_lora_weights is "lora_ga"',
    ),
}

_EFFECTS = {
    "use_rslora": "the adapter is scaled by lora_alpha / sqrt(r) instead of lora_alpha / r",
    "use_dora": "the weights have a magnitude of their own (DoRA), which would be left out",
    "lora_bias": "the adapter has a bias, which would be left out",
    "layer_replication": "layers of the model are repeated",
    "exclude_modules": "modules are left out that would be adapted otherwise",
    "target_parameters": "parameters are adapted beside modules, and they would be left out",
    "trainable_token_indices": "embeddings of some tokens were trained, and they would be left out",
    "use_qalora": "inputs are pooled into groups (QALoRA), so the weights have another shape",
    "alora_invocation_tokens": "the adapter works only on tokens after its invocation (aLoRA), not on all",
    "arrow_config": "inputs are routed among adapters (Arrow)",
    "ensure_weight_tying": "adapters of tied layers are tied",
    "use_bdlora": "the weights are block-diagonal (BD-LoRA)",
    "monteclora_config": "the weights are sampled (MonteCLoRA)",
    "kasa_config": "the base weights are truncated and a diagonal is put between A and B (KaSA)",
    "megatron_config": "Megatron's parallel layers are adapted",
    "loftq_config": "the base weights are quantised anew when the adapter is built",
    "corda_config": "the base weights are changed when the adapter is built",
    "lora_ga_config": "the base weights are changed when the adapter is built",
    "use_cayley_neumann": "rotations are computed by a series (Cayley-Neumann) instead of an inverse",
}


def judge(key: str, config: Config, default: Any) -> Verdict:
    """Judge a key that the target does not know, by its value and the default it came into peft with."""
    value = config[key]
    if key in _NOTES:
        return Verdict(True, _NOTES[key])
    if _is_off(default) and (_is_equal(value, default) or any(_is_equal(value, v) for v in _LIKE_NULL.get(key, ()))):
        return Verdict(True, f"{shown(value)} is what a file without the key means")
    if key in _GATES and _GATES[key][0](config):
        return Verdict(True, _GATES[key][1])
    if key in _TRAINING:
        return Verdict(True, _TRAINING[key])
    do = _same_scale(config) if key == "use_rslora" and value is True else ""
    return Verdict(
        False, _EFFECTS.get(key, f"{shown(value)} is not known to mean the same as a file without the key"), do
    )


def _is_off(value: Any) -> bool:
    return value is None or value is False or value in ([], {}, "")


def _is_equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _same_scale(config: Config) -> str:
    """Offer the exact equivalent of a rank-stabilized scale, where there is one."""
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank <= 0:
        return ""
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        return ""
    same = f"{alpha * math.sqrt(rank):.12g}"
    return f'by hand it can be said exactly: without use_rslora and with "lora_alpha": {same} the scale is the same'


_ONLY_OWN_WEIGHTS = ("gaussian", "eva", "orthogonal")
_SINCE = {
    "gaussian": "0.7.0",
    "loftq": "0.7.0",
    "pissa": "0.11.0",
    "olora": "0.12.0",
    "eva": "0.14.0",
    "corda": "0.15.0",
    "orthogonal": "0.16.0",
    "lora_ga": "0.19.0",
    "mica": "0.20.0",
}


def initialization(value: Any) -> tuple[str, Verdict] | None:
    """Which release brought an ``init_lora_weights``, and whether true would do; None for what all releases know.

    A release that does not know it raises "Unknown initialization"; 0.6 takes any text for true.
    """
    if not isinstance(value, str):
        return None
    name = next((name for name in _SINCE if value.lower() == name or (name == "pissa" and _is_pissa(value))), None)
    if name is None:
        return None
    if name in _ONLY_OWN_WEIGHTS:
        why = "it fills only the adapter's own weights, which are then replaced by the trained ones: true does as well"
        return _SINCE[name], Verdict(True, why)
    why = "it changes the base model's weights when the adapter is built, and the trained weights count on that"
    if name == "mica":
        why = "it makes a variant of LoRA of its own (MiCA)"
    return _SINCE[name], Verdict(False, why)


def _is_pissa(value: str) -> bool:
    return value.startswith("pissa_niter_")


def shown(value: Any) -> str:
    """A value as it stands in the file, cut short, with nothing in it that could steer a terminal."""
    text = json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


_MOST_SHOWN = 60
