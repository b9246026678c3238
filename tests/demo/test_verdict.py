"""The verdict on made-up runs: a good one passes, and each way to be bad fails in its own claim."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.demo.planted import MB, good_run

from cf_orch.sidecar.demo.record import Job, Reading, Record, Sample
from cf_orch.sidecar.demo.verdict.findings import find

LOST = "nothing was lost"
CUT = "nothing was cut"
HEARD = "the speech was understood"
DRAINED = "the text that was being written was ended first"
FIRST = "the speech was heard before the rest of the batch"
BACK = "the batch came back in its old place"
FELL = "the memory fell in between"
ENTERED = "without a coordinator each went local within 1 s"
WENT_ON = "both went on without a coordinator"
ALONE = "one at a time"
ADOPTED = "the coordinator that returned adopted the work"
ORDER = "all were served in the order of their asking"
LEDGER = "what the ledger charged stayed within the budget"
DRIVER = "so did what its driver saw in use"
MODELS = "so did what the models really took, also without a coordinator"
MEASURED = "every model was measured, and two would not have fitted"

spoilers: list[tuple[Callable[[Record], None], list[str], str]] = []


def spoils(*claims: str, because: str) -> Callable[[Callable[[Record], None]], Callable[[Record], None]]:
    """Say which claims must fail, and what must be said of it."""

    def note(spoil: Callable[[Record], None]) -> Callable[[Record], None]:
        spoilers.append((spoil, list(claims), because))
        return spoil

    return note


def test_a_good_run_passes() -> None:
    """Everything that was promised was so."""
    findings = find(good_run())

    assert [finding for finding in findings if not finding.holds] == []
    assert len(findings) == 16
    assert [finding.claim for finding in findings if finding.is_timed] == [ENTERED]


# --- of both acts


@spoils(LOST, because="recording 2: LeaseLost: it was lost")
def failed(record: Record) -> None:
    record.jobs["recording 2"].trouble = "LeaseLost: it was lost"


@spoils(LOST, because="texts 1-4: nothing came of 4")
def forgotten(record: Record) -> None:
    del record.jobs["texts 1-4"].results[4]


@spoils(LOST, because="recording 4: never gave its memory back")
def kept(record: Record) -> None:
    record.jobs["recording 4"].ended_at = None


@spoils(CUT, because="text 5 was cut off after")
def cut_off(record: Record) -> None:
    results = record.jobs["texts 5-6"].results
    results[5] = results[5]._replace(complete=False)


@spoils(CUT, because="text 3 has 5 sentences")
def short(record: Record) -> None:
    results = record.jobs["texts 1-4"].results
    results[3] = results[3]._replace(text="One. Two. Three. Four. Five. Six without a")


@spoils(HEARD, because="recording 1 came without card")
def misheard(record: Record) -> None:
    results = record.jobs["recording 1"].results
    results[1] = results[1]._replace(text="Two programs share one graphic scarred, and each of them waits.")


# --- of the first act


@spoils(DRAINED, because="in the midst of text 2")
def killed_while_writing(record: Record) -> None:
    texts = record.jobs["texts 1-4"]
    texts.stays[0].stopped_at, texts.left_at = 2.9, 2.8


@spoils(DRAINED, because="not ended because it was asked for")
def never_asked(record: Record) -> None:
    texts = record.jobs["texts 1-4"]
    texts.left_at = 3.06


@spoils(DRAINED, because="no text was being written when the speech came")
def came_too_early(record: Record) -> None:
    record.jobs["recording 1"].asked_at = 0.2


@spoils(FIRST, because="text 3 begun between its grant and its result")
def written_meanwhile(record: Record) -> None:
    record.jobs["texts 1-4"].begun[3] = 4.0


@spoils(FIRST, because="no text was left to be written after it")
def heard_last(record: Record) -> None:
    results = record.jobs["recording 1"].results
    results[1] = results[1]._replace(at_s=7.7)
    record.jobs["recording 1"].readings[0] = Reading(7.65, "a-10", 15, False, "active")


@spoils(BACK, because="it had the leases a-6, a-7")
def came_back_as_another(record: Record) -> None:
    readings = record.jobs["texts 1-4"].readings
    readings[-1] = readings[-1]._replace(lease_id="a-7")


@spoils(BACK, because="its tokens were 7, and had to rise once")
def came_back_unfenced(record: Record) -> None:
    readings = record.jobs["texts 1-4"].readings
    readings[-1] = readings[-1]._replace(token=7)


@spoils(BACK, because="recording 2 asked after it, and was served before its end")
def lost_its_place(record: Record) -> None:
    readings = record.jobs["recording 2"].readings
    readings[0] = readings[0]._replace(at_s=4.4)


@spoils(FELL, because="the driver: from 0.22 GB to no less than 0.10 GB")
def freed_on_paper(record: Record) -> None:
    record.samples[1] = record.samples[1]._replace(driver_used_bytes=100 * MB)


@spoils(FELL, because="measured: from 0.22 GB to no less than 0.20 GB")
def never_freed(record: Record) -> None:
    record.samples[1] = record.samples[1]._replace(measured={"writer": 200 * MB})


@spoils(FELL, because="the driver: from 0.22 GB to no less than 0.22 GB")
def unseen_between(record: Record) -> None:
    del record.samples[1]


# --- of the second act


@spoils(ENTERED, because="the sidecar of the transcriber took 1.05 s")
def slow(record: Record) -> None:
    record.jobs["recording 3"].in_line_at = 10.0


@spoils(ENTERED, because="the sidecar of the writer was never seen to do without")
def never_local(record: Record) -> None:
    record.jobs["texts 7-9"].in_line_at = None


@spoils(WENT_ON, because="recording 3 was not granted locally")
def granted_by_nobody_knows_whom(record: Record) -> None:
    record.jobs["recording 3"].readings[0] = Reading(12.4, "a-29", 30, False, "active")


@spoils(WENT_ON, because="texts 5-6 lost its lease on the way")
def lost_and_had_another(record: Record) -> None:
    record.jobs["texts 5-6"].readings.append(Reading(9.0, "local-9", None, True, "active"))


@spoils(WENT_ON, because="texts 5-6 was not under way at the kill")
def nothing_to_do_at_the_kill(record: Record) -> None:
    record.outage.killed_at = 8.45


@spoils(ALONE, because="texts 7-9 started its model beside that of recording 3")
def side_by_side(record: Record) -> None:
    record.jobs["texts 7-9"].stays[0].started_at = 13.0


@spoils(ADOPTED, because="texts 7-9 stayed local")
def never_adopted(record: Record) -> None:
    record.jobs["texts 7-9"].readings.pop()


@spoils(ADOPTED, because="the coordinator does not say that it adopted a-33")
def a_lease_like_any_other(record: Record) -> None:
    record.outage.adopted.clear()


@spoils(ADOPTED, because="its token 29 is not greater than 29")
def adopted_unfenced(record: Record) -> None:
    readings = record.jobs["texts 7-9"].readings
    readings[-1] = readings[-1]._replace(token=29)


@spoils(ADOPTED, because="texts 7-9 had to load its model 2 times")
def interrupted_by_the_return(record: Record) -> None:
    stay = record.jobs["texts 7-9"].stays[0]
    record.jobs["texts 7-9"].stays = [replace(stay, stopped_at=16.0), replace(stay, pid=110, started_at=16.2)]


@spoils(ADOPTED, because="recording 4 was not served by the coordinator")
def served_locally_after_the_return(record: Record) -> None:
    readings = record.jobs["recording 4"].readings
    readings[0] = readings[0]._replace(local=True)


@spoils(ORDER, because="recording 4 was served before texts 7-9 had ended")
def overtook(record: Record) -> None:
    readings = record.jobs["recording 4"].readings
    readings[0] = readings[0]._replace(at_s=17.0)


# --- of the memory


@spoils(LEDGER, because="at most 0.392 of 0.391 GB in 5 readings")
def overcharged(record: Record) -> None:
    record.samples.append(Sample(19.5, 401 * MB, 0, {}))


@spoils(LEDGER, because="at most 0.586 of 0.391 GB")
def overcharged_before_the_return(record: Record) -> None:
    record.samples[0] = record.samples[0]._replace(charged_bytes=600 * MB, over_committed=True)


@spoils(LEDGER, because="at most 0.586 of 0.391 GB")
def overcharged_and_not_said(record: Record) -> None:
    record.samples[4] = record.samples[4]._replace(over_committed=False)


@spoils(DRIVER, because="at most 0.392 of 0.391 GB in 6 readings")
def overused(record: Record) -> None:
    record.samples.append(Sample(19.5, 0, 401 * MB, {}))


@spoils(MODELS, because="at most 0.430 of 0.391 GB in 7 readings")
def overgrown_without_a_coordinator(record: Record) -> None:
    record.samples.append(Sample(13.0, None, None, {"writer": 230 * MB, "transcriber": 210 * MB}))


@spoils(FELL, DRIVER, because="in 0 readings")
def blind(record: Record) -> None:
    record.samples = [sample._replace(driver_used_bytes=None) for sample in record.samples]


@spoils(FELL, LEDGER, DRIVER, MODELS, because="in 0 readings")
def unwatched(record: Record) -> None:
    record.samples = []


@spoils(MEASURED, because="no memory of texts 1-4 was seen")
def unmeasured(record: Record) -> None:
    record.jobs["texts 1-4"].stays[1].peak_bytes = 0


@spoils(MEASURED, because="both together took 0.02 GB, which fits in 0.39 GB")
def too_small_to_matter(record: Record) -> None:
    for job in record.jobs.values():
        for stay in job.stays:
            stay.peak_bytes = 10 * MB


@pytest.mark.parametrize(("spoil", "claims", "because"), spoilers, ids=[spoil.__name__ for spoil, _, _ in spoilers])
def test_each_way_to_be_bad_fails(spoil: Callable[[Record], None], claims: list[str], because: str) -> None:
    """What was not so is named, with what happened instead, and nothing else is."""
    record = good_run()
    spoil(record)

    broken = [finding for finding in find(record) if not finding.holds]

    assert [finding.claim for finding in broken] == claims
    assert because in " ".join(finding.because for finding in broken)


def test_every_claim_has_somebody_who_spoils_it() -> None:
    """No claim is left that nothing can fail."""
    assert {claim for _, claims, _ in spoilers for claim in claims} == {finding.claim for finding in find(good_run())}


def test_a_run_in_which_nothing_happened_fails_everywhere_that_it_can() -> None:
    """An empty record is no proof of anything but that nothing was cut, misheard or run side by side."""
    record = good_run()
    empty = Record(record.budget_bytes, {name: _untouched(record, name) for name in record.jobs})

    holds = [finding.claim for finding in find(empty) if finding.holds]

    assert holds == [CUT, HEARD]


def _untouched(record: Record, name: str) -> Job:
    job = record.jobs[name]
    return Job(job.service, job.name, job.size_bytes, job.items, job.priority, job.yields)
