"""What one row of the table says of a card."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from cf_orch.gpus.cards.chips import Chip

__all__ = ["Card", "Sizes", "family"]

Sizes = dict[int, float | None]
"""Memory in GB (GiB) -> bandwidth in GB/s of the board that has it; the common size first."""


class Card(NamedTuple):
    """One row: a name as its driver writes it, its chip, and the sizes it is sold in."""

    name: str
    chip: Chip
    sizes: Sizes
    source: str
    also: tuple[str, ...] = ()  # other full names of the very same card
    #: sizes that a name prints and that are not the device's memory, with what is: "GH200 480GB" has 96
    printed_gb: Mapping[int, int] = MappingProxyType({})


def family(source: str, chip: Chip, rows: dict[str, Sizes]) -> tuple[Card, ...]:
    """Cards that one document describes and that share a chip generation."""
    return tuple(Card(name, chip, sizes, source) for name, sizes in rows.items())
