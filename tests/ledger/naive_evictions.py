"""Who may be asked to leave for whom, and who must be, by the naive model: rule 6 read out loud.

Sums are taken anew, and the best single device is found by trying them all.
"""

from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from tests.ledger.naive import Job, Model, Scheme

__all__ = [
    "OPERATORS", "Way", "askable_from", "best_way", "comes_by_itself", "frees", "holds_true", "kept", "needed_by",
    "outstanding", "pick", "short", "unneeded", "why_not",
]  # fmt: skip

OPERATORS = ("operator", "drain")


class Way(NamedTuple):
    """A set of devices with the victims that suffice there, by what asking them would cost."""

    asks: bool
    classes: int
    leases: int
    bytes: int
    devices: tuple[str, ...]
    victims: tuple[str, ...]


def kept(job: Job, uuid: str) -> int:
    """What a lease is expected to keep on a device: as seen, else as said, else as declared."""
    if job.state == "closing":
        return 0
    known = next((size for size in (job.residue_seen, job.residue, job.slot.residue_bytes) if size is not None), 0)
    return min(known, job.charge[uuid])


def frees(job: Job, uuid: str) -> int:
    """What a device gets back when a lease leaves."""
    return job.charge[uuid] - kept(job, uuid) if uuid in job.charge else 0


def outstanding(job: Job) -> bool:
    """Tell whether a lease was asked by a plan and may answer in time."""
    return job.state == "evicting" and job.evicted_for not in OPERATORS and not job.late


def _on_its_way(job: Job) -> bool:
    return job.leaving or (job.state == "evicting" and job.evicted_for in OPERATORS and not job.late)


def short(model: Model, waiter: Job, uuid: str, victims: Iterable[Job] = ()) -> int:
    """What a device lacks for a waiter when all has come back that is on its way, and the victims have left."""
    others = [job for job in model.on(uuid) if job is not waiter and _on_its_way(job)]
    comes = sum(frees(job, uuid) for job in [*others, *victims])
    return waiter.need(uuid) - model.room(model.devices[uuid]) - comes


def why_not(model: Model, waiter: Job, job: Job) -> str | None:  # noqa: PLR0911 - one line a reason
    """Say why a lease may not be asked to leave for a waiter now; None if it may."""
    if job.state == "evicting":
        return _why_not_count_on(model, waiter, job)
    if job.state not in ("active", "idle") or not job.slot.evictable or job.error is not None:
        return "R6 not evictable"
    if any(model.devices[uuid].draining for uuid in job.devices):
        return "R6 drain"
    if any(model.window(uuid) for uuid in job.devices):
        return "S10 window"
    if waiter.waits_until is not None and (job.checkpoint_s or 0.0) > waiter.waits_until - model.now:
        return "S17 in vain"
    if job.slot.priority < waiter.slot.priority:
        return None
    if job.idle_since is None:
        return "R6 class"
    if protected_until(model, waiter, job, job.idle_since) > model.now:
        return "S9 residency" if job.slot.priority == waiter.slot.priority else "R6 protected"
    return None


def _why_not_count_on(model: Model, waiter: Job, job: Job) -> str | None:
    """Say why a waiter may not count on one that is asked already: it must be one whom it could ask itself."""
    if not outstanding(job):
        return "R6 overdue or an operator's"
    if job.slot.priority < waiter.slot.priority:
        return None
    if job.idle_since is None:
        return "R6 class"
    if job.slot.priority > waiter.slot.priority and protected_until(model, waiter, job, job.idle_since) > model.now:
        return "R6 protected"
    return None


def protected_until(model: Model, waiter: Job, job: Job, idle_since: float) -> float:
    """Until when idle memory is safe from a waiter of its own class or of a lower one."""
    policy = model.settings
    if job.slot.priority == waiter.slot.priority:
        return job.loaded_since + max(policy.min_residency_s, (job.checkpoint_s or 0.0) + job.restore_s)
    if policy.protect == "strict" or job.slot.priority >= policy.protected_priority:
        return inf
    return idle_since + policy.idle_protect_s * (1 if waiter.slot.evictable else 10)


