"""A made-up run in which all is as it should be, for tests to spoil."""

from cf_orch.sidecar.demo.record import Job, Outage, Reading, Record, Result, Sample, Stay
from cf_orch.sidecar.demo.script import make_jobs

__all__ = ["MB", "good_run"]

MB = 2**20
SPEECH = (
    "Two programs share one graphics card, and each of them waits for its turn.",
    "one process gives the memory back and then the other one begins",
    "The coordinator has gone away, but the work goes on.",
    "The coordinator has come back, and nothing was lost.",
)
TEXT = "It is one. It is two! Is it three? It is 4.5 or four. It is five. It is six."


def good_run() -> Record:
    """Both acts, with the times of a real run, rounded."""
    jobs = make_jobs()
    texts = jobs["texts 1-4"]
    _did(texts, 0.0, Reading(0.1, "a-6", 7, False, "active"), {1: (0.5, 2.0), 2: (2.0, 3.0)}, pid=101)
    texts.readings += [Reading(2.3, "a-6", 7, False, "evicting"), Reading(3.1, "a-6", 7, False, "parked")]
    texts.left_at = 3.0
    _did(texts, 0.0, Reading(4.3, "a-6", 19, False, "active"), {3: (4.7, 5.8), 4: (5.8, 7.6)}, pid=103)
    _did(jobs["recording 1"], 2.1, Reading(3.15, "a-10", 15, False, "active"), {1: (3.6, 4.2)}, pid=102)
    _did(jobs["recording 2"], 2.1, Reading(7.8, "a-13", 24, False, "active"), {2: (8.0, 8.4)}, pid=104)
    _did(jobs["texts 5-6"], 8.5, Reading(8.5, "a-28", 29, False, "active"), {5: (8.9, 10.5), 6: (10.5, 12.2)}, pid=105)
    _did(jobs["recording 3"], 8.92, Reading(12.4, "local-1", None, True, "active"), {3: (12.8, 13.2)}, pid=106)
    adopted = jobs["texts 7-9"]
    _did(adopted, 9.0, Reading(13.4, "local-2", None, True, "active"), {7: (13.8, 15.4), 8: (15.4, 16.5)}, pid=107)
    adopted.readings.append(Reading(14.6, "a-33", 33, False, "active"))
    _did(adopted, 9.0, None, {9: (16.5, 18.0)}, pid=107)
    _did(jobs["recording 4"], 12.4, Reading(18.2, "a-36", 37, False, "active"), {4: (18.8, 19.4)}, pid=108)
    jobs["recording 3"].in_line_at, adopted.in_line_at = 9.0, 9.1
    samples = [
        Sample(1.0, 300 * MB, 230 * MB, {"writer": 230 * MB}),
        Sample(3.12, 300 * MB, 2 * MB, {"writer": 0, "transcriber": 3 * MB}),
        Sample(4.0, 300 * MB, 210 * MB, {"transcriber": 215 * MB}),
        Sample(10.0, None, None, {"writer": 240 * MB}),
        Sample(15.0, 600 * MB, 230 * MB, {"writer": 240 * MB}, over_committed=True),
        Sample(19.0, 300 * MB, 210 * MB, {"transcriber": 210 * MB}),
    ]
    return Record(400 * MB, jobs, Outage(8.95, 14.2, {"a-33"}), samples)


def _did(
    job: Job, asked_at: float, granted: Reading | None, items: dict[int, tuple[float, float]], *, pid: int
) -> None:
    """Have a job do items in one process, which loads just before the first and stops just after the last."""
    job.asked_at = asked_at
    if granted is not None:
        job.readings.append(granted)
    first_at, last_at = min(begun for begun, _ in items.values()), max(ended for _, ended in items.values())
    if job.stays and job.stays[-1].pid == pid:
        job.stays[-1].stopped_at = last_at + 0.05
    else:
        started_at = granted.at_s if granted is not None else first_at
        job.stays.append(Stay(pid, started_at, first_at, last_at + 0.05, peak_bytes=230 * MB))
    for item, (begun_at, ended_at) in items.items():
        job.begun[item] = begun_at
        text = TEXT if job.service == "writer" else SPEECH[item - 1]
        job.results[item] = Result(ended_at, text, complete=True)
    job.ended_at = last_at + 0.1
