"""The table of cards: `CARDS`, one row a name. Whoever adds a card adds one line to its family's file.

| file | what stands in it |
| --- | --- |
| `card.py` | what a row says |
| `chips.py` | what each generation of chips computes in, and where that is documented |
| `geforce.py`, `workstation.py`, `datacenter.py`, `jetson.py` | NVIDIA's cards |
| `radeon.py`, `arc.py`, `apple.py` | AMD's, Intel's and Apple's |
| `names.py` | how a name is read |

Memory is nominal, as the source prints it; bandwidth is None where boards of one name differ, where the source is
silent, and for laptop parts (the laptop's maker sets their clocks).
"""

from cf_orch.gpus.cards import apple, arc, datacenter, geforce, jetson, radeon, workstation
from cf_orch.gpus.cards.card import Card
from cf_orch.gpus.cards.chips import TYPES, Chip, cuda

__all__ = ["CARDS", "TYPES", "Card", "Chip", "cuda"]

CARDS: tuple[Card, ...] = (
    *geforce.CARDS,
    *workstation.CARDS,
    *datacenter.CARDS,
    *jetson.CARDS,
    *radeon.CARDS,
    *arc.CARDS,
    *apple.CARDS,
)
