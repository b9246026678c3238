"""Whether a run was what the demo promises; every claim can fail."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from cf_orch.protocol.sizes import GIB
from cf_orch.sidecar.demo import transcriber, writer
from cf_orch.sidecar.demo.record import Record, Turn, in_gb

__all__ = ["EXPECTED_WORDS", "Finding", "find"]

EXPECTED_WORDS = (
    ("programs", "share", "card", "each", "waits"),
    ("process", "gives", "memory", "back", "other"),
)
"""What must be heard in each recording; the model may mishear the rest."""


class Finding(NamedTuple):
    """A claim, whether it held, and what it rests on."""

    claim: str
    holds: bool
    because: str


def find(record: Record) -> list[Finding]:
    """Judge each claim; the run is good if all of them hold."""
    return [
        _of_all("every turn came to its end", _unfinished(record), f"{len(record.turns)} turns"),
        _of_all("the speech was understood", _misheard(record), "the words that matter were heard"),
        _of_all("the texts were written to their end", _unwritten(record), "each is complete"),
        _of_all("first in, first out", _out_of_order(record), " -> ".join(turn.name for turn in _granted(record))),
        _within("the charges stayed within the budget", record, [s.charged_bytes for s in record.samples]),
        _within("so did the memory in use, as the coordinator's driver saw it", record, _driver_used(record)),
        _within("so did the memory of the models, as the demo itself measured it", record, _measured(record)),
        _of_all("each model was measured", _unseen(record), _peaks(record)),
    ]


def _of_all(claim: str, against: Iterator[str], otherwise: str) -> Finding:
    complaints = list(against)
    return Finding(claim, not complaints, "; ".join(complaints) or otherwise)


def _within(claim: str, record: Record, readings: list[int]) -> Finding:
    """Hold readings against the budget; none at all, or none above nothing, prove nothing."""
    largest = max(readings, default=0)
    numbers = f"at most {largest / GIB:.3f} of {record.budget_bytes / GIB:.3f} GB in {len(readings)} readings"
    return Finding(claim, 0 < largest <= record.budget_bytes, numbers)


def _unfinished(record: Record) -> Iterator[str]:
    for turn in record.turns:
        if turn.trouble or not turn.released:
            yield f"{turn.name}: {turn.trouble or 'never released'}"


def _misheard(record: Record) -> Iterator[str]:
    for turn in _turns_of(record, transcriber.SERVICE):
        heard = set(re.findall(r"[a-z]+", turn.text.lower()))
        if missing := [word for word in EXPECTED_WORDS[turn.number - 1] if word not in heard]:
            yield f"{turn.name} did not hear {', '.join(missing)} in {turn.text!r}"


def _unwritten(record: Record) -> Iterator[str]:
    for turn in _turns_of(record, writer.SERVICE):
        if not turn.text.strip():
            yield f"{turn.name} wrote nothing"
        elif not turn.text_complete:
            yield f"{turn.name} was cut off after {turn.text[-40:]!r}"


def _out_of_order(record: Record) -> Iterator[str]:
    if missing := [turn.name for turn in record.turns if turn.granted_at is None]:
        yield f"never granted: {', '.join(missing)}"
    granted = _granted(record)
    asked = sorted(granted, key=lambda turn: turn.place)
    if granted != asked:
        yield (
            f"asked in the order {', '.join(turn.name for turn in asked)}, "
            f"granted in the order {', '.join(turn.name for turn in granted)}"
        )


def _unseen(record: Record) -> Iterator[str]:
    for turn in record.turns:
        if turn.peak_bytes <= 0:
            yield f"no memory of {turn.name} was seen"


def _peaks(record: Record) -> str:
    return ", ".join(f"{turn.name} {in_gb(turn.peak_bytes)}" for turn in record.turns)


def _granted(record: Record) -> list[Turn]:
    return sorted((turn for turn in record.turns if turn.granted_at is not None), key=lambda turn: turn.granted_at or 0)


def _turns_of(record: Record, service: str) -> list[Turn]:
    return [turn for turn in record.turns if turn.service == service]


def _measured(record: Record) -> list[int]:
    return [sample.measured_bytes for sample in record.samples]


def _driver_used(record: Record) -> list[int]:
    return [sample.driver_used_bytes for sample in record.samples if sample.driver_used_bytes is not None]
