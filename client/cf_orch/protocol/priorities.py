"""The named classes of priority, as they may be written on the wire."""

from enum import IntEnum

__all__ = ["Priority"]


class Priority(IntEnum):
    """A class; any integer from 0 to 100 is one, a higher one is more important."""

    BACKGROUND = 0
    BATCH = 10
    NORMAL = 20
    INTERACTIVE = 30
    REALTIME = 40

    @classmethod
    def parse(cls, value: int | str) -> int:
        """Read a class by number or by name; raises ValueError that lists the names."""
        if isinstance(value, int):
            return value
        try:
            return int(value) if value.strip().isdecimal() else cls[value.strip().upper()]
        except KeyError:
            names = ", ".join(f"{member.name.lower()} {member.value}" for member in cls)
            raise ValueError(f"{value!r} is no priority: use a number or one of {names}") from None
