"""GB on the wire are GiB, 2**30 bytes, as the field says it; inside there are only integers of bytes."""

import math

__all__ = ["GIB", "gb_from_bytes", "gb_to_bytes"]

GIB = 2**30


def gb_to_bytes(gb: float) -> int:
    """Convert, rounding up to whole bytes; raises ValueError for what is not a finite number."""
    if not math.isfinite(gb):
        raise ValueError(f"a size must be a finite number of GB, not {gb}")
    return math.ceil(gb * GIB)


def gb_from_bytes(size_bytes: int) -> float:
    """Convert, to the nearest thousandth, for people and programs that read the wire."""
    return round(size_bytes / GIB, 3)
