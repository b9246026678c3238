"""How a card's name is read: as words in any order, of which only the brand may be left out.

A name finds the row whose words are the same, no more and no fewer. "Ti", "SUPER", "D", "Laptop", "Max-Q", "Ada",
"SXM", "Pro" and their like tell cards with different memory apart, so nothing is matched by likeness.

    NVIDIA GeForce RTX 4070 Ti SUPER    words 4070, super, ti    brands nvidia, geforce, rtx
    rtx4070tisuper                      words 4070, super, ti    brands rtx
    01:00.0 VGA compatible controller: NVIDIA Corporation AD102 [GeForce RTX 4090] (rev a1)
                                        words 4090               brands nvidia, geforce, rtx
"""

import re
from typing import NamedTuple

__all__ = ["Name", "read_name"]

# Said of every card, so that they tell none apart.
_NOISE = frozenset(
    {
        "corporation", "inc", "gpu", "graphics", "card", "generation", "founders", "edition", "with", "design", "lhr",
        "developer", "kit", "engineering", "reference", "nvgpu", "tegra",
    }
)  # fmt: skip
_VENDORS = frozenset({"nvidia", "amd", "ati", "intel", "apple"})
# These may be left out; if written, they must be the row's.
_BRANDS = _VENDORS | frozenset({"geforce", "rtx", "gtx", "tesla", "radeon", "rx", "instinct", "arc", "jetson"})
# "Quadro 6000" is a far older card than "Quadro RTX 6000", "GTX TITAN" than "TITAN RTX": there the series counts.
_SERIES = frozenset({"rtx", "gtx"})
_SERIES_COUNTS = frozenset({"quadro", "titan"})

_SPELLINGS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\((?:r|tm|c)\)|[®™©_]"), " "),
    (re.compile(r"\((?:radv|radeonsi|dg2|bmg)\b[^)]*\)"), " "),  # Mesa's drivers add their chip
    (re.compile(r"\[[0-9a-f]{4}:[0-9a-f]{4}\]"), " "),  # lspci -nn
    (re.compile(r"\(?\brev\.?\s+[0-9a-z]+\)?"), " "),
    (re.compile(r"\blite hash rate\b"), " "),
    # pci.ids names laptop parts so since the RTX 30; NVML and NVIDIA say "Laptop GPU".
    (re.compile(r"\bmax[- ]?q\s*/\s*mobile\b|\bmobile\s*/\s*max[- ]?q\b"), "laptop"),
    (re.compile(r"\bmax[- ]?q\b"), "maxq"),
    (re.compile(r"\bpci-e\b"), "pcie"),
    (re.compile(r"\b(?:mobile|notebook)\b"), "laptop"),
    (re.compile(r"\b(rtx|gtx|rx)(?=a?\d)"), r"\1 "),
    (re.compile(r"\b(\d{4})(ti|super|d|xtx|xt|gre)(super)?\b"), r"\1 \2 \3"),
    (re.compile(r"\b(m\d)(pro|max|ultra)\b"), r"\1 \2"),
)
_SIZE = re.compile(r"\b(\d+)\s*g(?:i?b)?\b")
_BRACKETED = re.compile(r"(.*)\[([^\[\]]*)\]\s*")
_BETWEEN_WORDS = re.compile(r"[\s/,:()\[\]-]+")


class Name(NamedTuple):
    """What a name says: which card, whose, and in which sizes (GB)."""

    #: sorted; a word that is said twice stands twice, as in lspci's "Radeon RX 7600M/7600M XT", which is no one card
    words: tuple[str, ...]
    brands: frozenset[str]
    sizes: frozenset[int]


def read_name(text: str) -> Name:
    """The name as a user, NVML, ROCm, Vulkan, sysctl or lspci writes it."""
    text = text.casefold()
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    vendors, text = _without_chip(text)
    sizes = frozenset(int(size) for size in _SIZE.findall(text))
    words = [word for word in _BETWEEN_WORDS.split(_SIZE.sub(" ", text)) if word and word not in _NOISE]
    optional = _BRANDS if _SERIES_COUNTS.isdisjoint(words) else _BRANDS - _SERIES
    telling = tuple(sorted(word for word in words if word not in optional))
    return Name(telling, optional.intersection(words) | vendors, sizes)


def _without_chip(text: str) -> tuple[frozenset[str], str]:
    """What stands in brackets, and whose it is: lspci writes vendor, chip and, in brackets, the cards that bear it."""
    line = _BRACKETED.fullmatch(text)
    if line is None:
        return frozenset(), text
    return frozenset(_BETWEEN_WORDS.split(line[1])) & _VENDORS, line[2]
