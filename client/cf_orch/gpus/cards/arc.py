"""Intel's Arc cards, Alchemist and Battlemage; names as Intel's runtime and Mesa write them, less "Graphics"."""

from cf_orch.gpus.cards.card import Card, family
from cf_orch.gpus.cards.chips import XE2_HPG, XE_HPG

__all__ = ["CARDS"]

CARDS: tuple[Card, ...] = (
    *family(
        "Intel Arc A-series product specifications (ARK)",
        XE_HPG,
        {
            "Intel Arc A310": {4: 124.0},
            "Intel Arc A380": {6: 186.0},
            "Intel Arc A580": {8: 512.0},
            "Intel Arc A750": {8: 512.0},
            "Intel Arc A770": {16: 560.0, 8: 512.0},
            "Intel Arc A350M": {4: None},
            "Intel Arc A370M": {4: None},
            "Intel Arc A550M": {8: None},
            "Intel Arc A730M": {12: None},
            "Intel Arc A770M": {16: None},
            "Intel Arc Pro A30M": {4: None},
            "Intel Arc Pro A40": {6: 192.0},
            "Intel Arc Pro A50": {6: 192.0},
            "Intel Arc Pro A40/A50": {6: 192.0},  # one PCI id for both
            "Intel Arc Pro A60": {12: 384.0},
        },
    ),
    *family(
        "Intel Arc B-series product specifications (ARK)",
        XE2_HPG,
        {
            "Intel Arc B570": {10: 380.0},
            "Intel Arc B580": {12: 456.0},
            "Intel Arc Pro B50": {16: 224.0},
            "Intel Arc Pro B60": {24: 456.0},
            "Intel Arc Pro B65": {32: 608.0},
            "Intel Arc Pro B70": {32: 608.0},
        },
    ),
)
