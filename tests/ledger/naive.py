"""A naive model of what a ledger keeps: plain records, sums taken anew each time, combinations tried one by one.

It shares no code with the ledger: it reads its settings and the structs of its commands and events, nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations

from cf_orch.ledger.records import Pid, Process, Sample, Slot
from cf_orch.ledger.settings import Settings

__all__ = ["Dev", "Job", "Key", "Model", "Party", "share_out"]

Key = tuple[str, str]
"""(caller, request id)"""

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
    drain_until: float | None = None
    sample: Sample | None = None
    vouched: bool = True
    foreign: int = 0
    floor: int | None = None


@dataclass(slots=True)
class Job:
    """A lease; ``state`` is one of queued, loading, active, idle, closing, ended."""

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
    least: dict[str, int] = field(default_factory=dict)  # the lowest it was ever charged while closing

    @property
    def order(self) -> tuple[int, int]:
        return -self.klass, self.place

    @property
    def full(self) -> int:
        return self.slot.size_bytes * self.slot.gpus

    @property
    def promised(self) -> int:
        """What it is charged at least, by its state alone."""
        if self.state == "closing":
            return 0
        return self.slot.need_bytes if self.state == "loading" else self.slot.size_bytes

    def deadlines(self) -> Iterator[float]:
        """All times at which something is due for it."""
        for when in (self.expires_at, self.waits_until, self.ages_at, self.cut_until, self.load_until):
            if when is not None:
                yield when


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
            if job.state == "loading" and not job.overdue and uuid in job.devices:
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

    def most_room(self, dev: Dev) -> int:
        """What would be free if every lease on a device ended; nothing where it drains or cannot be seen."""
        if dev.draining or self.blind(dev):
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

    def could_use(self, job: Job) -> set[str]:
        return {uuid for way in self.ways(job.slot, job.host) for uuid in way}

    # --- who waits

    def queue(self) -> list[Job]:
        return sorted((job for job in self.jobs.values() if job.state == "queued"), key=lambda job: job.order)

    def stalled(self, job: Job) -> bool:
        need = job.slot.need_bytes
        most = {uuid: self.most_room(dev) for uuid, dev in self.devices.items()}
        return not any(all(need <= most[uuid] for uuid in way) for way in self.ways(job.slot, job.host))

    def held(self, service: str) -> int:
        """Full sizes of all that a service holds."""
        return sum(job.full for job in self.jobs.values() if job.devices and job.slot.service == service)

    def over_quota(self, job: Job) -> bool:
        limit = self.settings.quota(job.slot.service).max_vram_bytes
        return limit is not None and self.held(job.slot.service) + job.full > limit

    def first_to_grant(self) -> tuple[Job, tuple[str, ...]] | None:
        """The first in order that nobody before him keeps from a place where he fits, and the best such place."""
        rooms = {
            uuid: self.room(dev)
            for uuid, dev in self.devices.items()
            if not dev.draining and not self.blind(dev) and self.window(uuid) is None
        }
        services: set[str] = set()
        for job in self.queue() if rooms else ():
            if job.cut_until is not None or self.stalled(job):
                continue
            if job.slot.service in services or self.over_quota(job):
                services.add(job.slot.service)
                continue
            best = self._best_way(job, rooms)
            if best is not None:
                return job, best
            for uuid in self.could_use(job):
                rooms.pop(uuid, None)
        return None

    def _best_way(self, job: Job, rooms: dict[str, int]) -> tuple[str, ...] | None:
        need = job.slot.need_bytes
        fitting = [way for way in self.ways(job.slot, job.host) if all(need <= rooms.get(uuid, -1) for uuid in way)]
        return min(
            fitting,
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
        owners = [job for job in jobs if _names(_pids_on(job, dev), process)]
        if process.used_bytes is None:
            by_growth.update(job.id for job in owners)
        elif owners:
            left = _pour(process.used_bytes, owners, seen, dev.uuid)
            newest = [job for job in owners if job.state != "closing"] or owners
            seen[newest[-1].id] += left
    unclaimed = max(0, sample.used_bytes - sum(seen.values()))
    if not by_growth:
        return seen, unclaimed, unclaimed
    if dev.floor is None:
        return seen, unclaimed, None
    floor = min(dev.floor, unclaimed)
    left = _pour(unclaimed - floor, [job for job in jobs if job.id in by_growth], seen, dev.uuid)
    return seen, floor + left, floor


def _pids_on(job: Job, dev: Dev) -> list[Pid]:
    return job.pids if job.host in (None, dev.host) else []


def _names(pids: list[Pid], process: Process) -> bool:
    for pid, start in [(process.pid, process.pid_start), *process.ancestors]:
        for own, own_start in pids:
            if pid == own and (None in (start, own_start) or start == own_start):
                return True
    return False


def _pour(amount: int, jobs: list[Job], seen: dict[str, int], uuid: str) -> int:
    """First what each has still, those that close last; then what the others may grow to; return the rest."""
    for job in sorted(jobs, key=lambda job: job.state == "closing"):
        had = job.charge[uuid] if job.state == "closing" else min(job.seen[uuid], job.slot.need_bytes)
        gets = min(amount, max(0, had - seen[job.id]))
        seen[job.id] += gets
        amount -= gets
    for job in jobs:
        gets = min(amount, max(0, job.slot.need_bytes - seen[job.id])) if job.state != "closing" else 0
        seen[job.id] += gets
        amount -= gets
    return amount
