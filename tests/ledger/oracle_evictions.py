"""The oracle's part about evictions: plans, notices, answers, rests and returns, each held against its rule."""

from tests.ledger.broken import broken
from tests.ledger.follower import Follower
from tests.ledger.naive import Job, Model, Scheme
from tests.ledger.naive_evictions import OPERATORS, Way, needed_by, short, unneeded, why_not
from tests.ledger.naive_walk import next_todo

from cf_orch.ledger import Settings
from cf_orch.ledger import commands as c
from cf_orch.ledger import events as e

__all__ = ["EvictionFollower"]


class EvictionFollower(Follower):
    """Follows who is asked to leave for whom, and what comes of it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.to_ask: dict[str, str] = {}
        """Whom a plan that was just made must ask, and for whom."""

    # --- plans

    def _planned(self, event: e.Planned) -> None:
        model, job = self.model, self.model.jobs[event.lease_id]
        self._was(job, {"queued", "parked"})
        victims = [self._victim(job, key) for key in event.victims]
        _suffices(model, job, event.devices, victims)
        todo = next_todo(model)
        if todo is None or todo.job is not job:
            broken("R2 plan", f"{job.id} got a plan, and {todo}")
        if todo.way is None:
            broken("R6 in vain", f"{job.id} got a plan on {event.devices} for {event.victims}, and {todo}")
        if job.slot.gpus == 1 or job.devices:  # of gangs, no best one is promised
            _is_best(todo.way, event)
        elif event.devices not in model.ways_of(job):
            broken("R6 choice", f"{job.id} plans for {event.devices}, and may go to {model.ways_of(job)}")
        for victim in victims:
            if victim.state != "evicting":
                self.to_ask[victim.id] = job.id
            elif not model.waits(victim.evicted_for):
                victim.evicted_for = job.id
        self._note_plan(job, victims)
        scheme = model.schemes.setdefault(job.id, Scheme(job.id))
        scheme.devices, scheme.given_up = event.devices, False
        scheme.victims += tuple(victim for victim in event.victims if victim not in scheme.victims)

    def _victim(self, waiter: Job, key: str) -> Job:
        victim = self.model.jobs[key]
        if victim is waiter or (why := why_not(self.model, waiter, victim)) is None:
            return victim
        return broken(why, f"{key} is to leave for {waiter.id}: {victim}")

    def _note_plan(self, job: Job, victims: list[Job]) -> None:
        known = self.model.schemes.get(job.id)
        self.noted["plan of a gang"] += job.slot.gpus > 1
        self.noted["plan of a return"] += bool(job.devices)
        self.noted["plan made anew"] += known is not None and not known.given_up
        self.noted["plan that counts on one asked before"] += any(victim.state == "evicting" for victim in victims)

    def _plan_ended(self, event: e.PlanEnded) -> None:
        scheme, job = self.model.schemes[event.lease_id], self.model.jobs[event.lease_id]
        todo = next_todo(self.model)
        gives_up = todo is not None and todo.job is job and todo.devices is None and todo.way is None
        if not gives_up and not isinstance(self.command, c.CutOff):
            broken("R6 given up", f"{job.id} gives its plan up, and {todo}")
        if scheme.given_up:
            broken("R6 given up", f"{job.id} gave its plan up already")
        scheme.given_up = True

    # --- notices

    def _evict_asked(self, event: e.EvictAsked) -> None:
        job, command = self.model.jobs[event.lease_id], self.command
        self._was(job, {"active", "idle", "evicting"})
        match event.evicted_for:
            case "operator":
                right = isinstance(command, c.Evict) and command.lease_id == job.id
            case "drain":
                right = any(self.model.devices[uuid].empties for uuid in job.devices)
                right = right and not any(self.model.window(uuid) for uuid in job.devices)
                right = right and (job.error is None or job.state == "evicting")
            case waiter:
                right = self.to_ask.pop(job.id, None) == waiter and job.state != "evicting"
        if not right or not job.slot.evictable:
            broken("R6 asked", f"{job.id} was asked to leave for {event.evicted_for} by {command}: {job}")
        job.state, job.evicted_for, job.late, job.asked_at = "evicting", event.evicted_for, False, self.now
        job.evict_until = self._late_at(job)

    def _eviction_overdue(self, event: e.EvictionOverdue) -> None:
        job = self.model.jobs[event.lease_id]
        self._was(job, {"evicting"})
        if job.evict_until is None or job.evict_until > self.now:
            broken("S16 grace", f"{job.id} is overdue, and has until {job.evict_until}")
        job.late, job.evict_until = True, None

    def _withdrawn(self, event: e.Withdrawn) -> None:
        job = self.model.jobs[event.lease_id]
        self._was(job, {"evicting"})
        if job.evicted_for == "operator":
            right = isinstance(self.command, c.Resume) and self.command.lease_id == job.id
        elif job.evicted_for == "drain":
            resumed = isinstance(self.command, c.Resume) and self.command.lease_id == job.id
            right = resumed or not any(self.model.devices[uuid].draining for uuid in job.devices)
        else:
            right = job in unneeded(self.model)
        if not right:
            broken("S12 withdrawn", f"{job.id} need not leave for {job.evicted_for} any more: {self.model.schemes}")
        self.noted["withdrawn when overdue"] += job.late
        self._keep(job)

    def _checkpoint_failed(self, event: e.CheckpointFailed) -> None:
        job = self.model.jobs[event.lease_id]
        self._keep(job)
        job.error = event.error

    def _keep(self, job: Job) -> None:
        """A holder goes on, as nobody's victim."""
        self._was(job, {"evicting"})
        job.state = "active" if job.idle_since is None else "idle"
        job.evicted_for, job.late, job.evict_until = None, False, None
        job.checkpoint_s = max(job.checkpoint_s or 0.0, self.now - job.asked_at)
        job.loaded_since = self.now
        self.model.spare(job.id)

    # --- leaving and coming back

    def _parked(self, event: e.Parked) -> None:
        job, command = self.model.jobs[event.lease_id], self.command
        if job.state == "evicting":
            self._answered(job, event)
        elif isinstance(command, c.Evict):
            self._was(job, {"parked", "resting"})
            right = command.lease_id == job.id and event.rest == "operator"
        else:
            self._was(job, {"parked"})
            right = any(self.model.devices[uuid].empties for uuid in job.devices) and event.rest == "drain"
        if job.state != "evicting" and (not right or event.residue_bytes != job.residue):
            broken("S7 rest", f"{job.id} rests as {event.rest} by {command}, and keeps {event.residue_bytes}: {job}")
        if job.state == "evicting":
            self.noted["parked when overdue"] += job.late
            job.residue, job.changed_at, job.checkpoint_s = event.residue_bytes, self.now, self.now - job.asked_at
            job.evict_until, job.late, job.gave_back, job.least = None, False, True, {}
        self.model.schemes.pop(job.id, None)
        job.state, job.rest = ("parked", None) if event.rest is None else ("resting", event.rest)
        self._arm_reclaim(job)
        self._queue_again(job)
        self._settle_driverless(job)

    def _answered(self, job: Job, event: e.Parked) -> None:
        command = self.command
        by_sync = isinstance(command, c.Sync) and command.session_id == job.session
        if not by_sync and not (isinstance(command, c.Checkpointed) and command.lease_id == job.id):
            broken("S12 parked", f"{job.id} is parked by {command}")
        rest = "idle" if job.idle_since is not None else None
        if job.evicted_for in OPERATORS:
            rest = job.evicted_for
        if event.rest != rest:
            broken("S7 rest", f"{job.id} rests as {event.rest}, must as {rest}: {job}")
        said = command.residue_bytes if isinstance(command, c.Checkpointed) else event.residue_bytes
        if event.residue_bytes != (job.slot.residue_bytes or 0 if said is None else said):
            broken("R6 residue", f"{job.id} said that it keeps {said}, known is {event.residue_bytes}")

    def _requeued(self, event: e.Requeued) -> None:
        job, command = self.model.jobs[event.lease_id], self.command
        self._was(job, {"evicting", "resting"})
        if isinstance(command, c.MarkBusy):
            right = command.lease_id == job.id and event.place == self.seq
            right = right and (job.rest == "idle" or (job.state == "evicting" and job.idle_since is not None))
        elif isinstance(command, c.Resume):
            right = command.lease_id == job.id and event.place == job.place and job.rest in OPERATORS
        else:
            ended = not any(self.model.devices[uuid].draining for uuid in job.devices)
            right = ended and event.place == job.place and job.rest == "drain"
        if not right:
            broken("S7 rest", f"{job.id} is queued again at {event.place} by {command}: {job}")
        job.place, job.idle_since = event.place, None
        if job.state == "resting":
            job.state, job.rest = "parked", None
            self._queue_again(job)

    def _queue_again(self, job: Job) -> None:
        if job.state == "parked":
            job.klass = job.slot.priority
        self._arm_aging(job)

    def _residue_seen(self, event: e.ResidueSeen) -> None:
        job, model = self.model.jobs[event.lease_id], self.model
        self._was(job, {"parked", "resting"})
        if not all(model.looked(model.devices[uuid], job) for uuid in job.devices):
            broken("R6 residue", f"{job.id} is said to keep {event.residue_bytes} before anybody looked")
        if event.residue_bytes != max(job.residue or 0, *job.seen.values()):
            broken("R6 residue", f"{job.id} is said to keep {event.residue_bytes}, seen are {job.seen}")
        job.residue_seen = event.residue_bytes

    # --- once a command is through

    def _evictions_settled(self) -> None:
        """Whoever was to be asked was; whoever need not leave is not asked; no plan asks one too many."""
        model = self.model
        if self.to_ask:
            broken("R6 asked", f"{self.to_ask} were to be asked to leave, and were not")
        if idle_notices := [job.id for job in unneeded(model)]:
            broken("L2 withdrawn", f"{idle_notices} are asked to leave, and nobody needs it")
        for scheme in model.active():
            if not model.waits(scheme.owner) or model.jobs[scheme.owner].cut_until is not None:
                broken("S5 plan", f"{scheme.owner} has a plan and does not wait")
            if strangers := [key for key in needed_by(model, scheme) if key in model.jobs and not _left(model, key)]:
                broken("S5 plan", f"{scheme} counts on {strangers}, who are not asked to leave")


def _left(model: Model, key: str) -> bool:
    job = model.jobs[key]
    return job.state == "evicting" or job.leaving


def _suffices(model: Model, job: Job, devices: tuple[str, ...], victims: list[Job]) -> None:
    """Hold a plan's sum: enough, and not without any one of them."""
    lacks = {uuid: short(model, job, uuid, victims) for uuid in devices}
    if any(size > 0 for size in lacks.values()):
        broken("S4 sum", f"{job.id} plans for {[x.id for x in victims]}, and would still lack {lacks}")
    for one in victims:
        rest = [victim for victim in victims if victim is not one]
        if all(short(model, job, uuid, rest) <= 0 for uuid in devices):
            broken("S4 minimal", f"{job.id} plans for {[x.id for x in victims]}, and {one.id} can be left out")
    if not victims:
        broken("S4 minimal", f"{job.id} plans for nobody")


def _is_best(best: Way, event: e.Planned) -> None:
    if set(event.devices) != set(best.devices):
        broken("R6 choice", f"{event.lease_id} plans for {event.victims} on {event.devices}, best is {best}")
    if set(event.victims) != set(best.victims):
        broken("R6 order", f"{event.lease_id} plans for {event.victims}, first in order are {best.victims}")
