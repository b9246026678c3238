"""What the first act is to show: a batch yields to what is more urgent, loses nothing, and comes back in its place."""

from collections.abc import Iterator
from typing import NamedTuple

from cf_orch.sidecar.demo.record import Job, Record, in_gb
from cf_orch.sidecar.demo.script import YIELDING
from cf_orch.sidecar.demo.verdict.finding import Finding, unless

__all__ = ["came_back", "memory_fell", "speech_came_first", "text_ended_first"]

FELL_TO = 1 / 3
"""What may still be in use when the memory has fallen, as a part of what was; the next model begins to load by then."""


def text_ended_first(record: Record) -> Finding:
    """The text that was being written when the speech came was ended before the server was."""
    return unless(_not_drained(record), "the text that was being written was ended first", "then its server was ended")


def speech_came_first(record: Record) -> Finding:
    """The speech was heard before the rest of the batch was written."""
    texts, urgent, _ = _jobs(record)
    waited = "-" if urgent.waited_s is None else f"{urgent.waited_s:.1f} s"
    before = [item for item, at_s in texts.begun.items() if urgent.asked_at is not None and at_s < urgent.asked_at]
    because = f"it waited {waited}, in the midst of text {max(before, default=0)} of {len(texts.items)}"
    return unless(_overtaken(record), "the speech was heard before the rest of the batch", because)


def came_back(record: Record) -> Finding:
    """The batch came back under the same lease, with a greater token, before who had asked after it."""
    texts, _, unhurried = _jobs(record)
    tokens = [str(token) for token in dict.fromkeys(reading.token for reading in texts.readings)]
    away = "-" if texts.away_s is None else f"{texts.away_s:.1f} s"
    because = f"one lease, tokens {', then '.join(tokens)}, away for {away}, before {unhurried.name}"
    return unless(_not_back(record), "the batch came back in its old place", because)


def memory_fell(record: Record) -> Finding:
    """The memory was really free in between, by the driver's account and by the demo's own."""
    falls = _falls(record)
    numbers = ", ".join(f"{account} {in_gb(high)} -> {in_gb(low)}" for account, high, low in falls)
    return unless(_did_not_fall(falls), "the memory fell in between", numbers)


def _jobs(record: Record) -> tuple[Job, Job, Job]:
    texts, urgent, unhurried = (record.jobs[name] for name in YIELDING)
    return texts, urgent, unhurried


def _not_drained(record: Record) -> Iterator[str]:
    texts, urgent, _ = _jobs(record)
    asked_at, stopped_at = urgent.asked_at, texts.stays[0].stopped_at if texts.stays else None
    if asked_at is None or stopped_at is None:
        yield "the speech never came, or the server never ended"
        return
    spans = {item: (at_s, texts.results[item].at_s) for item, at_s in texts.begun.items() if item in texts.results}
    if not any(begun_at <= asked_at <= ended_at for begun_at, ended_at in spans.values()):
        yield "no text was being written when the speech came"
    for item, (begun_at, ended_at) in spans.items():
        if begun_at < stopped_at < ended_at:
            yield f"the server was ended at {stopped_at:.2f} s, in the midst of text {item}"
    if texts.left_at is None or texts.left_at > stopped_at:
        yield "the server was not ended because it was asked for"


def _overtaken(record: Record) -> Iterator[str]:
    texts, urgent, _ = _jobs(record)
    if not (urgent.results and texts.back_at is not None):
        yield "the speech was never heard, or the batch never came back"
        return
    heard_at = min(result.at_s for result in urgent.results.values())
    after = [item for item, at_s in texts.begun.items() if at_s > heard_at]
    if not after:
        yield "no text was left to be written after it"
    if urgent.granted_at is not None and texts.stays[0].stopped_at is not None:
        inside = [f"text {item}" for item, at_s in texts.begun.items() if urgent.granted_at < at_s < heard_at]
        if inside:
            yield f"{', '.join(inside)} begun between its grant and its result"


def _not_back(record: Record) -> Iterator[str]:
    texts, _, unhurried = _jobs(record)
    tokens = list(dict.fromkeys(reading.token for reading in texts.readings))
    ids = {reading.lease_id for reading in texts.readings}
    if texts.back_at is None:
        yield "it never came back"
        return
    if len(ids) != 1:
        yield f"it had the leases {', '.join(sorted(ids))}"
    if len(tokens) < 2 or None in tokens or tokens != sorted(tokens, key=lambda token: token or 0):  # noqa: PLR2004 - one before, one after
        yield f"its tokens were {', '.join(map(str, tokens))}, and had to rise once"
    if unhurried.granted_at is None or texts.stopped_at is None or unhurried.granted_at < texts.stopped_at:
        yield f"{unhurried.name} asked after it, and was served before its end"


class _Fall(NamedTuple):
    """The most before the server was ended, and the least between then and the next model, by one account."""

    account: str
    high_bytes: int
    low_bytes: int


def _falls(record: Record) -> list[_Fall]:
    texts, urgent, _ = _jobs(record)
    stopped_at = (texts.stays[0].stopped_at if texts.stays else None) or 0.0
    loaded_at = (urgent.stays[0].loaded_at if urgent.stays else None) or 0.0
    return [
        _fall(
            "the driver", [(sample.at_s, sample.driver_used_bytes) for sample in record.samples], stopped_at, loaded_at
        ),
        _fall("measured", [(sample.at_s, sample.measured_bytes) for sample in record.samples], stopped_at, loaded_at),
    ]


def _fall(account: str, readings: list[tuple[float, int | None]], stopped_at: float, loaded_at: float) -> _Fall:
    high = max((used for at_s, used in readings if used is not None and at_s <= stopped_at), default=0)
    between = [used for at_s, used in readings if used is not None and stopped_at < at_s < loaded_at]
    return _Fall(account, high, min(between, default=high))


def _did_not_fall(falls: list[_Fall]) -> Iterator[str]:
    for account, high_bytes, low_bytes in falls:
        if high_bytes <= 0 or low_bytes > high_bytes * FELL_TO:
            yield f"{account}: from {in_gb(high_bytes)} to no less than {in_gb(low_bytes)}"
