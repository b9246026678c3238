"""What was begun ends: ``python tests/ledger/liveness.py --histories 20000 --seed 1 --jobs 2``.

Each history first lives through a random world, good holders and bad.  Then all become *cooperative*: nobody asks for
anything new, cards show the truth, holders that are asked to leave do so, say when they are loaded, work for a while
and release.  From there everything must end (L1), and nobody may be sent to and fro for ever (S8).
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.ledger.broken import broken
from tests.ledger.cards import GIB
from tests.ledger.harness import Harness, Step
from tests.ledger.histories import Failure, drive, in_time, named
from tests.ledger.naive import HELD, Job
from tests.ledger.world import World, draw_settings

from cf_orch.ledger import commands as c

__all__ = ["Calm", "live_out", "main"]

LONGEST_S = 10.0
STEP_S = 0.5
SOON_S = 1.5
MOST_ROUNDS = 1500


class Calm:
    """A world come to rest: what each holder has still to do, and what is done in each round."""

    def __init__(self, world: World, steps: list[Step]) -> None:
        self.world, self.steps = world, steps
        self.rng, self.harness, self.model = world.rng, world.harness, world.model
        self.now = world.now
        self.work_left_s = {key: self.rng.choice((0.5, 2.0, 6.0)) for key in sorted(self.model.jobs)}
        self.slowness = self.rng.choice((0.0, 0.3, 0.8))

    def live_out(self) -> None:
        """Go round until all has ended."""
        self._let_all_go_on()
        self._crowd_in()
        live, parked = len(self.model.jobs), self.harness.noted["Parked"]
        late = self.harness.noted["EvictionOverdue"]
        for _ in range(MOST_ROUNDS):
            if not self.model.jobs:
                break
            self._round()
        if self.model.jobs:
            broken("L1", f"these live still after {MOST_ROUNDS * STEP_S:g} s: {list(self.model.jobs.values())}")
        times = self.harness.noted["Parked"] - parked
        self.harness.noted["parked when all cooperate"] += times
        late = self.harness.noted["EvictionOverdue"] - late  # who is late has left in vain, and is asked again
        if times > live * (live + 1) // 2 + late:
            broken("S8", f"{live} leases gave their memory up {times} times")

    def _do(self, command: c.Command) -> None:
        lease_id = getattr(command, "lease_id", None)
        job = self.model.jobs.get(lease_id or "")
        self.steps.append(Step(at=self.now, command=command, of=None if job is None else job.key))
        self.harness.do(self.steps[-1])

    def _let_all_go_on(self) -> None:
        """No more drains, no operator who keeps anybody out, no lies."""
        for dev in [dev for dev in self.model.devices.values() if dev.draining]:
            self._do(c.Undrain(uuid=dev.uuid))
        for job in [job for job in self.model.jobs.values() if "operator" in (job.rest, job.evicted_for)]:
            if job.state != "closing":
                self._do(c.Resume(lease_id=job.id))
        self._look()

    def _crowd_in(self) -> None:
        """The last demand: many ask at once, and some that hold go idle."""
        rng, sizes = self.rng, (4, 6, 8, 10, 12, 16, 20, 48)
        for session in ("z1", "z2"):
            self._do(c.OpenSession(session_id=session, service=rng.choice(("kiwi", "scribe")), ttl_s=60.0))
        for number in range(rng.choice((0, 3, 6, 9))):
            self._do(self._request(number, rng.choice(("z1", "z2")), rng.choice(sizes)))
            self.work_left_s[f"x-{self.harness.ledger.seq}"] = rng.choice((0.5, 2.0, 6.0))
            for job in self._live():
                if job.state == "active" and rng.random() < 0.15:
                    self._do(c.MarkIdle(lease_id=job.id))
            if rng.random() < 0.3:
                self.now += STEP_S
                self._do(c.Tick())
                self._look()

    def _request(self, number: int, session: str, gb: int) -> c.Request:
        rng = self.rng
        largest = max((dev.total - dev.reserve for dev in self.model.devices.values()), default=0)
        return c.Request(
            caller=session,
            request_id=f"last{number}",
            service=self.model.parties[session].service,
            session_id=session,
            size_bytes=max(GIB // 2, min(gb * GIB, largest) - GIB // 4),
            priority=rng.choice((0, 10, 20, 20, 30)),
            residue_bytes=rng.choice((None, None, 0, GIB // 2)),
            evictable=rng.random() < 0.8,
            gpus=rng.choice((1, 1, 1, 1, 2)),
            host="any",
        )

    def _round(self) -> None:
        self.now += STEP_S
        for party in list(self.model.parties.values()):
            if party.expires_at < self.now + SOON_S:
                self._do(c.RenewSession(session_id=party.id))
        for job in self._live():
            if job.session is None and job.expires_at is not None and job.expires_at < self.now + SOON_S:
                self._do(c.RenewLease(lease_id=job.id))
        self._do(c.Tick())
        for job in self._live():
            if self.rng.random() >= self.slowness and job.id in self.model.jobs:
                self._act(job)
        self._look()

    def _live(self) -> list[Job]:
        return [job for job in self.model.jobs.values() if job.state != "closing"]

    def _look(self) -> None:
        cards = self.world.cards
        for card in cards:
            card.come_to_rest(self.model.jobs)
        for host in sorted({card.host for card in cards}):
            seen = tuple(card.truth(self.rng, self.model.jobs) for card in cards if card.host == host)
            self._do(c.ReportDevices(host_id=host, host_name=f"host-{host}", devices=seen))
        for dev in [dev for dev in self.model.devices.values() if dev.uuid not in {card.uuid for card in cards}]:
            used = sum(job.promised for job in self.model.on(dev.uuid))
            seen_of_it = c.DeviceReport(
                uuid=dev.uuid,
                name=dev.name,
                index=dev.index,
                total_bytes=dev.total,
                has_driver=dev.driver,
                capabilities=tuple(dev.capabilities),
                used_bytes=used,
                free_bytes=max(0, dev.total - used),
            )
            self._do(c.ReportDevices(host_id=dev.host, host_name=dev.host_name, devices=(seen_of_it,)))

    def _act(self, job: Job) -> None:
        """A holder does what is next for it."""
        lease_id = job.id
        match job.state:
            case "evicting":
                residue = self.rng.choice((None, None, job.residue, min(job.slot.size_bytes, GIB // 2)))
                self._do(c.Checkpointed(lease_id=lease_id, residue_bytes=residue))
            case "loading":
                self._do(c.MarkLoaded(lease_id=lease_id))
            case "idle":
                self._do(c.MarkBusy(lease_id=lease_id))
            case "resting":
                self._do(c.MarkBusy(lease_id=lease_id) if job.rest == "idle" else c.Resume(lease_id=lease_id))
            case "active":
                self._work(job)
            case _ if self._never(job):
                self._do(c.Release(lease_id=lease_id))

    def _work(self, job: Job) -> None:
        self.work_left_s[job.id] = self.work_left_s.get(job.id, 1.0) - STEP_S
        if self.work_left_s[job.id] <= 0:
            self._do(c.Release(lease_id=job.id))

    def _never(self, job: Job) -> bool:
        """Tell whether a waiter gives up: it was possible once, but is larger than anything that is left."""
        need = job.slot.need_bytes
        cards = {card.uuid: card.total - card.reserve - card.kept for card in self.world.cards}
        limit = self.model.settings.quota(job.slot.service).max_vram_bytes
        if job.devices:  # adopted beyond the total, or beyond the quota
            too_large = any(need > cards.get(uuid, need) for uuid in job.devices)
            return too_large or (limit is not None and job.full > limit)
        nobody_holds = not any(other.state in HELD or other.devices for other in self.model.jobs.values())
        return nobody_holds and not any(all(need <= cards.get(x, 0) for x in way) for way in self.model.ways_of(job))


def live_out(seed: int) -> Failure | Counter[str]:
    """Live through a world, and on until all has ended; returns how often each thing happened, or what broke."""
    rng = Random(seed)
    settings = draw_settings(rng)
    harness = Harness(settings)
    world = World(rng, harness)
    steps = world.begin()
    try:
        with in_time(LONGEST_S):
            for step in steps:
                harness.do(step)
            for _ in range(rng.randint(5, world.steps // 2)):
                steps.append(world.next())
                harness.do(steps[-1])
            Calm(world, steps).live_out()
    except Exception as wrong:  # noqa: BLE001 - whatever the ledger throws is a finding
        return Failure(seed, named(wrong), settings, steps)
    return harness.noted


def main(arguments: Sequence[str] | None = None) -> int:
    """Run histories until one fails or all have ended."""
    return drive(live_out, arguments, str(__doc__))


if __name__ == "__main__":
    sys.exit(main())
