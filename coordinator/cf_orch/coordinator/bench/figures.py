"""A figure: what was measured, its floor in the same run, and the number to hold."""

import msgspec

__all__ = ["Figure", "Spread", "spread_of"]


class Spread(msgspec.Struct, frozen=True):
    """Durations of one kind, in milliseconds."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def spread_of(seconds: list[float]) -> Spread:
    """Order durations and read the median, the 99th percentile and the longest off them."""
    if not seconds:
        raise ValueError("nothing was measured")
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3, 3)

    return Spread(len(ordered), at(0.5), at(0.99), round(ordered[-1] * 1e3, 3))


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report.  ``value`` and ``floor`` have the same unit; ``bound`` is what is to be held."""

    name: str
    value: float
    unit: str
    bound: float
    more_is_better: bool = False
    floor: float | None = None
    floor_name: str = ""
    detail: str = ""

    @property
    def holds(self) -> bool:
        """Tell whether the number is held."""
        return self.value >= self.bound if self.more_is_better else self.value <= self.bound

    @property
    def ratio(self) -> float | None:
        """How many times the floor it costs (or, where more is better, which share of the floor it reaches)."""
        return round(self.value / self.floor, 2) if self.floor else None
