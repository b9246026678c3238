"""Never over budget: by the ledger's account, by the driver's, and by the demo's own measurement.

While there is no coordinator only the last of these is there.  Leases that a coordinator adopts are facts, whether they
fit or not: between its return and its next grant it may count what it has not yet seen go, if it says that the device
is over-committed.
"""

from collections.abc import Iterator

from cf_orch.protocol.sizes import GIB
from cf_orch.sidecar.demo.record import Record, Sample, in_gb
from cf_orch.sidecar.demo.script import FALLING_BACK
from cf_orch.sidecar.demo.verdict.finding import Finding, unless

__all__ = ["each_was_measured", "of_driver", "of_ledger", "of_models"]


def of_ledger(record: Record) -> Finding:
    """What was charged."""
    charged = [
        sample.charged_bytes
        for sample in record.samples
        if sample.charged_bytes is not None and not _is_of_adoption(record, sample)
    ]
    return _within("what the ledger charged stayed within the budget", record, charged)


def of_driver(record: Record) -> Finding:
    """What the driver saw in use."""
    used = [sample.driver_used_bytes for sample in record.samples if sample.driver_used_bytes is not None]
    return _within("so did what its driver saw in use", record, used)


def of_models(record: Record) -> Finding:
    """What the processes with the models had, with a coordinator and without."""
    measured = [sample.measured_bytes for sample in record.samples]
    return _within("so did what the models really took, also without a coordinator", record, measured)


def each_was_measured(record: Record) -> Finding:
    """The memory of every process was seen, so that the account is not empty where it matters."""
    jobs = record.jobs.values()
    sizes = f"{in_gb(min(job.peak_bytes for job in jobs))} to {in_gb(max(job.peak_bytes for job in jobs))} each"
    return unless(_unseen(record), "every model was measured, and two would not have fitted", sizes)


def _is_of_adoption(record: Record, sample: Sample) -> bool:
    returned_at, granted_at = record.outage.returned_at, record.jobs[FALLING_BACK[3]].granted_at
    if returned_at is None or granted_at is None:
        return False
    return sample.over_committed and returned_at <= sample.at_s < granted_at


def _within(claim: str, record: Record, readings: list[int]) -> Finding:
    """Hold readings against the budget; none at all, or none above nothing, prove nothing."""
    largest = max(readings, default=0)
    numbers = f"at most {largest / GIB:.3f} of {record.budget_bytes / GIB:.3f} GB in {len(readings)} readings"
    return Finding(claim, 0 < largest <= record.budget_bytes, numbers)


def _unseen(record: Record) -> Iterator[str]:
    largest: dict[str, int] = {}
    for job in record.jobs.values():
        largest[job.service] = max(largest.get(job.service, 0), job.peak_bytes)
        if not job.stays or any(stay.peak_bytes <= 0 for stay in job.stays):
            yield f"no memory of {job.name} was seen"
    if (together := sum(largest.values())) <= record.budget_bytes:
        yield f"both together took {in_gb(together)}, which fits in {in_gb(record.budget_bytes)}"
