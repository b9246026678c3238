"""The verdict on made-up runs: a good one passes, and each way to be bad fails in its own finding."""

from collections.abc import Callable

import pytest

from cf_orch.sidecar.demo.record import Record, Sample, Turn
from cf_orch.sidecar.demo.verdict import find

MB = 2**20
HEARD = (
    "Two programs share one graphics card, and each of them waits for its turn.",
    "one process gives the memory back and then the other one begins",
)
ORDER = [("transcriber", 1), ("writer", 1), ("transcriber", 2), ("writer", 2)]


def good_run() -> Record:
    turns = [
        Turn(
            service,
            number,
            300 * MB,
            lease_id=f"a1b2-{place + 9}",
            asked_at=1000.0,
            granted_at=1000.0 + place,
            pid=100 + place,
            peak_bytes=200 * MB,
            text=HEARD[number - 1] if service == "transcriber" else "A dog is a friend.",
            text_complete=True,
            released=True,
        )
        for place, (service, number) in enumerate(ORDER)
    ]
    return Record(400 * MB, turns, [Sample(0.1, 300 * MB, 210 * MB, 200 * MB), Sample(0.2, 0, 0, 0)])


def test_a_good_run_passes() -> None:
    """Everything that was promised was so."""
    findings = find(good_run())

    assert [finding for finding in findings if not finding.holds] == []
    assert len(findings) == 8


def misheard(record: Record) -> None:
    record.turns[0].text = "Two programs share one graphic scarred, and each of them waits."


def mute(record: Record) -> None:
    record.turns[1].text = " "


def cut_off(record: Record) -> None:
    record.turns[3].text_complete = False


def failed(record: Record) -> None:
    record.turns[2].trouble = "LeaseLost: it was lost"


def kept(record: Record) -> None:
    record.turns[2].released = False


def overtaken(record: Record) -> None:
    record.turns[1].granted_at, record.turns[2].granted_at = 1002.0, 1001.0


def forgotten(record: Record) -> None:
    record.turns[3].granted_at = None


def overcharged(record: Record) -> None:
    record.samples.append(Sample(0.3, 401 * MB, 0, 0))


def overused(record: Record) -> None:
    record.samples.append(Sample(0.3, 0, 401 * MB, 0))


def overgrown(record: Record) -> None:
    record.samples.append(Sample(0.3, 0, 0, 401 * MB))


def blind(record: Record) -> None:
    record.samples = [
        Sample(sample.at_s, sample.charged_bytes, None, sample.measured_bytes) for sample in record.samples
    ]


def unwatched(record: Record) -> None:
    record.samples = []


def unmeasured(record: Record) -> None:
    record.turns[1].peak_bytes = 0


@pytest.mark.parametrize(
    ("spoil", "claims", "numbers"),
    [
        (misheard, ["the speech was understood"], "transcriber 1 did not hear card in"),
        (mute, ["the texts were written to their end"], "writer 1 wrote nothing"),
        (cut_off, ["the texts were written to their end"], "writer 2 was cut off after"),
        (failed, ["every turn came to its end"], "transcriber 2: LeaseLost"),
        (kept, ["every turn came to its end"], "transcriber 2: never released"),
        (overtaken, ["first in, first out"], "granted in the order transcriber 1, transcriber 2, writer 1, writer 2"),
        (forgotten, ["first in, first out"], "never granted: writer 2"),
        (overcharged, ["the charges stayed within the budget"], "at most 0.392 of 0.391 GB in 3 readings"),
        (overused, ["so did the memory in use, as the coordinator's driver saw it"], "in 3 readings"),
        (overgrown, ["so did the memory of the models, as the demo itself measured it"], "in 3 readings"),
        (blind, ["so did the memory in use, as the coordinator's driver saw it"], "in 0 readings"),
        (
            unwatched,
            [
                "the charges stayed within the budget",
                "so did the memory in use, as the coordinator's driver saw it",
                "so did the memory of the models, as the demo itself measured it",
            ],
            "in 0 readings",
        ),
        (unmeasured, ["each model was measured"], "no memory of writer 1 was seen"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_way_to_be_bad_fails(spoil: Callable[[Record], None], claims: list[str], numbers: str) -> None:
    """What was not so is named, with what happened instead, and nothing else is."""
    record = good_run()
    spoil(record)

    broken = [finding for finding in find(record) if not finding.holds]

    assert [finding.claim for finding in broken] == claims
    assert all(numbers in finding.because for finding in broken)