def askable_from(model: Model, waiter: Job) -> set[float]:
    """The times yet to come at which somebody comes out of protection."""
    idle = [(job, job.idle_since) for job in model.jobs.values() if job.state == "idle" and job.idle_since is not None]
    ends = {protected_until(model, waiter, job, since) for job, since in idle}
    return {when for when in ends if model.now < when < inf}


def _in_order(job: Job) -> tuple[object, ...]:
    if job.state == "evicting":
        return 0, job.id
    if job.idle_since is not None:
        return 1, job.idle_since, job.id
    return 2, job.slot.priority, -(job.token or 0)


def pick(model: Model, waiter: Job, devices: tuple[str, ...], candidates: Iterable[Job]) -> list[Job] | None:
    """Take candidates in order while they help, then put back in reverse whom it takes not; None: it takes more."""
    chosen: list[Job] = []
    for job in sorted(candidates, key=_in_order):
        if any(short(model, waiter, uuid, chosen) > 0 and frees(job, uuid) for uuid in devices):
            chosen.append(job)
    if any(short(model, waiter, uuid, chosen) > 0 for uuid in devices):
        return None
    for job in chosen[::-1]:
        rest = [other for other in chosen if other is not job]
        if all(short(model, waiter, uuid, rest) <= 0 for uuid in devices):
            chosen = rest
    return chosen


def way_on(model: Model, waiter: Job, devices: tuple[str, ...]) -> Way | None:
    """What it would take to serve a waiter on these devices."""
    candidates = [job for job in model.jobs.values() if job is not waiter and why_not(model, waiter, job) is None]
    victims = pick(model, waiter, devices, candidates)
    if victims is None:
        return None
    asked = [job for job in victims if job.state != "evicting"]
    size = sum(frees(job, uuid) for job in asked for uuid in job.devices)
    classes = len({job.slot.priority for job in asked})
    return Way(bool(victims), classes, len(asked), size, devices, tuple(job.id for job in victims))


def best_way(model: Model, waiter: Job, usable: Iterable[str]) -> Way | None:
    """The cheapest way among usable devices; None where none suffices, or where nobody need leave."""
    best = _best(model, waiter, usable)
    return best if best is not None and best.asks else None


def comes_by_itself(model: Model, waiter: Job, usable: Iterable[str]) -> bool:
    """Tell whether what is on its way suffices somewhere."""
    best = _best(model, waiter, usable)
    return best is not None and not best.asks


def _best(model: Model, waiter: Job, usable: Iterable[str]) -> Way | None:
    open_ones = set(usable)
    ways = [way_on(model, waiter, way) for way in model.ways_of(waiter) if open_ones.issuperset(way)]
    return min((way for way in ways if way is not None), default=None)


def _asked_still(model: Model, scheme: Scheme) -> list[Job]:
    return [job for key in scheme.victims if (job := model.jobs.get(key)) is not None and outstanding(job)]


def _blind(model: Model, scheme: Scheme) -> bool:
    return any(model.blind(model.devices[uuid]) for uuid in scheme.devices)


def holds_true(model: Model, scheme: Scheme) -> bool:
    """Tell whether a plan still suffices; while a device of it cannot be seen, nobody knows better."""
    owner = model.jobs[scheme.owner]
    asked = _asked_still(model, scheme)
    return _blind(model, scheme) or all(short(model, owner, uuid, asked) <= 0 for uuid in scheme.devices)


def needed_by(model: Model, scheme: Scheme) -> set[str]:
    """The victims that must still leave for a plan."""
    if _blind(model, scheme):
        return set(scheme.victims)
    owner = model.jobs[scheme.owner]
    return {job.id for job in pick(model, owner, scheme.devices, _asked_still(model, scheme)) or ()}


def unneeded(model: Model) -> list[Job]:
    """Those who are asked to leave, and need not any more."""
    needed = set().union(*(needed_by(model, scheme) for scheme in model.schemes.values() if not scheme.given_up))
    return [
        job
        for job in model.jobs.values()
        if job.state == "evicting" and job.evicted_for not in OPERATORS and job.id not in needed
        if not (job.late and model.waits(job.evicted_for))
    ]
