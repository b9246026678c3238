"""A naive model of what a ledger keeps: plain records, sums taken anew each time, combinations tried one by one.

It shares no code with the ledger: it reads its settings and the structs of its commands and events, nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations
from math import inf

from cf_orch.ledger.records import Pid, Process, Sample, Slot
from cf_orch.ledger.settings import Settings

__all__ = ["HELD", "LEAVING", "WAITING", "Dev", "Job", "Key", "Model", "Party", "Scheme", "share_out"]

Key = tuple[str, str]
"""(caller, request id)"""

HELD = {"loading", "active", "idle", "evicting"}
LEAVING = {"closing", "parked", "resting"}
WAITING = {"queued", "parked"}
BRANDS = {"nvidia", "geforce", "amd", "radeon", "intel", "tesla", "quadro"}


@dataclass(slots=True)
class Dev:
    """A device."""

    uuid: str
    name: str
    host: str
    host_name: str
    index: int
    total: int
    reserve: int
    driver: bool
    capabilities: frozenset[str]
    draining: bool = False
    drain_for: float | None = None
    empties: bool = False  # its drain asks all who can to leave
    drain_until: float | None = None
    sample: Sample | None = None
    vouched: bool = True
    foreign: int = 0
    floor: int | None = None


@dataclass(slots=True)
class Job:
    """A lease; ``state`` is one of queued, loading, active, idle, evicting, parked, resting, closing, ended."""

    id: str
    slot: Slot
    key: Key
    session: str | None
    host: str | None
    ttl_s: float | None
    place: int
    klass: int
    state: str = "queued"
    token: int | None = None
    devices: tuple[str, ...] = ()
    overdue: bool = False
    adopted: bool = False
    pids: list[Pid] = field(default_factory=list)
    outcome: str | None = None
    changed_at: float = 0.0  # since when its charge may fall: the last grant, load's end, release or restart
    expires_at: float | None = None
    waits_until: float | None = None
    ages_at: float | None = None
    cut_until: float | None = None
    load_until: float | None = None
    reclaim_at: float | None = None
    forget_at: float | None = None
    charge: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    least: dict[str, int] = field(default_factory=dict)  # the lowest it was charged since it leaves
    evicted_for: str | None = None
    late: bool = False  # its eviction is overdue
    rest: str | None = None
    residue: int | None = None  # what it said that it kept, when it last parked
    residue_seen: int | None = None  # what it was seen to keep, where that is something else
    error: str | None = None
    gave_back: bool = False  # it has parked since it was last granted
    idle_since: float | None = None
    loaded_since: float = 0.0
    held_at: float | None = None
    asked_at: float = 0.0
    evict_until: float | None = None
    checkpoint_s: float | None = None
    restore_s: float = 0.0

    @property
    def order(self) -> tuple[int, int]:
        return -self.klass, self.place

    @property
    def full(self) -> int:
        return self.slot.size_bytes * self.slot.gpus

    @property
    def leaving(self) -> bool:
        return self.state in LEAVING

    @property
    def promised(self) -> int:
        """What it is charged at least, by its state alone."""
        if self.state == "closing":
            return 0
        if self.state in LEAVING:
            return self.residue or 0
        return self.slot.need_bytes if self.state == "loading" else self.slot.size_bytes

    def need(self, uuid: str) -> int:
        """What a device must give for its grant: a return has what it kept there already."""
        return self.slot.need_bytes - self.charge.get(uuid, 0)

    @property
    def measured(self) -> int | None:
        """What it is known to keep, since it last parked."""
        return self.residue if self.residue_seen is None else self.residue_seen

    def deadlines(self) -> Iterator[float]:
        """All times at which something is due for it."""
        own = (self.expires_at, self.waits_until, self.ages_at, self.cut_until, self.load_until, self.evict_until)
        for when in own:
            if when is not None:
                yield when


@dataclass(slots=True)
class Scheme:
    """A plan: who leaves for whom, and where."""

    owner: str
    devices: tuple[str, ...] = ()
    victims: tuple[str, ...] = ()
    given_up: bool = False


@dataclass(slots=True)
class Party:
    """A session."""

    id: str
    service: str
    host: str | None
    pid: Pid | None
    ttl_s: float
    expires_at: float
    may_adopt: bool = True


class Model:
    """Everything that is known, and the plain questions about it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.now = 0.0
        self.parties: dict[str, Party] = {}
        self.devices: dict[str, Dev] = {}
        self.jobs: dict[str, Job] = {}
        self.ended: dict[str, Job] = {}
        self.requests: dict[Key, str] = {}
        self.noted: dict[Key, float] = {}
        self.schemes: dict[str, Scheme] = {}
        self._ways: dict[tuple[object, ...], list[tuple[str, ...]]] = {}

    # --- devices

    def facts_changed(self) -> None:
        """Forget what was worked out from the devices' facts."""
        self._ways.clear()

    def on(self, uuid: str) -> list[Job]:
        """The leases charged on a device, oldest first."""
        return sorted((job for job in self.jobs.values() if uuid in job.devices), key=lambda job: job.token or 0)

    def blind(self, dev: Dev) -> bool:
        if not dev.driver:
            return not dev.vouched
        if dev.sample is None or dev.sample.error is not None:
            return True
        return self.now - dev.sample.taken_at > self.settings.stale_after_s

    def looked(self, dev: Dev, job: Job) -> bool:
        """Tell whether a device was seen since a lease's charge may fall."""
        return not dev.driver or (dev.sample is not None and dev.sample.taken_at > job.changed_at)

    def window(self, uuid: str) -> Job | None:
        """The lease that is loading on a device, in time."""
        for job in self.jobs.values():
            has_window = job.state == "loading" and not job.overdue and job.slot.peak_bytes is not None
            if has_window and uuid in job.devices:
                return job
        return None

    def room(self, dev: Dev) -> int:
        """The right-hand side of R4."""
        on_it = [job for job in self.jobs.values() if dev.uuid in job.devices]
        ledger_free = dev.total - dev.reserve - dev.foreign - sum(job.charge[dev.uuid] for job in on_it)
        if not dev.driver or dev.sample is None:
            return ledger_free
        unseen = sum(max(0, job.charge[dev.uuid] - job.seen[dev.uuid]) for job in on_it)
        return min(ledger_free, dev.sample.free_bytes - dev.reserve - unseen)

    def most_room(self, dev: Dev, *, draining: bool = False) -> int:
        """What would be free if every lease on a device ended; nothing where it cannot be seen, or drains."""
        if self.blind(dev) or (dev.draining and not draining):
            return 0
        room = dev.total - dev.reserve - dev.foreign
        if dev.driver and dev.sample is not None:
            room = min(room, dev.sample.used_bytes + dev.sample.free_bytes - dev.foreign - dev.reserve)
        return room

    # --- who could go where

    def ways(self, slot: Slot, own_host: str | None) -> list[tuple[str, ...]]:
        """Every set of devices on which a slot would fit if all was empty."""
        key = (slot.host, slot.device, slot.requires, slot.gpus, slot.need_bytes, own_host)
        known = self._ways.get(key)
        if known is None:
            known = self._ways[key] = sorted(self._find_ways(slot, own_host))
        return known

    def _find_ways(self, slot: Slot, own_host: str | None) -> set[tuple[str, ...]]:
        suitable: dict[str, list[Dev]] = {}
        for dev in self.devices.values():
            fits = slot.need_bytes <= dev.total - dev.reserve
            if fits and dev.capabilities >= set(slot.requires) and self._host_open(slot, own_host, dev):
                suitable.setdefault(dev.host, []).append(dev)
        return {
            tuple(sorted(dev.uuid for dev in chosen))
            for devs in suitable.values()
            for chosen in permutations(devs, slot.gpus)
            if _pins_hold(slot, chosen)
        }

    def _host_open(self, slot: Slot, own_host: str | None, dev: Dev) -> bool:
        if slot.host == "any":
            return True
        if slot.host is not None:
            return slot.host in (dev.host, dev.host_name)
        return own_host == dev.host or all(other.host != own_host for other in self.devices.values())

    def ways_of(self, job: Job) -> list[tuple[str, ...]]:
        """Where a waiter could go; a parked one goes back to where it was."""
        return [job.devices] if job.devices else self.ways(job.slot, job.host)

    # --- who waits

    def spare(self, lease_id: str) -> None:
        """Let a lease be nobody's victim."""
        for scheme in self.schemes.values():
            scheme.victims = tuple(victim for victim in scheme.victims if victim != lease_id)

    def queue(self) -> list[Job]:
        return sorted((job for job in self.jobs.values() if job.state in WAITING), key=lambda job: job.order)

    def waits(self, lease_id: str | None) -> bool:
        job = self.jobs.get(lease_id or "")
        return job is not None and job.state in WAITING

    def active(self) -> list[Scheme]:
        """The plans under way."""
        return [scheme for scheme in self.schemes.values() if not scheme.given_up]

    def active_scheme(self, job: Job) -> Scheme | None:
        scheme = self.schemes.get(job.id)
        return None if scheme is None or scheme.given_up else scheme

    def stalled(self, job: Job) -> bool:
        need = job.slot.need_bytes
        most = {uuid: self.most_room(dev, draining=bool(job.devices)) for uuid, dev in self.devices.items()}
        return not any(all(need <= most[uuid] for uuid in way) for way in self.ways_of(job))

    def held(self, service: str) -> int:
        """Full sizes of all that a service holds, and has not given up."""
        return sum(
            job.full
            for job in self.jobs.values()
            if job.slot.service == service
            and (job.state in HELD or (job.state == "closing" and job.token is not None and not job.gave_back))
        )

    def over_quota(self, job: Job) -> bool:
        """Tell whether a service would hold too much with a waiter, and with those before it who have plans."""
        limit = self.settings.quota(job.slot.service).max_vram_bytes
        owners = {scheme.owner for scheme in self.active() if self.jobs[scheme.owner].order < job.order}
        gone = {key for scheme in self.active() if scheme.owner != job.id for key in scheme.victims}
        left = {key for key in gone - {job.id} if key in self.jobs and self.jobs[key].state in ("parked", "resting")}
        before = sum(self.jobs[key].full for key in owners | left if self.jobs[key].slot.service == job.slot.service)
        return limit is not None and self.held(job.slot.service) + before + job.full > limit

    def best_of(self, job: Job, rooms: dict[str, int]) -> tuple[str, ...] | None:
        """Where a waiter goes, of the ways whose devices all have room."""

        def fits(uuid: str) -> bool:
            return max(0, job.need(uuid)) <= rooms.get(uuid, -1)

        need = job.slot.need_bytes
        return min(
            (way for way in self.ways_of(job) if all(map(fits, way))),
            key=lambda way: (self.devices[way[0]].host != job.host, sum(rooms[uuid] - need for uuid in way), way),
            default=None,
        )


