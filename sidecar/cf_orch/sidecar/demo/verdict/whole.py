"""Nothing was lost and nothing was cut: what came of the jobs of both acts."""

import re
from collections.abc import Iterator

from cf_orch.sidecar.demo import transcriber, writer
from cf_orch.sidecar.demo.record import Job, Record
from cf_orch.sidecar.demo.verdict.finding import Finding, unless

__all__ = ["EXPECTED_WORDS", "nothing_cut", "nothing_lost", "speech_understood"]

EXPECTED_WORDS = (
    ("programs", "share", "card", "each", "waits"),
    ("process", "gives", "memory", "back", "other"),
    ("gone", "away", "work", "goes"),
    ("come", "back", "nothing", "lost"),
)
"""What must be heard in each recording; the model may mishear the rest."""


def nothing_lost(record: Record) -> Finding:
    """Every job came to its end, with a result for each of its items."""
    return unless(_lost(record), "nothing was lost", f"{_count(record)} done, under {len(record.jobs)} leases")


def nothing_cut(record: Record) -> Finding:
    """Every text is whole, as the model, the stream and its sentences say."""
    return unless(_cut(record), "nothing was cut", f"each text has its {writer.SENTENCES} sentences, to the last dot")


def speech_understood(record: Record) -> Finding:
    """The words that matter were heard in every recording."""
    return unless(_misheard(record), "the speech was understood", "the words that matter were heard")


def _lost(record: Record) -> Iterator[str]:
    for job in record.jobs.values():
        missing = [str(item) for item in job.items if item not in job.results]
        if job.trouble:
            yield f"{job.name}: {job.trouble}"
        elif missing:
            yield f"{job.name}: nothing came of {', '.join(missing)}"
        elif job.ended_at is None:
            yield f"{job.name}: never gave its memory back"


def _count(record: Record) -> str:
    texts = sum(len(job.results) for job in _of(record, writer.SERVICE))
    recordings = sum(len(job.results) for job in _of(record, transcriber.SERVICE))
    return f"{texts} texts and {recordings} recordings"


def _cut(record: Record) -> Iterator[str]:
    for job in _of(record, writer.SERVICE):
        for item, result in job.results.items():
            sentences = len(re.findall(r"[.!?](?=\s|$)", result.text))
            if not result.complete:
                yield f"text {item} was cut off after {result.text[-40:]!r}"
            elif sentences < writer.SENTENCES:
                yield f"text {item} has {sentences} sentences"


def _misheard(record: Record) -> Iterator[str]:
    for job in _of(record, transcriber.SERVICE):
        for item, result in job.results.items():
            heard = set(re.findall(r"[a-z]+", result.text.lower()))
            if missing := [word for word in EXPECTED_WORDS[item - 1] if word not in heard]:
                yield f"recording {item} came without {', '.join(missing)}: {result.text!r}"


def _of(record: Record, service: str) -> list[Job]:
    return [job for job in record.jobs.values() if job.service == service]
