"""A second opinion on the ledger: it follows the events, and holds each against the rules, which it names.

``follow`` is told each command with its time and what came of it, and then looks at the ledger beside its own model.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tests.ledger.aftermath import after, agree, before, emptied, looks_again, timers_set
from tests.ledger.broken import broken
from tests.ledger.follower import STEPS
from tests.ledger.naive import HELD, WAITING, Dev, Job, Party, share_out
from tests.ledger.naive_walk import Line, next_todo, victim_of
from tests.ledger.oracle_evictions import EvictionFollower
from tests.ledger.reasons import reasons

from cf_orch.ledger import Ledger
from cf_orch.ledger import commands as c
from cf_orch.ledger import events as e

__all__ = ["Oracle"]


class Oracle(EvictionFollower):
    """Follows one ledger from its founding on, through restarts too."""

    def follow(self, command: c.Command, now: float, events: Sequence[e.Event], ledger: Ledger) -> None:
        """Hold what came of a command against the rules, then the ledger against what must be."""
        self.command, self.model.now = command, now
        known = before(self.model, command)
        for event in events:
            if event.durable:
                self.seq += 1
            _FOLLOW[type(event)](self, event)
            self.noted[type(event).__name__] += 1
        after(self.model, command, known)
        agree(self.model, ledger, self.seq)
        emptied(self.model)
        timers_set(self.model, ledger)
        todo = next_todo(self.model)
        if todo is not None:
            broken("L2", f"{todo}, and was not")
        self._evictions_settled()
        looks_again(self.model, ledger)

    def refused(self, command: c.Command, now: float, code: str) -> None:
        """Hold a refusal against what could have caused it."""
        self.model.now = now
        if code not in (why := reasons(self.model, command)):
            broken("R11", f"{command} was refused as {code}, reasons are {sorted(why)}")

    def reborn(self, ledger: Ledger) -> None:
        """A new process folded the journal; all that is volatile is gone, and what was forgotten may be back."""
        model = self.model
        missing = model.ended.keys() - ledger.ended.keys()
        if missing:
            broken("R10", f"{sorted(missing)} cannot be read after a restart")
        model.ended = {key: self.past[key] for key in sorted(ledger.ended, key=_number)}
        alive = [*model.ended.values(), *sorted(model.jobs.values(), key=lambda job: job.place)]
        model.requests = {job.key: job.id for job in sorted(alive, key=lambda job: job.place)}
        if not model.noted.keys() <= set(ledger._books.cancelled):
            broken("R10", "a cancelled request id is forgotten after a restart")
        model.noted = dict.fromkeys(ledger._books.cancelled, 0.0)
        for dev in model.devices.values():
            dev.floor, dev.foreign = None, ledger.devices[dev.uuid].foreign_bytes
        for job in model.jobs.values():
            lease = ledger.leases[job.id]
            if lease.checkpoint_s or lease.restore_s:
                broken("S16", f"{job.id} remembers {lease.checkpoint_s} s of another clock")
            job.checkpoint_s, job.restore_s = lease.checkpoint_s, lease.restore_s
            charges = lease.charges
            for uuid, charge in job.charge.items():
                shown_back = job.least.get(uuid, charge)
                if charges.get(uuid, 0) < max(job.promised, min(shown_back, job.slot.size_bytes)):
                    broken("R5", f"{job.id} is charged {charges.get(uuid)} on {uuid} after a restart, and was {charge}")
            job.charge, job.seen = dict(charges), dict.fromkeys(charges, 0)

    # --- events

    def _founded(self, event: e.Founded) -> None:
        self.name = event.ledger_id

    def _restarted(self, _: e.Restarted) -> None:
        model, now = self.model, self.now
        for party in model.parties.values():
            party.may_adopt, party.expires_at = True, now + party.ttl_s * self.settings.grace_factor
        for dev in model.devices.values():
            dev.sample, dev.vouched = None, False
            dev.drain_until = None if dev.drain_for is None else now + dev.drain_for
        for job in model.jobs.values():
            job.changed_at, job.cut_until = now, None
            job.loaded_since, job.asked_at, job.idle_since, job.held_at = now, now, None, None
            job.state = "active" if job.state == "idle" else job.state
            self._arm(job)
        for job in model.ended.values():
            job.forget_at = now + self.settings.remember_s
        model.noted = dict.fromkeys(model.noted, now + self.settings.remember_s)

    def _session_opened(self, event: e.SessionOpened) -> None:
        if event.session_id in self.model.parties:
            broken("R7", f"session {event.session_id} was opened twice")
        pid = None if event.pid is None else (event.pid, event.pid_start)
        expires_at = self.now + event.ttl_s * self.settings.grace_factor
        party = Party(event.session_id, event.service, event.host_id, pid, event.ttl_s, expires_at)
        self.model.parties[party.id] = party

    def _session_renewed(self, event: e.SessionRenewed) -> None:
        party = self.model.parties[event.session_id]
        party.expires_at = self.now + party.ttl_s * self.settings.grace_factor
        if event.reopened != isinstance(self.command, c.OpenSession):
            broken("S19", f"{party.id} was renewed by {self.command}, and reopened is {event.reopened}")
        party.may_adopt = party.may_adopt or event.reopened

    def _session_ended(self, event: e.SessionEnded) -> None:
        party = self.model.parties.pop(event.session_id)
        if event.outcome == "expired" and party.expires_at > self.now:
            broken("R7", f"session {party.id} expired {party.expires_at - self.now:g} s before its full grace")
        left = [job.id for job in self.model.jobs.values() if job.session == party.id and job.state != "closing"]
        if left:
            broken("R7", f"session {party.id} ended and left {left}")

    def _synced(self, event: e.Synced) -> None:
        self.model.parties[event.session_id].may_adopt = False

    def _device_seen(self, event: e.DeviceSeen) -> None:
        known = self.model.devices.get(event.uuid)
        dev = known or Dev(event.uuid, "", "", "", 0, 0, 0, driver=True, capabilities=frozenset())
        dev.name, dev.host, dev.host_name, dev.index = event.name, event.host_id, event.host_name, event.index
        dev.total, dev.reserve, dev.driver = event.total_bytes, event.reserve_bytes, event.has_driver
        dev.capabilities, dev.vouched = frozenset(event.capabilities), True
        self.model.devices[dev.uuid] = dev
        self.model.facts_changed()

    def _vouched(self, event: e.Vouched) -> None:
        self.model.devices[event.uuid].vouched = True

    def _drain_begun(self, event: e.DrainBegun) -> None:
        dev = self.model.devices[event.uuid]
        dev.draining, dev.drain_for, dev.empties = True, event.for_s, event.evict
        dev.drain_until = None if event.for_s is None else self.now + event.for_s

    def _drain_ended(self, event: e.DrainEnded) -> None:
        dev = self.model.devices[event.uuid]
        due = dev.drain_until is not None and dev.drain_until <= self.now
        if not due and not isinstance(self.command, c.Undrain):
            broken("R4", f"the drain of {dev.uuid} ended by itself")
        dev.draining, dev.drain_for, dev.drain_until, dev.empties = False, None, None, False

    def _sampled(self, event: e.Sampled) -> None:
        dev, sample = self.model.devices[event.uuid], event.sample
        if dev.sample is not None and sample.taken_at < dev.sample.taken_at:
            broken("R4", f"an older sample of {dev.uuid} took the place of a newer one")
        dev.sample = sample
        if sample.error is not None:
            return
        jobs = self.model.on(dev.uuid)
        seen, dev.foreign, dev.floor = share_out(dev, sample, jobs)
        for job in jobs:
            job.seen[dev.uuid] = seen[job.id]
            due = max(job.promised, seen[job.id])
            early = sample.taken_at <= job.changed_at
            job.charge[dev.uuid] = max(due, job.charge[dev.uuid]) if early else due
            if job.leaving:
                job.least[dev.uuid] = min(due, job.least.get(dev.uuid, due))

    def _requested(self, event: e.Requested) -> None:
        key = (event.caller, event.request_id)
        if event.place != self.seq or event.lease_id != f"{self.name}-{event.place}":
            broken("R8", f"{event.lease_id} was numbered {event.place} at {self.seq}")
        if key in self.model.requests:
            broken("R10", f"{key} stands for {self.model.requests[key]} already, and got {event.lease_id} too")
        job = Job(
            id=event.lease_id, slot=event.slot, key=key, session=event.session_id, host=event.host_id,
            ttl_s=event.ttl_s, place=event.place, klass=event.slot.priority,
        )  # fmt: skip
        self._register(job)

    def _register(self, job: Job) -> None:
        if job.session is not None and (pid := self.model.parties[job.session].pid):
            job.pids.append(pid)
        self.model.jobs[job.id] = job
        self.model.requests[job.key] = job.id
        self.model.noted.pop(job.key, None)
        self._arm(job)

    def _granted(self, event: e.Granted) -> None:
        job = self.model.jobs.get(event.lease_id)
        if job is None or job.state not in WAITING or job.cut_until is not None:
            broken("R7 no ghosts", f"{event.lease_id} was granted and does not wait: {job}")
        if job.session is not None and job.session not in self.model.parties:
            broken("R7 no ghosts", f"{job.id} was granted, and its session {job.session} is over")
        self._token(event.token)
        for uuid in event.devices:
            self._may_grant(job, uuid)
        if (scheme := victim_of(self.model, job)) is not None:
            broken("S6 victim", f"{job.id} takes {event.devices} of the plan for which it left: {scheme}")
        if self.model.over_quota(job):
            broken("S15 quota", f"{job.id} takes {job.slot.service} above its quota")
        self._nobody_passed(job, event.devices)
        returns = job.state == "parked"
        job.state = "loading" if event.loading else "active"
        if event.loading != (returns or job.slot.peak_bytes is not None):
            broken("R4 window", f"{job.id} has peak {job.slot.peak_bytes}, and loading is {event.loading}")
        self._hold(job, event.token, event.devices)

    def _token(self, token: int) -> None:
        if token <= self.last_token:
            broken("R8 tokens", f"token {token} after token {self.last_token}")
        self.last_token = token

    def _may_grant(self, job: Job, uuid: str) -> None:
        dev, model = self.model.devices[uuid], self.model
        if (dev.draining and not job.devices) or model.blind(dev):
            broken("R4 blind or draining", f"{job.id} was granted on {uuid}: {dev}")
        if (loading := model.window(uuid)) is not None:
            broken("S10 window", f"{job.id} was granted on {uuid} while {loading.id} loads there")
        if max(0, job.need(uuid)) > model.room(dev):
            broken("R1 oversubscribed", f"{job.id} got {job.need(uuid)} of {model.room(dev)} on {uuid}")

    def _nobody_passed(self, job: Job, devices: tuple[str, ...]) -> None:
        model = self.model
        if devices not in model.ways_of(job):
            broken("R11 placement", f"{job.id} was put on {devices}, and may go to {model.ways_of(job)}")
        line = Line(model)
        for other in model.queue():
            if other is job:
                break
            if line.let_pass(other) is None:
                line.keep(other)
        if line.let_pass(job) == "quota":
            broken("R2 quota", f"{job.id} passed one of its own service, which is over its quota")
        for uuid in devices:
            if (keeper := line.may_take(job, uuid)) is not None:
                rule = "R2 FIFO" if model.active_scheme(keeper) is None else "S5 plan"
                broken(rule, f"{job.id} passed {keeper.id} on {uuid}")
        self._note_passing(job, line)
        todo = next_todo(model)
        if todo is None or todo.job is not job:
            broken("R2 FIFO", f"{job.id} was granted, and {todo}")
        if todo.devices != devices:
            broken("placement", f"{job.id} was put on {devices}, best is {todo.devices}")

    def _note_passing(self, job: Job, line: Line) -> None:
        self.noted["return"] += bool(job.devices)
        for keeper, held, _ in line.keepers:
            if line.shuts_out(job, keeper):
                self.noted["return past its residue"] += 1
                return
            if not held.isdisjoint(job.devices):
                self.noted["return past one for whom it left in vain"] += 1

    def _hold(self, job: Job, token: int, devices: tuple[str, ...]) -> None:
        job.token, job.devices, job.changed_at, job.cut_until = token, devices, self.now, None
        job.held_at = job.loaded_since = self.now
        job.idle_since, job.evicted_for, job.gave_back, job.least, job.overdue = None, None, False, {}, False
        job.seen = {uuid: job.seen.get(uuid, 0) for uuid in devices}
        job.charge = {uuid: max(job.promised, job.seen[uuid]) for uuid in devices}
        self.model.schemes.pop(job.id, None)
        self.model.spare(job.id)
        self._arm(job)

    def _adopted(self, event: e.Adopted) -> None:
        self._token(event.token)
        key = (event.caller, event.request_id)
        standing = self.model.jobs.get(self.model.requests.get(key, ""))
        if standing is not None and standing.state != "closing":
            broken("R10", f"{event.lease_id} was adopted, and {standing.id} lives for {key}")
        if not self.model.parties[event.session_id].may_adopt:
            broken("S19", f"{event.lease_id} was adopted for a session that was not cut off")
        job = Job(
            id=event.lease_id, slot=event.slot, key=key, session=event.session_id, host=event.host_id,
            ttl_s=None, place=event.place, klass=event.slot.priority, state="active", adopted=True,
        )  # fmt: skip
        self._register(job)
        self._hold(job, event.token, event.devices)

    def _loaded(self, event: e.Loaded) -> None:
        job = self.model.jobs[event.lease_id]
        self._was(job, {"loading"})
        due = job.load_until is not None and job.load_until <= self.now
        if not isinstance(self.command, c.MarkLoaded) and (job.slot.peak_bytes is not None or not due):
            broken("R7", f"{job.id} counts as loaded before its time to load was over")
        job.state, job.overdue, job.changed_at, job.load_until = "active", False, self.now, None
        job.loaded_since = self.now
        if job.checkpoint_s is not None and job.held_at is not None:
            job.restore_s = self.now - job.held_at
        self._settle_driverless(job)

    def _load_overdue(self, event: e.LoadOverdue) -> None:
        job = self.model.jobs[event.lease_id]
        self._was(job, {"loading"})
        if job.load_until is None or job.load_until > self.now:
            broken("R7", f"{job.id} is called overdue before its time to load was over")
        job.overdue, job.load_until = True, None

    def _aged(self, event: e.Aged) -> None:
        job = self.model.jobs[event.lease_id]
        self._was(job, WAITING)
        if job.ages_at is None or job.ages_at > self.now:
            broken("R3", f"{job.id} aged before its time")
        if event.priority != min(step for step in STEPS if step > job.klass):
            broken("R3", f"{job.id} aged from {job.klass} to {event.priority}")
        job.klass = event.priority
        ages = any(job.klass < step for step in STEPS) and self.settings.aging_s is not None
        job.ages_at = self.now + (self.settings.aging_s or 0) if ages else None

    def _cut(self, event: e.Cut) -> None:
        job = self.model.jobs[event.lease_id]
        self._was(job, {"queued"})
        job.cut_until = self.now + self.settings.reconnect_s

    def _rejoined(self, event: e.Rejoined) -> None:
        self.model.jobs[event.lease_id].cut_until = None

    def _lease_renewed(self, event: e.LeaseRenewed) -> None:
        job = self.model.jobs[event.lease_id]
        job.expires_at = self.now + (job.ttl_s or 0) * self.settings.grace_factor

    def _attached(self, event: e.Attached) -> None:
        self.model.jobs[event.lease_id].pids.append((event.pid, event.pid_start))

    def _idled(self, event: e.Idled) -> None:
        job = self.model.jobs[event.lease_id]
        self._was(job, {"active", "evicting"})
        job.state = job.state if job.state == "evicting" else "idle"
        job.idle_since = self.now

    def _busied(self, event: e.Busied) -> None:
        job = self.model.jobs[event.lease_id]
        self._was(job, {"idle", "evicting"})
        job.state = job.state if job.state == "evicting" else "active"
        job.idle_since = None

    def _closing(self, event: e.Closing) -> None:
        job = self.model.jobs[event.lease_id]
        self._was(job, HELD | {"parked", "resting"})
        self._may_end(job, event.outcome)
        self.model.schemes.pop(job.id, None)
        job.state, job.outcome, job.changed_at = "closing", event.outcome, self.now
        job.rest, job.late = None, False
        self._arm(job)
        self._settle_driverless(job)

    def _leaked(self, event: e.Leaked) -> None:
        job, dev = self.model.jobs[event.lease_id], self.model.devices[event.uuid]
        self._was(job, {"closing"})
        if event.leaked_bytes != job.seen[dev.uuid] or not event.leaked_bytes:
            broken("R5 leak", f"{job.id} leaked {event.leaked_bytes}, seen of it were {job.seen[dev.uuid]}")
        if (
            job.reclaim_at is None
            or job.reclaim_at > self.now
            or self.model.blind(dev)
            or not self.model.looked(dev, job)
        ):
            broken("R5 leak", f"{job.id} is said to leak before a fresh look after the time-out")
        dev.foreign += event.leaked_bytes
        dev.floor = None if dev.floor is None else dev.floor + event.leaked_bytes

    def _ended(self, event: e.Ended) -> None:
        job = self.model.jobs.pop(event.lease_id)
        self._was(job, {"queued", "closing"})
        if job.state == "queued":
            self._may_end(job, event.outcome)
        else:
            self._given_back(job, event.outcome)
        job.state, job.outcome, job.forget_at = "ended", event.outcome, self.now + self.settings.remember_s
        job.charge, job.seen = {}, {}
        self.model.schemes.pop(job.id, None)
        self.model.ended[job.id] = self.past[job.id] = job

    def _given_back(self, job: Job, outcome: str) -> None:
        if outcome != job.outcome:
            broken("R7", f"{job.id} closed as {job.outcome} and ended as {outcome}")
        devices = [self.model.devices[uuid] for uuid in job.devices]
        if not all(self.model.looked(dev, job) for dev in devices):
            broken("R5 closing", f"{job.id} ended before its drivers looked: {devices}")
        timed_out = job.reclaim_at is not None and job.reclaim_at <= self.now and isinstance(self.command, c.Tick)
        if any(job.charge.values()) and (not timed_out or any(self.model.blind(dev) for dev in devices)):
            broken("R5 closing", f"{job.id} ended with {job.charge} charged, before the driver showed it gone")

    def _may_end(self, job: Job, outcome: str) -> None:
        """Hold an end against what could have caused it."""
        command, now = self.command, self.now
        match outcome:
            case "expired":
                party = self.model.parties.get(job.session or "")
                expires_at = party.expires_at if party else job.expires_at
                right = isinstance(command, c.Tick) and expires_at is not None and expires_at <= now
            case "timed_out":
                right = isinstance(command, c.Tick) and job.waits_until is not None and job.waits_until <= now
            case "lost":
                right = isinstance(command, c.CloseSession) and command.lost and command.session_id == job.session
            case _:
                right = self._asked_to_end(job)
        if not right:
            broken("R7", f"{job.id} ended as {outcome} by {command}, before its time: {job}")

    def _asked_to_end(self, job: Job) -> bool:
        match self.command:
            case c.Release(lease_id=lease_id):
                return lease_id == job.id
            case c.CancelRequest() | c.Request() as command:
                return (command.caller, command.request_id) == job.key
            case c.CloseSession(lost=False) | c.Sync() as command:
                return command.session_id == job.session
            case c.Tick():
                return job.cut_until is not None and job.cut_until <= self.now
        return False

    def _forgotten(self, event: e.Forgotten) -> None:
        job = self.model.ended.pop(event.lease_id)
        if job.forget_at is None or job.forget_at > self.now:
            broken("R10", f"{job.id} was forgotten too early")
        if self.model.requests.get(job.key) == job.id:
            del self.model.requests[job.key]

    def _cancel_noted(self, event: e.CancelNoted) -> None:
        self.model.noted[event.caller, event.request_id] = self.now + self.settings.remember_s

    def _cancel_forgotten(self, event: e.CancelForgotten) -> None:
        if self.model.noted.pop((event.caller, event.request_id)) > self.now:
            broken("R10", f"the cancel of {event.request_id} was forgotten too early")


def _number(lease_id: str) -> int:
    return int(lease_id.rpartition("-")[2])


_FOLLOW: dict[type, Callable[[Oracle, Any], None]] = {
    getattr(e, name): getattr(Oracle, "_" + "".join(f"_{x.lower()}" if x.isupper() else x for x in name)[1:])
    for name in e.__all__
    if not name.endswith("Event")
}