def _pins_hold(slot: Slot, chosen: tuple[Dev, ...]) -> bool:
    if not slot.device:
        return True
    if slot.gpus == 1:
        return any(_pinned(pin, chosen[0]) for pin in slot.device)
    return len(slot.device) == len(chosen) and all(map(_pinned, slot.device, chosen))


def _pinned(pin: str, dev: Dev) -> bool:
    if pin.isdecimal():
        return int(pin) == dev.index
    return pin == dev.uuid or _bare(pin) == _bare(dev.name)


def _bare(name: str) -> list[str]:
    return [word for word in name.lower().split() if word not in BRANDS]


def share_out(dev: Dev, sample: Sample, jobs: list[Job]) -> tuple[dict[str, int], int, int | None]:
    """Say how many of a sample's bytes each lease uses, how many are foreign, and the new floor."""
    jobs = sorted(jobs, key=lambda job: job.token or 0)
    seen = {job.id: 0 for job in jobs}
    by_growth = {job.id for job in jobs if not _pids_on(job, dev)}
    if not any(process.used_bytes for process in sample.processes):
        by_growth = set(seen)
    for process in sample.processes:
        near = {job.id: _distance(_pids_on(job, dev), process) for job in jobs}
        owners = [job for job in jobs if near[job.id] == min(near.values()) < inf]
        if process.used_bytes is None:
            by_growth.update(job.id for job in owners)
        elif owners:
            left = _pour(process.used_bytes, owners, seen, dev.uuid)
            newest = [job for job in owners if job.state not in LEAVING] or owners
            seen[newest[-1].id] += left
    unclaimed = max(0, sample.used_bytes - sum(seen.values()))
    if not by_growth:
        return seen, unclaimed, unclaimed
    grow = [job for job in jobs if job.id in by_growth]
    floor = unclaimed if dev.floor is None else min(dev.floor, unclaimed)
    if all(job.leaving for job in grow):  # more than they said that they keep is not theirs
        floor = min(floor, max(0, unclaimed - sum(job.promised for job in grow)))
    elif dev.floor is None:
        return seen, unclaimed, None
    left = _pour(unclaimed - floor, grow, seen, dev.uuid)
    return seen, floor + left, floor


def _pids_on(job: Job, dev: Dev) -> list[Pid]:
    return job.pids if job.host in (None, dev.host) else []


def _distance(pids: list[Pid], process: Process) -> float:
    """How many generations lie between a process and the nearest of its family that is among the pids."""
    for distance, (pid, start) in enumerate([(process.pid, process.pid_start), *process.ancestors]):
        for own, own_start in pids:
            if pid == own and (None in (start, own_start) or start == own_start):
                return distance
    return inf


def _pour(amount: int, jobs: list[Job], seen: dict[str, int], uuid: str) -> int:
    """First what each has still, those that leave last; then what the others may grow to; return the rest."""
    for job in sorted(jobs, key=lambda job: job.state in LEAVING):
        had = job.charge[uuid] if job.state in LEAVING else min(job.seen[uuid], job.slot.need_bytes)
        gets = min(amount, max(0, had - seen[job.id]))
        seen[job.id] += gets
        amount -= gets
    for job in jobs:
        gets = min(amount, max(0, job.slot.need_bytes - seen[job.id])) if job.state not in LEAVING else 0
        seen[job.id] += gets
        amount -= gets
    return amount
