"""Whose bytes the driver shows: a pure function of one sample and of the leases on the device.

1. A process that has bytes is matched with the leases that name it, else its nearest ancestor, by id and start time.
   Its bytes fill those leases; what is left over is over-use of the newest that is not leaving.
2. What no lease claimed by process is unclaimed.  Leases without known processes, leases of which a process is
   listed without its bytes, and all leases where no process is listed with bytes, are given the growth of the
   unclaimed bytes over their floor: the last value seen while no such lease was charged.
3. The rest is foreign use.

Filling goes by what is surest, each step oldest lease first: those that stay keep what was seen of them before, up
to their promise; those that leave keep what they are charged for, so that only a fall of the sum shows their bytes
back; then those that stay grow up to their promise.

While the floor is not known (after a restart) no growth can be told from foreign use, and all that is unclaimed
counts as foreign: rather counted twice than granted twice.  Once all who live by growth there are leaving, the floor is
at the most what is more than they said that they keep: or that would be counted twice for as long as they wait.
"""

from collections.abc import Iterable
from typing import NamedTuple

from cf_orch.ledger.records import Pid, Process, Sample

__all__ = ["Account", "Claim", "attribute"]


class Claim(NamedTuple):
    """What a lease brings to the sharing-out: its processes on this host, what it keeps, and what it may grow to.

    One that leaves grows no more; what it promises is to keep no more than that.
    """

    lease_id: str
    token: int
    pids: tuple[Pid, ...]
    kept_bytes: int
    promised_bytes: int
    leaving: bool

    def names(self, process: Pid) -> bool:
        """Tell whether a process is known as the lease's; an unknown start time matches any."""
        pid, start = process
        return any(
            pid == own and (start is None or own_start is None or start == own_start) for own, own_start in self.pids
        )


class Account(NamedTuple):
    """The outcome: bytes by lease, what is foreign, and the floor to give to the next sample."""

    seen_bytes: dict[str, int]
    foreign_bytes: int
    foreign_processes: tuple[Process, ...]
    floor_bytes: int | None


def attribute(sample: Sample, claims: Iterable[Claim], floor_bytes: int | None) -> Account:
    """Share a sample's used bytes out among leases and foreign use."""
    by_age = sorted(claims, key=lambda claim: claim.token)
    seen = dict.fromkeys((claim.lease_id for claim in by_age), 0)
    foreign: list[Process] = []
    unsized: set[str] = set()
    for process in sample.processes:
        owners = _owners(process, by_age)
        if owners and process.used_bytes is None:
            unsized.update(claim.lease_id for claim in owners)
        elif owners:
            left = _fill(process.used_bytes or 0, owners, seen)
            staying = [claim for claim in owners if not claim.leaving] or owners
            seen[staying[-1].lease_id] += left
        else:
            foreign.append(process)

    unclaimed = max(0, sample.used_bytes - sum(seen.values()))
    silent = not any(process.used_bytes for process in sample.processes)
    growing = [claim for claim in by_age if silent or not claim.pids or claim.lease_id in unsized]
    if not growing:
        return Account(seen, unclaimed, tuple(foreign), unclaimed)
    bounds = [unclaimed] if floor_bytes is None else [unclaimed, floor_bytes]
    if all(claim.leaving for claim in growing):
        bounds.append(max(0, unclaimed - sum(claim.promised_bytes for claim in growing)))
    elif floor_bytes is None:
        return Account(seen, unclaimed, tuple(foreign), None)
    floor = min(bounds)
    left = _fill(unclaimed - floor, growing, seen)
    return Account(seen, floor + left, tuple(foreign), floor)


def _owners(process: Process, claims: list[Claim]) -> list[Claim]:
    """The leases whose process it is; else those of its nearest ancestor that is anybody's."""
    for member in ((process.pid, process.pid_start), *process.ancestors):
        owners = [claim for claim in claims if claim.names(member)]
        if owners:
            return owners
    return []


def _fill(amount: int, claims: list[Claim], seen: dict[str, int]) -> int:
    """Give bytes to leases in the order of the three steps; returns what is left over."""
    staying = [claim for claim in claims if not claim.leaving]
    steps = [
        *((claim, claim.kept_bytes) for claim in staying),
        *((claim, claim.kept_bytes) for claim in claims if claim.leaving),
        *((claim, claim.promised_bytes) for claim in staying),
    ]
    for claim, most in steps:
        share = min(amount, max(0, most - seen[claim.lease_id]))
        seen[claim.lease_id] += share
        amount -= share
    return amount
