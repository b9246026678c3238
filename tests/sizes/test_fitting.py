"""Whether a model fits a card, and what would make it."""

from pathlib import Path

import pytest
from tests.sizes.conftest import Made

from cf_orch.gpus import get_gpu_profile
from cf_orch.gpus.sizes import FILE_BITS_PER_WEIGHT, RESERVE_BYTES, Fit, estimate, fit, quantizations, read_model

_GB = 2**30


def test_what_is_left_over(made: Made) -> None:
    """The card's memory less the reserve less the need."""
    path = made("llama_8b")
    held = fit(path, get_gpu_profile("RTX 4090"), context=8192)

    assert held.fits
    assert held.usable_bytes == 24 * _GB - RESERVE_BYTES
    assert held.left_bytes == held.usable_bytes - estimate(path, context=8192).total_bytes
    assert held.remedies == ()


def _remedied(held: Fit, remedy: str, path: Path) -> Fit:
    """What a remedy gives that names flags."""
    words = remedy.split()
    context = int(words[words.index("--context") + 1]) if "--context" in words else held.estimate.context
    kv_type = words[words.index("--kv-type") + 1] if "--kv-type" in words else held.estimate.kv_type
    card = get_gpu_profile(held.gpu)
    return fit(path, card, context=context, parallel=held.estimate.parallel, kv_type=kv_type)


@pytest.mark.parametrize(
    ("name", "context", "parallel", "kinds"),
    [
        ("llama_8b", 32768, 1, ["--kv-type q8_0", "--context"]),
        ("gemma3_12b", 32768, 2, ["--context", "--kv-type q8_0 --context"]),
        ("phi3_mini", 65536, 1, ["--context", "--kv-type q8_0 --context"]),
    ],
)
def test_remedies_work(made: Made, name: str, context: int, parallel: int, kinds: list[str]) -> None:
    """Each makes it fit; the context that is named is the longest, in steps of 256."""
    card = get_gpu_profile("RTX 4060")
    held = fit(made(name), card, context=context, parallel=parallel)

    flags = [remedy for remedy in held.remedies if remedy.startswith("--")]
    assert not held.fits
    assert [remedy.rstrip("0123456789 ") for remedy in flags] == [kind.rstrip("0 ") for kind in kinds]
    for remedy in flags:
        assert _remedied(held, remedy, made(name)).fits
    longest = _remedied(held, next(flag for flag in flags if "--context" in flag), made(name)).estimate
    assert not fit(made(name), card, context=longest.context + 256, parallel=parallel).fits


def test_what_nothing_helps(made: Made) -> None:
    """671 billion weights fit no desktop card in any quantisation."""
    held = fit(made("deepseek_v3"), get_gpu_profile("RTX 4090"), context=4096)

    assert not held.fits
    assert held.remedies == ()
    assert quantizations(get_gpu_profile("RTX 4090"), made("deepseek_v3"), context=4096) == ()


def test_a_smaller_quantisation_is_named(made: Made) -> None:
    """Where the weights themselves are too many; the first that fits is the most exact of those."""
    card = get_gpu_profile("RTX 4060")
    held = fit(made("gpt_oss_20b"), card, context=4096)
    fitting = quantizations(card, made("gpt_oss_20b"), context=4096)

    assert held.remedies == (f"the model in {fitting[0].quantisation}",)


def test_quantizations_best_first(made: Made) -> None:
    """Of Llama 3.1 8B on 8 GB: none above Q6_K, all below, the sizes near those of llama.cpp's own table."""
    model = read_model(made("llama_8b"))
    fitting = quantizations(get_gpu_profile("RTX 4060"), model, context=4096)

    assert get_gpu_profile("RTX 4060").quantizations(model, 4096) == fitting
    names = [size.quantisation for size in fitting]
    assert names == list(FILE_BITS_PER_WEIGHT)[list(FILE_BITS_PER_WEIGHT).index("Q5_K_M") - 1 :]
    assert [size.total_bytes for size in fitting] == sorted((size.total_bytes for size in fitting), reverse=True)
    weights = {size.quantisation: size.total_bytes for size in fitting}
    # tools/quantize/README.md: Q4_K_M is 4.58 GiB with the embedding, which is 6.5 % of the weights and stays away
    beside = estimate(model, context=4096).total_bytes - model.weights.device_bytes
    assert (weights["Q4_K_M"] - beside) / _GB == pytest.approx(4.58 * 0.935, rel=0.02)


@pytest.mark.parametrize(
    ("context", "parallel", "kv_type"), [(0, 1, "f16"), (2**40, 1, "f16"), (1, 0, "f16"), (1, 1, "q9")]
)
def test_impossible_questions(made: Made, context: int, parallel: int, kv_type: str) -> None:
    """They are refused before a file is read."""
    with pytest.raises(ValueError, match=r"impossible|no type of a KV cache"):
        estimate(made("llama_1b"), context=context, parallel=parallel, kv_type=kv_type)
