"""Which PEFT release knows which keys of an adapter's configuration, from ``peft_releases.json``.

The file is made from the releases' own sources by ``tests/doctor/peft_fields.py``.  Each fact in it is a list of
spans ``[first release, last release, value]``.
"""

from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

__all__ = ["PeftTable", "UnknownRelease", "load_table"]

Span = tuple[str, str, Any]
UnknownKeys = Literal["raises", "drops", "drops_by_caller"]


class UnknownRelease(Exception):  # noqa: N818 - it names what was asked for
    """No such release, or one from before the table begins; ``str()`` names those that are near."""


class ConfigClass(msgspec.Struct, frozen=True):
    """One configuration class through all releases: the type that names it, its bases, its own fields' defaults."""

    peft_type: list[Span]
    bases: list[Span]
    fields: dict[str, list[Span]]


class PeftTable(msgspec.Struct, frozen=True):
    """All releases' configuration classes."""

    releases: list[str]
    unknown_keys: list[Span]
    classes: dict[str, ConfigClass]

    @property
    def newest(self) -> str:
        """The last release that the table knows."""
        return self.releases[-1]

    def release(self, text: str) -> tuple[str, bool]:
        """Find the release that a person names, and whether it is known; what is newer than the table is its newest.

        Raises UnknownRelease.
        """
        wanted = _numbers(text)
        if wanted is None:
            raise UnknownRelease(f"{text!r} is no version: write it as {self.newest}")
        for release in self.releases:
            if _numbers(release) == wanted:
                return release, True
        if wanted > self._place(self.newest):
            return self.newest, False
        if wanted < self._place(self.releases[0]):
            raise UnknownRelease(f"peft {text} is older than {self.releases[0]}, the first release known here")
        near = [release for release in self.releases if self._place(release)[:2] == wanted[:2]] or self.releases
        raise UnknownRelease(f"there is no release {text} of peft; known: {', '.join(near)}")

    def treats_unknown_keys(self, release: str) -> UnknownKeys:
        """What from_pretrained does with a key that the class lacks.

        ``raises`` TypeError, ``drops`` it with a warning, or ``drops_by_caller``: it judges by the class on which
        from_pretrained was called, so that PeftConfig.from_pretrained drops what only LoraConfig knows.
        """
        found: UnknownKeys = self._at(self.unknown_keys, release)
        return found

    def class_of(self, peft_type: str, release: str) -> str | None:
        """The class that loads this type in a release, or None."""
        found = (name for name, config in self.classes.items() if self._at(config.peft_type, release) == peft_type)
        return next(found, None)

    def spans_of_type(self, peft_type: str) -> tuple[str, str] | None:
        """The first and last release that load this type, or None if none does."""
        spans = [span for config in self.classes.values() for span in config.peft_type if span[2] == peft_type]
        return (spans[0][0], spans[-1][1]) if spans else None

    def types(self) -> list[str]:
        """Every peft_type that any release knows."""
        return sorted({span[2] for config in self.classes.values() for span in config.peft_type if span[2]})

    def fields(self, peft_type: str, release: str) -> dict[str, Any]:
        """The keys that a file of this type may have in a release, with their defaults."""
        name = self.class_of(peft_type, release)
        return self._fields(name, release) if name else {}

    def key_spans(self, peft_type: str, key: str) -> list[str]:
        """The releases in which a file of this type may have this key."""
        return [release for release in self.releases if key in self.fields(peft_type, release)]

    def _fields(self, name: str, release: str) -> dict[str, Any]:
        config = self.classes[name]
        found: dict[str, Any] = {}
        for base in self._at(config.bases, release) or ():
            if base in self.classes:
                found |= self._fields(base, release)
        for field, spans in config.fields.items():
            if (span := self._span(spans, release)) is not None:
                found[field] = span[2]
        return found

    def _at(self, spans: list[Span], release: str) -> Any:
        span = self._span(spans, release)
        return None if span is None else span[2]

    def _span(self, spans: list[Span], release: str) -> Span | None:
        place = self._place(release)
        return next((span for span in spans if self._place(span[0]) <= place <= self._place(span[1])), None)

    @staticmethod
    def _place(release: str) -> tuple[int, ...]:
        return _numbers(release) or ()


@cache
def _numbers(text: str) -> tuple[int, ...] | None:
    """Read 0.6.2 as (0, 6, 2) and 0.6 as (0, 6, 0); None for anything else."""
    parts = text.strip().removeprefix("v").split(".")
    if not 1 < len(parts) <= 3 or not all(part.isascii() and part.isdecimal() and len(part) < 5 for part in parts):  # noqa: PLR2004 - as versions are written
        return None
    return tuple(int(part) for part in [*parts, "0"][:3])


@cache
def load_table() -> PeftTable:
    """Read the table that comes with this package."""
    return msgspec.json.decode(Path(__file__).with_name("peft_releases.json").read_bytes(), type=PeftTable)
