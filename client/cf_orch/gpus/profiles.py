"""What a card can do, by its name: `get_gpu_profile("RTX 4090")`; of one that is there, `live_gpu_profile`.

A name finds its own row or none (`cards/names.py` says how it is read). A live device needs no row: its driver's
total and its compute capability win over the table's.
"""

import difflib
import functools
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cf_orch.gpus.cards import CARDS, TYPES, Card, Chip, cuda
from cf_orch.gpus.cards.names import Name, read_name

if TYPE_CHECKING:
    from cf_orch.gpus.sizes.fitting import QuantisationFit
    from cf_orch.gpus.sizes.models import Model

__all__ = ["GpuProfile", "UnknownGpuError", "capabilities_of", "get_gpu_profile", "live_gpu_profile"]

_MODEL_GB = 8.0
_SEQUENCE_GB = 0.5
# A driver's total is at most this part short of the size that the sheet prints: ECC takes a sixteenth of GDDR.
_LESS_THAN_NOMINAL = 0.1


class UnknownGpuError(LookupError):
    """No row has this name; `near` holds the names that come closest."""

    def __init__(self, name: str, near: tuple[str, ...]) -> None:
        self.name = name
        self.near = near
        hint = f"did you mean {', '.join(near)}?" if near else "write it as nvidia-smi does, e.g. 'RTX 4090'"
        super().__init__(f"no GPU profile is named {name!r}: {hint}")


class GpuProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One card's facts: memory in GB (GiB), what it computes in, and where the numbers come from.

    A type's flag is set where a common engine computes in it; int4's also where engines only hold weights in it,
    which is all that any engine does with int4.
    """

    name: str
    vram_gb: float
    architecture: str
    #: what compilers call its chip: sm_89, gfx1100, xe2-hpg, apple8
    target: str
    #: NVIDIA's; None for the others
    compute_capability: tuple[int, int] | None
    fp16: bool
    bf16: bool
    fp8: bool
    fp4: bool
    int8: bool
    int4: bool
    #: the types that an engine computes in, and those that it only holds weights in; the others it does not offer
    native: tuple[str, ...]
    weight_only: tuple[str, ...]
    bandwidth_gb_s: float | None
    max_batch: int
    #: its memory is the host's: what the host uses is gone
    unified: bool
    #: every size that is sold under this name, ascending; `vram_gb` is the one named, else the common one
    variants: tuple[float, ...]
    source: str

    @property
    def capabilities(self) -> frozenset[str]:
        """The flags that are set, as a slot's `requires` names them."""
        return frozenset(kind for kind in TYPES if getattr(self, kind))

    def quantizations(self, model: "Model | Path | str", context: int) -> "tuple[QuantisationFit, ...]":
        """In which of llama.cpp's quantisations a model would fit this card, the most exact first; empty if in none.

        ``model`` is a GGUF or safetensors file or folder, ``context`` its tokens.  Raises ModelFileError.
        """
        from cf_orch.gpus.sizes.fitting import quantizations  # noqa: PLC0415 - it knows profiles, and reads files

        return quantizations(self, model, context=context)


def capabilities_of(compute_capability: tuple[int, int]) -> frozenset[str]:
    """Those of fp16, bf16, fp8, fp4, int8 and int4 that are flags of a device of this compute capability."""
    return _flags(cuda(*compute_capability))


def get_gpu_profile(name: str) -> GpuProfile:
    """The profile of a card by the name that a user, a shop or a driver gives it.

    Where one name is sold in several sizes, "RTX 3080 12GB" names one; "RTX 3080" gives the common one.
    Raises UnknownGpuError, with near names, if no row has exactly this name.
    """
    asked = read_name(name)
    card = _find(asked)
    if card is None:
        raise UnknownGpuError(name, _near(name, asked))
    sizes = {card.printed_gb.get(size, size) for size in asked.sizes}
    if not sizes:
        return _profile(card, next(iter(card.sizes)))
    if len(sizes) > 1 or not sizes <= card.sizes.keys():
        raise UnknownGpuError(name, tuple(f"{card.name} {size}GB" for size in card.sizes))
    return _profile(card, sizes.pop())


