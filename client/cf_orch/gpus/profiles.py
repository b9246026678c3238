"""What a card can do, by its name: `get_gpu_profile("RTX 4090")`.

A name finds its own row or none. It is cut into words; brand words may be left out, and every other word must be
the row's, no more and no fewer: "Ti", "SUPER", "D", "Laptop", "Max-Q", "Ada", "SXM" and their like tell cards with
different memory apart, so nothing is matched by likeness.

A live device needs no row: its driver's total, and `capabilities_of` its compute capability, win over the table.
"""

import difflib
import re
from typing import NamedTuple

import msgspec

from cf_orch.gpus._cards import CARDS, Card

__all__ = ["GpuProfile", "UnknownGpuError", "capabilities_of", "get_gpu_profile"]

# The first compute capability at which a common engine has a kernel for the type:
#   fp16  stored and computed (6.1 does so at 1/64 of its fp32 rate: it runs, slowly)
#   bf16  in hardware       fp8  W8A8 in hardware (weight-only kernels reach back to 8.0)
#   fp4   NVFP4/MXFP4 in hardware (emulated below)
#   int8  the dp4a instruction   int4  weight-only, NF4 of bitsandbytes and GGUF
_SINCE: dict[str, tuple[int, int]] = {
    "fp16": (5, 3),
    "bf16": (8, 0),
    "fp8": (8, 9),
    "fp4": (10, 0),
    "int8": (6, 1),
    "int4": (6, 0),
}
_ARCHITECTURE_SINCE: tuple[tuple[tuple[int, int], str], ...] = (
    ((10, 0), "Blackwell"),
    ((9, 0), "Hopper"),
    ((8, 9), "Ada Lovelace"),
    ((8, 0), "Ampere"),
    ((7, 5), "Turing"),
    ((7, 0), "Volta"),
    ((6, 0), "Pascal"),
)
_NOISE = frozenset({"nvidia", "corporation", "gpu", "graphics", "card", "generation", "founders", "edition", ""})
_BRANDS = frozenset({"geforce", "rtx", "gtx", "tesla"})  # may be left out; if written, they must be the row's
_SPELLINGS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\((?:r|tm|c)\)|[®™©_]"), " "),
    (re.compile(r"\bmax[- ]?q\b"), "maxq"),
    (re.compile(r"\bpci-e\b"), "pcie"),
    (re.compile(r"\b(?:mobile|notebook)\b"), "laptop"),
    (re.compile(r"\b(rtx|gtx)(?=a?\d)"), r"\1 "),
    (re.compile(r"\b(\d{4})(ti|super|d)(super)?\b"), r"\1 \2 \3"),
)
_SIZE = re.compile(r"\b(\d+)\s*gi?b\b")


class _Name(NamedTuple):
    words: frozenset[str]
    brands: frozenset[str]
    sizes: frozenset[int]


class UnknownGpuError(LookupError):
    """No row has this name; `near` holds the names that come closest."""

    def __init__(self, name: str, near: tuple[str, ...]) -> None:
        self.name = name
        self.near = near
        hint = f"did you mean {', '.join(near)}?" if near else "write it as nvidia-smi does, e.g. 'RTX 4090'"
        super().__init__(f"no GPU profile is named {name!r}: {hint}")


class GpuProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One card's facts: nominal memory in GB (GiB), what it computes in, and where the numbers come from."""

    name: str
    vram_gb: float
    architecture: str
    compute_capability: tuple[int, int]
    fp16: bool
    bf16: bool
    fp8: bool
    fp4: bool
    int8: bool
    int4: bool
    bandwidth_gb_s: float | None
    max_batch: int
    #: every size that is sold under this name, ascending; `vram_gb` is the one named, else the common one
    variants: tuple[float, ...]
    source: str

    @property
    def capabilities(self) -> frozenset[str]:
        """The flags that are set, as a slot's `requires` names them."""
        return capabilities_of(self.compute_capability)


def capabilities_of(compute_capability: tuple[int, int]) -> frozenset[str]:
    """Those of fp16, bf16, fp8, fp4, int8 and int4 that a device of this compute capability has kernels for."""
    return frozenset(kind for kind, since in _SINCE.items() if compute_capability >= since)


def get_gpu_profile(name: str) -> GpuProfile:
    """The profile of a card by the name that a user, a shop or NVML gives it.

    Where one name is sold in several sizes, "RTX 3080 12GB" names one; "RTX 3080" gives the common one.
    Raises UnknownGpuError, with near names, if no row has exactly this name.
    """
    asked = _parse(name)
    card = _BY_WORDS.get(asked.words)
    if card is None or not asked.brands <= _parse(card.name).brands:
        raise UnknownGpuError(name, _near(name, asked))
    sizes = card.bandwidth_gb_s_by_vram_gb
    if not asked.sizes:
        return _profile(card, next(iter(sizes)))
    if len(asked.sizes) > 1 or not asked.sizes <= sizes.keys():
        raise UnknownGpuError(name, tuple(f"{card.name} {size}GB" for size in sizes))
    return _profile(card, next(iter(asked.sizes)))


def _parse(name: str) -> _Name:
    text = name.casefold()
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    sizes = frozenset(int(size) for size in _SIZE.findall(text))
    words = frozenset(re.split(r"[\s/,()\[\]-]+", _SIZE.sub(" ", text))) - _NOISE
    # "Quadro 6000" is a far older card than "Quadro RTX 6000": there RTX may not be left out.
    brands = frozenset() if "quadro" in words else words & _BRANDS
    return _Name(words - brands, brands, sizes)


def _profile(card: Card, vram_gb: int) -> GpuProfile:
    capability = card.compute_capability
    flags = capabilities_of(capability)
    return GpuProfile(
        name=card.name,
        vram_gb=float(vram_gb),
        architecture=next(word for since, word in _ARCHITECTURE_SINCE if capability >= since),
        compute_capability=capability,
        fp16="fp16" in flags,
        bf16="bf16" in flags,
        fp8="fp8" in flags,
        fp4="fp4" in flags,
        int8="int8" in flags,
        int4="int4" in flags,
        bandwidth_gb_s=card.bandwidth_gb_s_by_vram_gb[vram_gb],
        max_batch=_max_batch(vram_gb),
        variants=tuple(float(size) for size in sorted(card.bandwidth_gb_s_by_vram_gb)),
        source=card.source,
    )


def _max_batch(vram_gb: int) -> int:
    """How many sequences of 4096 tokens an 8B model serves at once: an assumption, no fact of the hardware.

    Assumed is Llama 3 8B: 8 GiB for its weights at 8 bits and the engine's context, and 128 KiB of fp16 KV cache
    a token (32 layers x 8 heads x 128 x K and V x 2 bytes), so 0.5 GiB a sequence. At least 1.
    """
    return max(1, (vram_gb - 8) * 2)


def _near(name: str, asked: _Name) -> tuple[str, ...]:
    """Names to suggest: first those that share a model number, then those spelt alike; at most five."""
    numbers = {word for word in asked.words if any(letter.isdigit() for letter in word)}
    same_number = [card.name for card in CARDS if numbers & _parse(card.name).words]
    names = {_short(card.name): card.name for card in CARDS}
    alike = [names[short] for short in difflib.get_close_matches(_short(name), names, n=5)]
    return tuple(dict.fromkeys(same_number + alike))[:5]


def _short(name: str) -> str:
    return name.casefold().replace("nvidia ", "").replace("geforce ", "")


_BY_WORDS: dict[frozenset[str], Card] = {_parse(name).words: card for card in CARDS for name in (card.name, *card.also)}
