"""What the second act is to show: the products go on one at a time without a coordinator, and it adopts their work."""

from collections.abc import Iterator
from itertools import combinations, pairwise

from cf_orch.sidecar.demo.record import Job, Reading, Record, Stay
from cf_orch.sidecar.demo.script import FALLING_BACK
from cf_orch.sidecar.demo.verdict.finding import Finding, unless

__all__ = ["adopted", "entered_at_once", "in_order", "one_at_a_time", "went_on"]

ENTERED_WITHIN_S = 1.0


def entered_at_once(record: Record) -> Finding:
    """Each sidecar stood in this host's own line within a second of the kill, or of its product's asking after it."""
    delays = _delays(record)
    told = ", ".join(f"{name} {delay:.2f} s" for name, delay in delays.items())
    complaints = _too_late(record, delays)
    return unless(
        complaints, f"without a coordinator each went local within {ENTERED_WITHIN_S:g} s", told, is_timed=True
    )


def went_on(record: Record) -> Finding:
    """What was being done at the kill was ended, and each product was served by turns while nobody was there."""
    return unless(_did_not_go_on(record), "both went on without a coordinator", _turns(record))


def one_at_a_time(record: Record) -> Finding:
    """No two models were in memory at once while nobody was there to see to it."""
    inside = _inside(record)
    because = " -> ".join(job.name for job, _ in inside)
    return unless(_beside(inside), "one at a time", because)


def adopted(record: Record) -> Finding:
    """What was held without a coordinator is a lease of its again, with a token greater than all before."""
    lease = _after_adoption(record.jobs[FALLING_BACK[2]])
    because = "" if lease is None else f"{FALLING_BACK[2]} became lease {lease.lease_id}, token {lease.token}, unharmed"
    return unless(_not_adopted(record), "the coordinator that returned adopted the work", because)


def in_order(record: Record) -> Finding:
    """All were served in the order of their asking, across the kill and the return."""
    return unless(_out_of_order(record), "all were served in the order of their asking", " -> ".join(FALLING_BACK))


def _jobs(record: Record) -> tuple[Job, Job, Job, Job]:
    held, waiting, held_alone, waiting_alone = (record.jobs[name] for name in FALLING_BACK)
    return held, waiting, held_alone, waiting_alone


def _delays(record: Record) -> dict[str, float]:
    """How long each product's sidecar took, from the kill or, if that was later, from the asking."""
    killed_at = record.outage.killed_at
    delays: dict[str, float] = {}
    for job in _jobs(record)[1:3]:
        if killed_at is not None and job.asked_at is not None and job.in_line_at is not None:
            delays[job.service] = job.in_line_at - max(killed_at, job.asked_at)
    return delays


def _too_late(record: Record, delays: dict[str, float]) -> Iterator[str]:
    for job in _jobs(record)[1:3]:
        delay = delays.get(job.service)
        if delay is None:
            yield f"the sidecar of the {job.service} was never seen to do without"
        elif delay > ENTERED_WITHIN_S:
            yield f"the sidecar of the {job.service} took {delay:.2f} s"


def _turns(record: Record) -> str:
    return ", ".join(f"{job.name} as {job.readings[0].lease_id}" for job in _jobs(record)[1:3] if job.readings)


def _did_not_go_on(record: Record) -> Iterator[str]:
    held, waiting, held_alone, _ = _jobs(record)
    killed_at, returned_at = record.outage.killed_at, record.outage.returned_at
    if killed_at is None or returned_at is None:
        yield "the coordinator was never killed, or never came back"
        return
    if (
        held.granted_at is None
        or held.ended_at is None
        or not held.granted_at < killed_at < held.ended_at < returned_at
    ):
        yield f"{held.name} was not under way at the kill and ended before the return"
    if any(reading.lease_id != held.readings[0].lease_id for reading in held.readings):
        yield f"{held.name} lost its lease on the way"
    for job in (waiting, held_alone):
        if not (job.readings and job.readings[0].local and killed_at < job.readings[0].at_s < returned_at):
            yield f"{job.name} was not granted locally while the coordinator was away"


def _inside(record: Record) -> list[tuple[Job, Stay]]:
    """Whose models were in memory at some time without a coordinator."""
    killed_at, returned_at = record.outage.killed_at, record.outage.returned_at
    if killed_at is None:
        return []
    until = float("inf") if returned_at is None else returned_at
    stays = [(job, stay) for job in record.jobs.values() for stay in job.stays]
    return sorted(
        ((job, stay) for job, stay in stays if stay.started_at < until and (stay.stopped_at or until) > killed_at),
        key=lambda inside: inside[1].started_at,
    )


def _beside(inside: list[tuple[Job, Stay]]) -> Iterator[str]:
    if len({job.service for job, _ in inside}) < 2:  # noqa: PLR2004 - one alone is beside nobody
        yield "not both of them had a model in memory without a coordinator"
    for (one, stay), (other, later) in combinations(inside, 2):
        if stay.stopped_at is None or later.started_at < stay.stopped_at:
            yield f"{other.name} started its model beside that of {one.name}"


def _after_adoption(job: Job) -> Reading | None:
    """How the lease read first when it was local no more."""
    for before, after in pairwise(job.readings):
        if before.local and not after.local:
            return after
    return None


def _not_adopted(record: Record) -> Iterator[str]:
    _, _, held_alone, waiting_alone = _jobs(record)
    lease = _after_adoption(held_alone)
    if lease is None:
        yield f"{held_alone.name} stayed local"
        return
    if lease.lease_id not in record.outage.adopted:
        yield f"the coordinator does not say that it adopted {lease.lease_id}"
    earlier = [
        reading.token or 0 for job in record.jobs.values() for reading in job.readings if reading.at_s < lease.at_s
    ]
    if lease.token is None or lease.token <= max(earlier, default=0):
        yield f"its token {lease.token} is not greater than {max(earlier, default=0)}"
    if len(held_alone.stays) != 1:
        yield f"{held_alone.name} had to load its model {len(held_alone.stays)} times"
    if not waiting_alone.readings or waiting_alone.readings[0].local:
        yield f"{waiting_alone.name} was not served by the coordinator"


def _out_of_order(record: Record) -> Iterator[str]:
    jobs = _jobs(record)
    for job in jobs:
        if job.asked_at is None or job.granted_at is None:
            yield f"{job.name} never asked, or was never served"
            return
    for before, after in pairwise(jobs):
        if (before.asked_at or 0) > (after.asked_at or 0) or (before.stopped_at or 0) > (after.granted_at or 0):
            yield f"{after.name} was served before {before.name} had ended"