def live_gpu_profile(name: str, total_bytes: int, compute_capability: tuple[int, int] | None = None) -> GpuProfile:
    """The profile of a device that is there: what its driver says of it, and from the table only what it does not.

    The name is the driver's, the total that of the whole device or MIG instance, the compute capability NVIDIA's.
    Raises UnknownGpuError if no row has this name and the driver tells no compute capability either.
    """
    asked = read_name(name)
    card = _find(asked)
    total_gb = total_bytes / 2**30
    if card is not None and (card.chip.compute_capability in {None, compute_capability} or compute_capability is None):
        return _of_chip(
            card.chip,
            name=card.name,
            vram_gb=total_gb,
            bandwidth_gb_s=_live_bandwidth(card, total_gb),
            variants=_variants(card),
            source=f"its driver; {card.source}",
        )
    if compute_capability is None:
        raise UnknownGpuError(name, _near(name, asked))
    return _of_chip(
        cuda(*compute_capability),
        name=name,
        vram_gb=total_gb,
        bandwidth_gb_s=None,
        variants=(total_gb,),
        source="its driver",
    )


def _find(asked: Name) -> Card | None:
    card, brands = _by_words().get(asked.words, (None, frozenset()))
    return card if asked.brands <= brands else None


@functools.cache
def _by_words() -> dict[tuple[str, ...], tuple[Card, frozenset[str]]]:
    """Each row with the brands that may stand before its words, by the words that name it."""
    rows: dict[tuple[str, ...], tuple[Card, frozenset[str]]] = {}
    for card in CARDS:
        names = [read_name(name) for name in (card.name, *card.also)]
        whose = {"amd", "ati"} if card.chip.vendor == "amd" else {card.chip.vendor}
        brands = frozenset(whose).union(*(name.brands for name in names))
        rows |= {name.words: (card, brands) for name in names}
    return rows


def _profile(card: Card, vram_gb: int) -> GpuProfile:
    return _of_chip(
        card.chip,
        name=card.name,
        vram_gb=float(vram_gb),
        bandwidth_gb_s=card.sizes[vram_gb],
        variants=_variants(card),
        source=card.source,
    )


def _of_chip(
    chip: Chip, *, name: str, vram_gb: float, bandwidth_gb_s: float | None, variants: tuple[float, ...], source: str
) -> GpuProfile:
    flags = _flags(chip)
    return GpuProfile(
        name=name,
        vram_gb=vram_gb,
        architecture=chip.architecture,
        target=chip.target,
        compute_capability=chip.compute_capability,
        fp16="fp16" in flags,
        bf16="bf16" in flags,
        fp8="fp8" in flags,
        fp4="fp4" in flags,
        int8="int8" in flags,
        int4="int4" in flags,
        native=tuple(kind for kind in TYPES if kind in chip.native),
        weight_only=tuple(kind for kind in TYPES if kind in chip.weight_only),
        bandwidth_gb_s=bandwidth_gb_s,
        max_batch=_max_batch(vram_gb),
        unified=chip.unified,
        variants=variants,
        source=source,
    )


def _flags(chip: Chip) -> frozenset[str]:
    return chip.native | (chip.weight_only & {"int4"})


def _variants(card: Card) -> tuple[float, ...]:
    return tuple(float(size) for size in sorted(card.sizes))


def _live_bandwidth(card: Card, total_gb: float) -> float | None:
    """That of the size in which this device was sold; a total unlike any leaves what all sizes have in common."""
    sold = [size for size in card.sizes if size * (1 - _LESS_THAN_NOMINAL) <= total_gb <= size]
    bandwidths = {card.sizes[size] for size in ([min(sold)] if sold else card.sizes)}
    return bandwidths.pop() if len(bandwidths) == 1 else None


def _max_batch(vram_gb: float) -> int:
    """How many sequences of 4096 tokens an 8B model serves at once: an assumption, no fact of the hardware.

    Assumed is Llama 3 8B: 8 GiB for its weights at 8 bits and the engine's context, and 128 KiB of fp16 KV cache
    a token (32 layers x 8 heads x 128 x K and V x 2 bytes), so 0.5 GiB a sequence: 32 in 24 GB. At least 1.
    Rounded, so that the few MiB that a driver keeps for itself cost no sequence.
    """
    return max(1, round((vram_gb - _MODEL_GB) / _SEQUENCE_GB))


def _near(name: str, asked: Name) -> tuple[str, ...]:
    """Names to suggest: cards of that chip, then those that share a model number, then those spelt alike; five."""
    numbers = {word for word in asked.words if any(letter.isdigit() for letter in word)}
    same_chip = [card.name for card in CARDS if card.chip.target in asked.words]
    same_number = [card.name for words, (card, _) in _by_words().items() if numbers.intersection(words)]
    names = {_short(card.name): card.name for card in CARDS}
    alike = [names[short] for short in difflib.get_close_matches(_short(name), names, n=5)]
    return tuple(dict.fromkeys(same_chip + same_number + alike))[:5]


def _short(name: str) -> str:
    return name.casefold().replace("nvidia ", "").replace("geforce ", "")
