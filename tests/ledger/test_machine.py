"""The same commands and the same oracle, drawn and shrunk by Hypothesis."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.ledger.harness import Harness, Step
from tests.ledger.naive import HELD, Job

from cf_orch.ledger import Process, Quota, Settings
from cf_orch.ledger import commands as c

GIB = 2**30
SERVICES = st.sampled_from(["kiwi", "scribe"])
SESSIONS = st.sampled_from(["s1", "s2", "s3"])
UUIDS = ["d0", "d1", "d2"]


class LedgerMachine(RuleBasedStateMachine):
    """Two hosts with three cards; whatever is said to the ledger, the oracle finds no fault."""

    @initialize(
        aging_s=st.sampled_from([None, 3.0]),
        quota=st.sampled_from([None, 12 * GIB, 20 * GIB]),
        drivers=st.lists(st.booleans(), min_size=3, max_size=3),
    )
    def found(self, aging_s: float | None, quota: int | None, drivers: list[bool]) -> None:
        """Begin a ledger with three cards, of which some have drivers."""
        policy = Settings(
            aging_s=aging_s,
            quotas={"kiwi": Quota(max_vram_bytes=quota)},
            load_timeout_s=4.0,
            remember_s=20.0,
            grace_s=3.0,
            idle_protect_s=1.0,
            min_residency_s=1.0,
        )
        self.harness = Harness(policy)
        self.model = self.harness.oracle.model
        self.now = 0.0
        self.asked: list[c.Request] = []
        self.drivers = dict(zip(UUIDS, drivers, strict=True))
        self.do(c.Found(ledger_id="x"))
        for uuid in UUIDS:
            self.look(uuid, 0.0, 0, 1.0, fails=False)

    def do(self, command: c.Command, reborn: str = "") -> None:
        """Hand a command over, under the oracle's eyes."""
        self.harness.do(Step(at=self.now, command=command, reborn=reborn))

    def pick(self, data: st.DataObject) -> Job:
        """Choose one of the live leases."""
        return self.model.jobs[data.draw(st.sampled_from(sorted(self.model.jobs)), label="lease")]

    def some_jobs(self) -> bool:
        """Tell whether there is a live lease."""
        return bool(self.model.jobs)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 10.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass; the timer rings when it is due."""
        until = self.now + seconds
        while (due := self.harness.ledger.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.do(c.Tick())
        self.now = until

    @rule(session=SESSIONS, host=st.sampled_from(["h0", "h1", None]), ttl_s=st.sampled_from([None, 2.0]))
    def open(self, session: str, host: str | None, ttl_s: float | None) -> None:
        """A process registers, or registers again."""
        self.do(c.OpenSession(session_id=session, service="kiwi", host_id=host, pid=1000, pid_start=1, ttl_s=ttl_s))

    @rule(session=SESSIONS, lost=st.booleans())
    def close(self, session: str, lost: bool) -> None:  # noqa: FBT001 - drawn by name
        """A process goes."""
        self.do(c.CloseSession(session_id=session, lost=lost))

    @rule(
        session=st.sampled_from([None, "s1", "s2", "s3"]),
        service=SERVICES,
        size=st.sampled_from([0, 2, 8, 12, 16, 24, 100]),
        peak=st.sampled_from([None, None, None, 2, 20]),
        priority=st.sampled_from([None, 0, 20, 40]),
        gpus=st.sampled_from([1, 1, 1, 2, 3]),
        pins=st.sampled_from([(), (), ("d0",), ("RTX 4090",), ("0", "1")]),
        host=st.sampled_from([None, "any", "host-h1"]),
        max_wait_s=st.sampled_from([None, None, 2.0, -1.0]),
        evictable=st.booleans(),
    )
    def ask(self, session: str | None, size: int, peak: int | None, pins: tuple[str, ...], **fields: Any) -> None:
        """Somebody asks for memory."""
        request = c.Request(
            caller=session or "web",
            request_id=f"r{len(self.asked)}",
            size_bytes=size * GIB,
            peak_bytes=None if peak is None else peak * GIB,
            session_id=session,
            device=pins,
            **fields,
        )
        self.asked.append(request)
        self.do(request)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        """A caller that heard no answer tries again."""
        self.do(data.draw(st.sampled_from(self.asked), label="request"))

    @rule(ahead=st.integers(-3, 1))
    def cancel(self, ahead: int) -> None:
        """A caller cancels what it asked for, or will ask for next."""
        self.do(c.CancelRequest(caller="web", request_id=f"r{max(0, len(self.asked) + ahead)}"))

    @precondition(some_jobs)
    @rule(data=st.data(), by_operator=st.booleans())
    def release(self, data: st.DataObject, by_operator: bool) -> None:  # noqa: FBT001 - drawn by name
        """A lease is given back."""
        job = self.pick(data)
        self.do(c.Release(lease_id=job.id, by=None if by_operator else job.session))

    @precondition(some_jobs)
    @rule(data=st.data(), kind=st.sampled_from([c.MarkLoaded, c.MarkIdle, c.MarkBusy, c.RenewLease]))
    def say(self, data: st.DataObject, kind: Any) -> None:
        """A holder says what it does."""
        self.do(kind(lease_id=self.pick(data).id))

    @precondition(some_jobs)
    @rule(data=st.data(), residue=st.sampled_from([None, 0, GIB]), fails=st.booleans())
    def answer(self, data: st.DataObject, residue: int | None, fails: bool) -> None:  # noqa: FBT001 - drawn by name
        """A holder that was asked to leave has left, or cannot."""
        asked = [job for job in self.model.jobs.values() if job.state == "evicting"]
        job = data.draw(st.sampled_from(asked), label="asked") if asked else self.pick(data)
        error = "out of disk" if fails else None
        self.do(c.Checkpointed(lease_id=job.id, by=job.session, residue_bytes=residue, error=error))

    @precondition(some_jobs)
    @rule(data=st.data(), back=st.booleans())
    def operate(self, data: st.DataObject, back: bool) -> None:  # noqa: FBT001 - drawn by name
        """An operator evicts, or lets come back."""
        lease_id = self.pick(data).id
        self.do(c.Resume(lease_id=lease_id) if back else c.Evict(lease_id=lease_id))

    @precondition(some_jobs)
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        """A waiter's connection breaks."""
        self.do(c.CutOff(lease_id=self.pick(data).id))

    @rule(
        uuid=st.sampled_from(UUIDS),
        age_s=st.sampled_from([0.0, 0.0, 2.0]),
        foreign=st.sampled_from([0, 0, 4]),
        share=st.sampled_from([0.0, 0.5, 1.0, 1.1]),
        fails=st.sampled_from([False, False, False, True]),
    )
    def look(self, uuid: str, age_s: float, foreign: int, share: float, fails: bool) -> None:  # noqa: FBT001
        """An observer looks at a card: a foreign process, and a share of what its leases were promised."""
        jobs = self.model.on(uuid)
        mine = int(sum(job.promised for job in jobs) * share)
        used = min(24 * GIB, foreign * GIB + mine)
        seen = c.DeviceReport(
            uuid=uuid,
            name="NVIDIA GeForce RTX 4090",
            index=int(uuid[1]),
            total_bytes=24 * GIB,
            reserve_bytes=GIB // 2 if self.drivers[uuid] else 0,
            has_driver=self.drivers[uuid],
            used_bytes=used,
            free_bytes=24 * GIB - used,
            processes=(Process(pid=1000, pid_start=1, used_bytes=mine),) if share != 0.5 else (),
            age_s=age_s,
            error="no driver" if fails else None,
        )
        host = "h0" if uuid != "d2" else "h1"
        self.do(c.ReportDevices(host_id=host, host_name=f"host-{host}", devices=(seen,)))

    @rule(uuid=st.sampled_from(UUIDS), for_s=st.sampled_from([None, 3.0]), evict=st.booleans())
    def drain(self, uuid: str, for_s: float | None, evict: bool) -> None:  # noqa: FBT001 - drawn by name
        """An operator drains a card, or lets it grant again."""
        draining = self.model.devices[uuid].draining
        self.do(c.Undrain(uuid=uuid) if draining else c.Drain(uuid=uuid, for_s=for_s, evict=evict))

    @rule(session=SESSIONS, data=st.data(), adopts=st.booleans())
    def sync(self, session: str, data: st.DataObject, adopts: bool) -> None:  # noqa: FBT001 - drawn by name
        """A session says after a reconnect what it holds."""
        own = [job for job in self.model.jobs.values() if job.session == session]
        named = [
            c.Holding(
                request_id=job.key[1],
                held=job.state in HELD,
                parked=job.state == "evicting" and data.draw(st.booleans(), label="parked"),
                devices=job.devices,
                size_bytes=GIB,
            )
            for job in own
            if data.draw(st.booleans(), label=f"names {job.id}")
        ]
        if adopts:
            named.append(c.Holding(request_id=f"local{self.now}", devices=("d0",), size_bytes=8 * GIB))
        self.do(c.Sync(session_id=session, holdings=tuple(named)))

    @rule(reborn=st.sampled_from(["", "replay", "snapshot"]))
    def restart(self, reborn: str) -> None:
        """The coordinator starts anew, or wakes."""
        self.do(c.Restart(), reborn)

    @rule()
    def keep(self) -> None:
        """A snapshot is taken."""
        self.harness.take_snapshot()

    @invariant()
    def explains(self) -> None:
        """Every waiter can be told why it waits, and where it stands."""
        ledger = self.harness.ledger
        for position, job in enumerate(self.model.queue()):
            lease = ledger.leases[job.id]
            assert ledger.position(lease) == position
            why = ledger.waiting_for(lease, self.now)
            assert why is not None
            assert why.rule != "memory" or why.needs_bytes > why.free_bytes or job.cut_until is not None, why

    def teardown(self) -> None:
        """In the end the journal gives all of it again."""
        if hasattr(self, "harness"):
            self.harness.finish()


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=400,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
