"""Cards as they really are, and what their drivers tell of them: late, wrongly, or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import msgspec
from tests.ledger.naive import Job

from cf_orch.ledger import Process
from cf_orch.ledger.commands import DeviceReport, ReportDevices

__all__ = ["GIB", "Card", "draw_cards", "pid_of", "report_of"]

GIB = 2**30
KINDS = (
    ("NVIDIA GeForce RTX 4090", 24, ("bf16", "fp8")),
    ("NVIDIA GeForce RTX 3060", 12, ("bf16",)),
    ("Tesla T4", 16, ()),
    ("AMD Radeon PRO W7900", 48, ("bf16",)),
)


@dataclass
class Card:
    """One card; ``uses`` is what each lease really has on it, by the lease's number."""

    uuid: str
    host: str
    index: int
    name: str
    total: int
    reserve: int
    capabilities: tuple[str, ...]
    driver: bool
    names: str  # what its driver says of processes: bytes, pids, nothing
    kept: int  # what the driver keeps for itself, neither used nor free
    honest: bool = False  # nobody on it takes more than promised, and all that it tells is so
    foreign: dict[int, int] = field(default_factory=dict)
    uses: dict[str, int] = field(default_factory=dict)
    true_facts: tuple[int, int] = (0, 0)  # its reserve and its index, before anybody changed them

    def __post_init__(self) -> None:
        self.true_facts = self.reserve, self.index

    def live_on(self, rng: Random, jobs: Mapping[str, Job]) -> None:
        """Let the leases and the foreign processes use what they will."""
        for job in jobs.values():
            if self.uuid in job.devices:
                self._use(rng, job)
        for gone in sorted(self.uses.keys() - {job.id for job in jobs.values() if self.uuid in job.devices}):
            if rng.random() < 0.5:
                del self.uses[gone]
        if self.honest:
            return
        if rng.random() < 0.15:
            self.foreign[rng.randint(9000, 9002)] = rng.choice((0, 1, 3, 10)) * GIB
        if rng.random() < 0.15:
            self.foreign.clear()

    def _use(self, rng: Random, job: Job) -> None:
        draw = rng.random()
        if job.state in ("parked", "resting"):  # what it keeps is seldom more than it says
            if draw < 0.7:
                self.uses[job.id] = int((job.residue or 0) * rng.choice((1, 1, 1, 1 if self.honest else 1.5)))
            elif draw < 0.8:
                self.uses[job.id] = self.uses.get(job.id, 0) // 2
        elif job.state != "closing":
            if draw < 0.6:
                promised = job.slot.need_bytes if job.state == "loading" else job.slot.size_bytes
                self.uses[job.id] = int(promised * rng.choice((0, 0.5, 1, 1, 1, 1, 1 if self.honest else 1.1)))
        elif draw < 0.6:
            self.uses.pop(job.id, None)
        elif draw < 0.8:
            self.uses[job.id] = self.uses.get(job.id, 0) // 2

    def come_to_rest(self, jobs: Mapping[str, Job]) -> None:
        """Use exactly what was promised, give back what is due back, and let nobody else use anything."""
        self.reserve, self.index = self.true_facts
        self.honest = True
        self.foreign.clear()
        on_it = [job for job in jobs.values() if self.uuid in job.devices and job.state != "closing"]
        self.uses = {job.id: job.promised for job in on_it}

    def seen(self, rng: Random, jobs: Mapping[str, Job]) -> DeviceReport:
        """What an observer says of it now; now and then he comes late, or sees nothing."""
        report = self.truth(rng, jobs)
        fails, mute = rng.random() < 0.04, rng.random() < 0.02
        return msgspec.structs.replace(
            report,
            used_bytes=None if mute or fails else report.used_bytes,
            free_bytes=None if mute or fails else report.free_bytes,
            age_s=rng.choice((0.0, 0.0, 0.0, 0.0, 0.05, 1.0, 4.0) if rng.random() < 0.95 else (6.0,)),
            error="the driver is gone" if fails else None,
        )

    def truth(self, rng: Random, jobs: Mapping[str, Job]) -> DeviceReport:
        """What a good observer says of it now."""
        free = max(0, self.total - self.kept - sum(self.foreign.values()) - sum(self.uses.values()))
        return DeviceReport(
            uuid=self.uuid,
            name=self.name,
            index=self.index,
            total_bytes=self.total,
            reserve_bytes=self.reserve,
            has_driver=self.driver,
            capabilities=self.capabilities,
            used_bytes=self.total - self.kept - free,
            free_bytes=free,
            processes=self._processes(rng, jobs),
        )

    def _processes(self, rng: Random, jobs: Mapping[str, Job]) -> tuple[Process, ...]:
        if self.names == "nothing":
            return ()
        used = dict(self.foreign)
        for lease_id, size in self.uses.items():
            job = jobs.get(lease_id)
            pid = job.pids[0][0] if job and job.pids else pid_of(lease_id)
            used[pid] = used.get(pid, 0) + size
        ancestors = ((1001, 1),) if rng.random() < 0.1 and not self.honest else ()
        return tuple(
            Process(
                pid=pid,
                pid_start=None if self.honest else 1,
                used_bytes=size if self.names == "bytes" else None,
                ancestors=ancestors,
            )
            for pid, size in used.items()
        )


def draw_cards(rng: Random) -> list[Card]:
    """Draw one to four cards on one to three hosts."""
    hosts = [f"h{i}" for i in range(rng.choice((1, 1, 2, 2, 3)))]
    cards: list[Card] = []
    for i in range(rng.randint(1, 4)):
        name, total, capabilities = rng.choice(KINDS[: rng.choice((1, 4))])
        host = rng.choice(hosts)
        driver = rng.random() < 0.7
        card = Card(
            uuid=f"d{i}",
            host=host,
            index=sum(card.host == host for card in cards),
            name=name,
            total=total * GIB,
            reserve=rng.choice((0, 0, GIB // 2, 2 * GIB)) if driver else 0,
            capabilities=capabilities,
            driver=driver,
            names=rng.choice(("bytes", "bytes", "pids", "nothing")),
            kept=rng.choice((0, GIB // 2)) if driver else 0,
        )
        cards.append(card)
    return cards


def pid_of(lease_id: str) -> int:
    """The process that uses a lease's memory, where its session has named none."""
    return 3000 + int(lease_id.rpartition("-")[2])


def report_of(rng: Random, host: str, cards: list[Card], jobs: Mapping[str, Job]) -> ReportDevices:
    """What a host's observer reports; now and then it is nonsense."""
    seen = tuple(card.seen(rng, jobs) for card in cards if card.host == host)
    if rng.random() < 0.03:
        seen = (*seen, msgspec.structs.replace(seen[0], uuid="d9", total_bytes=rng.choice((-1, GIB))))
    if rng.random() < 0.02:
        seen = tuple(msgspec.structs.replace(one, age_s=rng.choice((-1.0, float("nan")))) for one in seen)
    return ReportDevices(host_id=host, host_name=f"host-{host}", devices=seen)
