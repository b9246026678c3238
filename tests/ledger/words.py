"""The words of a transcript's line: plain ones, and keywords with their values; sizes are GB."""

__all__ = ["GIB", "Fields", "Words", "in_bytes", "number", "size", "split"]

GIB = 2**30
KEYWORDS = [
    "age",
    "at",
    "by",
    "for",
    "free",
    "gpus",
    "has",
    "host",
    "index",
    "max_wait",
    "model",
    "of",
    "peak",
    "pin",
    "priority",
    "requires",
    "reserve",
    "residue",
    "task",
    "ttl",
    "used",
]
Words = list[str]
Fields = dict[str, str]


def split(words: tuple[str, ...]) -> tuple[Words, Fields]:
    """Tell plain words from keywords with their values; what comes after ``fails`` is free text."""
    plain: Words = []
    fields: Fields = {}
    rest = iter(words)
    for word in rest:
        if word in KEYWORDS:
            fields[word] = next(rest)
        elif word == "fails":
            plain += [word, *rest]
        else:
            plain.append(word)
    return plain, fields


def in_bytes(gb: str) -> int:
    """Read a size."""
    return int(float(gb) * GIB)


def number(fields: Fields, name: str) -> float | None:
    """Read a keyword's number, where it was given."""
    return float(fields[name]) if name in fields else None


def size(fields: Fields, name: str) -> int | None:
    """Read a keyword's size, where it was given."""
    return in_bytes(fields[name]) if name in fields else None
