"""A made-up world around a ledger: hosts with cards, products that behave and misbehave, and drivers that tell of it.

All that happens is drawn from one random generator: the same seed gives the same history.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from tests.ledger.cards import GIB, draw_cards, pid_of, report_of
from tests.ledger.harness import Harness, Step
from tests.ledger.naive import HELD, Job

from cf_orch.ledger import Quota, Settings, TaskType
from cf_orch.ledger import commands as c

__all__ = ["World", "draw_settings"]

STEPS = 50
SERVICES = ("kiwi", "scribe", "paint")


def draw_settings(rng: Random) -> Settings:
    """Draw a policy: mostly the plain one, with short times so that they matter."""
    quotas = {}
    for service in SERVICES:
        if rng.random() < 0.3:
            quotas[service] = Quota(max_vram_bytes=rng.choice((12, 20, 30)) * GIB, max_priority=rng.choice((None, 30)))
    return Settings(
        ttl_s=rng.choice((6.0, 30.0, 30.0)),
        reclaim_timeout_s=rng.choice((3.0, 10.0)),
        load_timeout_s=rng.choice((2.0, 4.0, 300.0)),
        grace_s=rng.choice((1.0, 4.0, 30.0)),
        protect=rng.choice(("cascade", "cascade", "strict")),
        protected_priority=rng.choice((40, 40, 30)),
        idle_protect_s=rng.choice((0.2, 1.0, 2.0, 30.0)),
        min_residency_s=rng.choice((0.0, 1.0, 4.0, 10.0)),
        reconnect_s=rng.choice((1.0, 5.0)),
        remember_s=rng.choice((5.0, 600.0)),
        aging_s=rng.choice((None, None, 3.0)),
        max_queued_per_service=rng.choice((4, 10_000)),
        quotas=quotas,
        tasks={"llm": TaskType(vram_bytes=4 * GIB)},
    )


class World:
    """Draws one step after the other; looks at the oracle's model to aim well."""

    def __init__(self, rng: Random, harness: Harness) -> None:
        self.rng = rng
        self.harness = harness
        self.model = harness.oracle.model
        self.now = 100.0
        self.born = 0
        self.asked: list[c.Request] = []
        self.closed: list[str] = []
        self.steps, self.cards = STEPS, draw_cards(rng)
        self.crowded = rng.random() < 0.7  # few cards, large requests, and little else than evictions
        self.gangs = 0.0
        if self.crowded:
            self._crowd()
        self._acts, weights = zip(*self._deeds(), strict=True)
        self._weights = [weight * rng.choice((0.2, 1, 1, 3)) for weight in weights]  # every world has its own character
        self._blindness = rng.choice((0.0, 0.0, 0.1) if self.crowded else (0.0, 0.1, 0.4))
        self._silence = rng.choice((0.0, 0.0, 0.2) if self.crowded else (0.0, 0.2, 0.9))
        self._promptness = rng.choice((0.0, 0.3, 0.7))  # how soon holders answer who are asked to leave
        self._evictable = rng.choice((0.6, 0.8, 0.95) if self.crowded else (0.2, 0.6))
        self._residue = rng.choice((0.0, 0.3, 0.8))

    def _crowd(self) -> None:
        """Keep one or two cards, in half of the cases on one host, where gangs meet."""
        rng, self.steps = self.rng, 2 * STEPS
        self.cards = self.cards[:2]
        if len(self.cards) > 1 and rng.random() < 0.7:
            self.gangs = rng.choice((0.0, 0.3, 0.5))
            for index, card in enumerate(self.cards):
                card.host, card.index, card.true_facts = "h0", index, (card.reserve, index)

    def _deeds(self) -> list[tuple[Callable[[], Step | None], float]]:
        return [
            (self._ask, 22 if self.crowded else 30),
            (self._ask_again, 4),
            (self._ask_badly, 3),
            (self._release, 6 if self.crowded else 14),
            (self._say, 16 if self.crowded else 10),
            (self._use_less_or_more, 14 if self.crowded else 8),
            (self._answer, 8),
            (self._operate, 3),
            (self._look, 9 if self.crowded else 22),
            (self._open, 4),
            (self._beat, 6),
            (self._close, 0.3 if self.crowded else 1),
            (self._cut, 1 if self.crowded else 3),
            (self._cancel, 1 if self.crowded else 3),
            (self._drain, (3 if self.gangs else 1) if self.crowded else 2),
            (self._sync, 1 if self.crowded else 4),
            (self._restart, 1.5 if self.crowded else 2),
            (self._wait, 6),
            (self._snapshot, 4),
            (self._speak_nonsense, 2),
            (self._change_facts, 1),
        ]

    def begin(self) -> list[Step]:
        """Found the ledger; sometimes its devices are known from the start."""
        steps = [Step(at=self.now, command=c.Found(ledger_id="x"))]
        hosts = sorted({card.host for card in self.cards})
        if self.rng.random() < 0.9:
            steps += [self._report(host) for host in hosts]
        return steps + [self._open() for _ in range(self.rng.choice((0, 2, 3, 4)))]

    def next(self) -> Step:
        """Draw the next step; what is due is mostly done in time."""
        self.now += self.rng.choice((0.0, 0.01, 0.1, 0.5, 1.0, 2.0))
        due = self.harness.ledger.next_deadline()
        if due is not None and due <= self.now and self.rng.random() < 0.9:
            return Step(at=self.now, command=c.Tick())
        if self.rng.random() > self._blindness and (unseen := self._unseen_host()):
            return self._report(unseen)
        if self.rng.random() < self._promptness and (answer := self._answer()):
            return answer
        if self.rng.random() > self._silence and (silent := self._silent_session()):
            return self._step(c.RenewSession(session_id=silent))
        while True:
            step: Step | None = self.rng.choices(self._acts, self._weights)[0]()
            if step is not None:
                return step

    def _unseen_host(self) -> str | None:
        for dev in self.model.devices.values():
            if dev.driver and (
                dev.sample is None or self.now - dev.sample.taken_at > self.model.settings.stale_after_s
            ):
                return dev.host
        return None

    def _silent_session(self) -> str | None:
        return next((party.id for party in self.model.parties.values() if party.expires_at - self.now < 3.0), None)

    # --- picking

    def _job(self, *states: str) -> Job | None:
        jobs = [job for job in self.model.jobs.values() if not states or job.state in states]
        return self.rng.choice(jobs) if jobs else None

    def _of(self, job: Job, command: c.Command) -> Step:
        """A command about a lease, by its session, by the operator, or (rarely) by a stranger."""
        of = job.key if self.model.requests.get(job.key) == job.id else None
        return Step(at=self.now, command=command, of=of)

    def _by(self, job: Job) -> str | None:
        return self.rng.choice((job.session, job.session, None, "s1"))

    def _step(self, command: c.Command) -> Step:
        return Step(at=self.now, command=command)

    def _session(self) -> str | None:
        return self.rng.choice([*self.model.parties, None] if self.crowded else [*self.model.parties, None, None])

    # --- asking

    def _ask(self) -> Step:
        rng = self.rng
        self.born += 1
        session = self._session()
        party = self.model.parties.get(session or "")
        size = (
            rng.choice((6, 8, 8, 10, 10, 12, 16, 20, 23) if self.crowded else (1, 2, 4, 6, 8, 10, 12, 16, 20, 23.5))
            * GIB
        )
        request = c.Request(
            caller=session or "web",
            request_id=f"r{self.born}",
            service=party.service if party else rng.choice(SERVICES),
            size_bytes=int(size) if rng.random() < 0.95 else None,
            session_id=session,
            ttl_s=rng.choice((None, 3.0, 60.0, 60.0)) if session is None else None,
            task_type=rng.choice(("", "recipe_llm")) if size != 4 * GIB else "llm",
            priority=rng.choice((None, 0, 10, 20, 20, 30, 40)),
            peak_bytes=int(size + rng.choice((0, 2, 4)) * GIB) if rng.random() < (0.3 if self.gangs else 0.2) else None,
            max_wait_s=rng.choice((0.0, 0.5, 2.0, 10.0)) if rng.random() < 0.25 else None,
            residue_bytes=int(min(size, rng.choice((0, 0.5, 1, 3))) * GIB) if rng.random() < self._residue else None,
            evictable=rng.random() < self._evictable,
            **self._where(),
        )
        if request.size_bytes is None:
            request = msgspec.structs.replace(request, task_type="recipe_llm", peak_bytes=None, residue_bytes=None)
        self.asked.append(request)
        return self._step(request)

    def _where(self) -> dict[str, Any]:  # noqa: PLR0911 - one line a kind of constraint
        """Constraints: mostly none."""
        rng = self.rng
        draw = rng.random()
        if draw < (0.2 if self.crowded else 0.5):
            return {}
        if draw < 0.9 and self.crowded:
            return {"gpus": 2, "host": "any"} if rng.random() < self.gangs else {"host": "any"}
        if draw < 0.65:
            return {"host": rng.choice(("any", "any", "any", "h0", "host-h1", "h2"))}
        if draw < 0.75:
            card = rng.choice(self.cards)
            pin = rng.choice((card.uuid, card.name, str(card.index), card.name.removeprefix("NVIDIA GeForce ").lower()))
            return {"device": (pin,), "host": rng.choice((None, "any"))}
        if draw < 0.82:
            return {"requires": rng.choice((("bf16",), ("bf16", "fp8"), ("fp8",)))}
        gpus = rng.choice((2, 2, 3))
        if draw < 0.95:
            return {"gpus": gpus, "host": rng.choice((None, "any"))}
        pins = tuple(rng.choice((card.uuid, card.name)) for card in rng.choices(self.cards, k=gpus))
        return {"gpus": gpus, "device": pins, "host": "any"}

    def _ask_again(self) -> Step | None:
        """A retry, or the same id for something else."""
        if not self.asked:
            return None
        cut = {job.key for job in self.model.jobs.values() if job.cut_until is not None}
        missed = [request for request in self.asked if (request.caller, request.request_id) in cut]
        request = self.rng.choice(missed or self.asked[-6:])
        if self.rng.random() < 0.2:
            request = msgspec.structs.replace(request, size_bytes=GIB // 2, peak_bytes=None, residue_bytes=None)
        return self._step(request)

    def _ask_badly(self) -> Step:
        rng = self.rng
        self.born += 1
        good: dict[str, Any] = {
            "caller": "web",
            "request_id": f"bad{self.born}",
            "service": "kiwi",
            "size_bytes": 2 * GIB,
        }
        bad: dict[str, Any] = rng.choice(
            (
                {"size_bytes": 0},
                {"size_bytes": -GIB},
                {"size_bytes": 6000 * GIB},
                {"size_bytes": 500 * GIB},
                {"size_bytes": None},
                {"service": ""},
                {"priority": 101},
                {"gpus": 0},
                {"gpus": 5},
                {"gpus": 2, "device": ("d0",)},
                {"gpus": 2, "device": ("d0", "d0")},
                {"peak_bytes": GIB},
                {"residue_bytes": 3 * GIB},
                {"max_wait_s": -1.0},
                {"max_wait_s": float("nan")},
                {"max_wait_s": float("inf")},
                {"ttl_s": 0.5},
                {"ttl_s": float("nan")},
                {"session_id": "nobody"},
                {"device": ("no such card",)},
                {"host": "no such host"},
                {"requires": ("int2",)},
                {"size_bytes": 31 * GIB},
            )
        )
        return self._step(c.Request(**(good | bad)))

    def _cut(self) -> Step | None:
        job = self._job("queued") or self._job()
        return None if job is None else self._of(job, c.CutOff(lease_id=job.id))

    def _cancel(self) -> Step:
        """Cancel what was asked, or what will be asked next."""
        if self.asked and self.rng.random() < 0.7:
            request = self.rng.choice(self.asked[-8:])
            return self._step(c.CancelRequest(caller=request.caller, request_id=request.request_id))
        return self._step(c.CancelRequest(caller=self._session() or "web", request_id=f"r{self.born + 1}"))

    # --- holding

    def _release(self) -> Step | None:
        job = (
            self._job("active", "loading", "idle", "evicting", "parked", "resting")
            if self.rng.random() < 0.8
            else self._job()
        )
        return None if job is None else self._of(job, c.Release(lease_id=job.id, by=self._by(job)))

    def _say(self) -> Step | None:
        job = self._job("loading") or self._job("active", "idle") if self.rng.random() < 0.8 else self._job()
        if job is None:
            return None
        lease_id, by = job.id, self._by(job)
        right: Any = {"loading": c.MarkLoaded, "active": c.MarkIdle, "idle": c.MarkBusy}.get(job.state, c.RenewLease)
        kind = self.rng.choice((right, right, c.MarkLoaded, c.MarkIdle, c.MarkBusy, c.RenewLease))
        if self.rng.random() < 0.15:
            pid = self.rng.choice((pid_of(job.id), 7000, 0))
            return self._of(job, c.Attach(lease_id=lease_id, by=by, pid=pid, pid_start=self.rng.choice((None, 5))))
        return self._of(job, kind(lease_id=lease_id, by=by))

    def _use_less_or_more(self) -> Step | None:
        """A holder goes idle, or is busy again; also while it is asked to leave, and after it left."""
        job = self._job("active", "idle", "evicting", "resting") or self._job()
        if job is None:
            return None
        used = job.idle_since is None and job.rest != "idle"
        kind = c.MarkIdle if used else c.MarkBusy
        return self._of(job, kind(lease_id=job.id, by=self._by(job)))

    def _answer(self) -> Step | None:
        """A holder that is asked to leave has done so, or cannot; now and then one says so unasked."""
        rng = self.rng
        job = self._job("evicting") or (self._job() if rng.random() < 0.1 else None)
        if job is None:
            return None
        residue = rng.choice((None, None, 0, job.slot.size_bytes, int(0.5 * GIB)))
        if rng.random() < 0.03:
            residue = rng.choice((-1, job.slot.size_bytes + 1))
        error = rng.choice(("out of disk", "")) if rng.random() < 0.12 else None
        return self._of(job, c.Checkpointed(lease_id=job.id, by=self._by(job), residue_bytes=residue, error=error))

    def _operate(self) -> Step | None:
        """An operator evicts somebody, or lets one come back."""
        rng = self.rng
        resting = [job for job in self.model.jobs.values() if "operator" in (job.rest, job.evicted_for)]
        if resting and rng.random() < 0.5:
            job = rng.choice(resting)
            return self._of(job, c.Resume(lease_id=job.id))
        some = self._job("active", "idle", "evicting", "parked") if rng.random() < 0.8 else self._job()
        if some is None:
            return None
        kind = c.Evict if rng.random() < 0.85 else c.Resume
        return self._of(some, kind(lease_id=some.id))

    # --- sessions

    def _open(self) -> Step:
        rng = self.rng
        session_id = f"s{rng.randint(1, 4)}"
        command = c.OpenSession(
            session_id=session_id,
            service=rng.choice(SERVICES) if rng.random() < 0.2 else SERVICES[int(session_id[1:]) % 3],
            host_id=rng.choice((*(card.host for card in self.cards), None, "elsewhere")),
            pid=rng.choice((None, 1000 + int(session_id[1:]))),
            pid_start=rng.choice((None, 1)),
            ttl_s=60.0 if self.crowded else rng.choice((None, None, None, 60.0, 60.0, 2.0, 0.1)),
        )
        return self._step(command)

    def _beat(self) -> Step:
        return self._step(c.RenewSession(session_id=self._some_session()))

    def _close(self) -> Step:
        return self._step(c.CloseSession(session_id=self._some_session(), lost=self.rng.random() < 0.5))

    def _some_session(self) -> str:
        return self.rng.choice([*(list(self.model.parties) * 4), "s1"])

    def _sync(self) -> Step:
        """A session tells what it holds: some of what the ledger knows, some of what it does not."""
        rng = self.rng
        session = self._some_session()
        own = [job for job in self.model.jobs.values() if job.session == session]
        own += [job for job in self.model.ended.values() if job.session == session][-3:]
        named = [
            c.Holding(
                request_id=job.key[1],
                lease_id=rng.choice((job.id, None)),
                held=job.state in HELD or rng.random() < 0.2,
                parked=job.state == "evicting" and rng.random() < 0.5,
                residue_bytes=rng.choice((None, 0, GIB // 2, -1 if rng.random() < 0.1 else 0)),
                devices=job.devices or self._some_devices(),
                size_bytes=job.slot.size_bytes,
            )
            for job in own
            if rng.random() < (0.8 if job.state != "ended" else 0.3) and self.model.requests.get(job.key) == job.id
        ]
        while rng.random() < 0.4:
            named.append(self._unknown_holding(bad=rng.random() < 0.1))
            if rng.random() < 0.05:
                named.append(msgspec.structs.replace(named[-1], lease_id=None))
        return self._step(c.Sync(session_id=session, holdings=tuple(named)))

    def _unknown_holding(self, *, bad: bool) -> c.Holding:
        rng = self.rng
        self.born += 1
        return c.Holding(
            request_id=rng.choice((f"r{self.born}", f"r{rng.randint(1, self.born)}")),
            lease_id=rng.choice((None, "x-1", "x-99999")),
            held=rng.random() < 0.8,
            service=rng.choice(("", "kiwi")),
            devices=rng.choice(((), ("nowhere",), ("d0", "d0"), ("d0",))) if bad else self._some_devices(),
            size_bytes=rng.choice((0, 4) if bad else (4, 16)) * GIB,
            priority=rng.choice((999, None) if bad else (None, None, 40)),
            evictable=rng.random() < self._evictable,
            residue_bytes=rng.choice((None, 0, GIB)),
        )

    def _some_devices(self) -> tuple[str, ...]:
        return tuple(
            self.rng.sample([card.uuid for card in self.cards], k=min(len(self.cards), self.rng.choice((1, 1, 2))))
        )

    # --- observing

    def _look(self) -> Step:
        """An observer reports; cards and products have done something meanwhile."""
        for card in self.cards:
            card.live_on(self.rng, self.model.jobs)
        return self._report(self.rng.choice(self.cards).host)

    def _report(self, host: str) -> Step:
        return self._step(report_of(self.rng, host, self.cards, self.model.jobs))

    def _change_facts(self) -> Step:
        card = self.rng.choice(self.cards)
        if card.driver:
            card.reserve = self.rng.choice((0, GIB, 4 * GIB))
        card.index = self.rng.randint(0, 3)
        return self._report(card.host)

    # --- the operator, and time

    def _drain(self) -> Step:
        uuid = self.rng.choice([*(card.uuid for card in self.cards), "d9"])
        if uuid not in self.model.devices or not self.model.devices[uuid].draining:
            for_s = self.rng.choice((None, 1.0, 5.0, 5.0, 0.0 if self.rng.random() < 0.5 else float("nan")))
            return self._step(c.Drain(uuid=uuid, for_s=for_s, evict=self.rng.random() < 0.5))
        return self._step(c.Undrain(uuid=uuid))

    def _wait(self) -> Step:
        """Time passes: to the next thing that is due, or far beyond it."""
        due = self.harness.ledger.next_deadline()
        if due is not None and self.rng.random() < 0.7:
            self.now = max(self.now, due)
        else:
            self.now += self.rng.choice((2.0, 4.0, 8.0) if self.crowded else (3.0, 3.0, 20.0, 100.0))
        return self._step(c.Tick())

    def _restart(self) -> Step:
        self.now += self.rng.choice((0.0, 1.0, 5.0) if self.crowded else (0.0, 1.0, 5.0, 100.0))
        how = self.rng.choice(("", "replay", "snapshot", "snapshot"))
        return Step(at=self.now, command=c.Restart(), reborn=how)

    def _snapshot(self) -> None:
        self.harness.take_snapshot()

    def _speak_nonsense(self) -> Step:
        """Commands about what is not there, or no longer."""
        rng = self.rng
        lease_id = rng.choice([*self.model.ended, "x-1", "x-99999", "y-1", "x-", "nobody"])
        kind = rng.choice(
            (c.Release, c.RenewLease, c.MarkLoaded, c.MarkIdle, c.MarkBusy, c.CutOff, c.Checkpointed, c.Evict, c.Resume)
        )
        return self._step(kind(lease_id=lease_id))
