"""What must hold once a command is through: its purpose is reached, all that was due happened, both accounts agree."""

from collections.abc import Callable
from typing import Any

import msgspec
from tests.ledger.broken import broken
from tests.ledger.naive import HELD, Dev, Job, Model
from tests.ledger.naive_evictions import OPERATORS, askable_from
from tests.ledger.naive_walk import next_todo
from tests.ledger.reasons import reasons

from cf_orch.ledger import Ledger
from cf_orch.ledger import commands as c

__all__ = ["after", "agree", "before", "emptied", "looks_again", "requests_agree", "timers_set"]


def before(model: Model, command: c.Command) -> Any:
    """Take down what ``after`` must know of the time before a command."""
    if isinstance(command, c.Request):
        key = (command.caller, command.request_id)
        return model.requests.get(key), key in model.noted, reasons(model, command)
    if isinstance(command, c.Sync) and command.session_id in model.parties:
        return model.parties[command.session_id].may_adopt
    if isinstance(command, c.MarkBusy | c.MarkIdle | c.Evict | c.Resume) and command.lease_id in model.jobs:
        job = model.jobs[command.lease_id]
        return job.state, job.rest, job.evicted_for, job.idle_since, job.place
    return None


def after(model: Model, command: c.Command, known: Any) -> None:
    """Hold what a command has led to against what it is for."""
    if check := _AFTER.get(type(command)):
        check(model, command, known)


def _released(model: Model, command: c.Release, _: Any) -> None:
    _gone(model.jobs.get(command.lease_id))


def _gone(job: Job | None) -> None:
    if job is not None and job.state != "closing":
        broken("R7", f"{job.id} was ended and is {job.state}")


def _cancelled(model: Model, command: c.CancelRequest, _: Any) -> None:
    key = (command.caller, command.request_id)
    lease_id = model.requests.get(key)
    if lease_id is None and model.noted.get(key) != model.now + model.settings.remember_s:
        broken("R10", f"the cancel of {key} was not noted for its full time")
    _gone(model.jobs.get(lease_id or ""))


def _closed(model: Model, command: c.CloseSession, _: Any) -> None:
    if command.session_id in model.parties:
        broken("R7", f"{command.session_id} was closed and is open")


def _beaten(model: Model, command: c.OpenSession | c.RenewSession, _: Any) -> None:
    party = model.parties.get(command.session_id)
    if party is None or party.expires_at != model.now + party.ttl_s * model.settings.grace_factor:
        broken("R7", f"{command.session_id} was renewed and has not its full grace: {party}")


def _renewed(model: Model, command: c.RenewLease, _: Any) -> None:
    job = model.jobs[command.lease_id]
    if job.ttl_s is not None and job.expires_at != model.now + job.ttl_s * model.settings.grace_factor:
        broken("R7", f"{job.id} was renewed and has not its full grace")


def _asked(model: Model, command: c.Request, known: tuple[str | None, bool, set[str]]) -> None:
    key = (command.caller, command.request_id)
    lease_id, (was, cancelled, why) = model.requests.get(key), known
    if lease_id is None or was not in (None, lease_id):
        broken("R10", f"{key} stood for {was} and stands for {lease_id}")
    job = model.jobs.get(lease_id)
    if was is None and cancelled and job is not None:
        broken("R10", f"{key} was cancelled before it came, and lives")
    if job is None or job.state == "closing":
        return
    if was is None and why:
        broken("R11", f"{job.id} was taken, though {why}")
    if job.cut_until is not None:
        broken("R10", f"{job.id} was asked for again and is still cut off")


def _loaded(model: Model, command: c.MarkLoaded, _: Any) -> None:
    _is(model.jobs[command.lease_id], {"active", "idle", "evicting", "parked", "resting"})


Was = tuple[str, str | None, str | None, float | None, int]


def _idle(model: Model, command: c.MarkIdle, was: Was) -> None:
    job = model.jobs[command.lease_id]
    _is(job, {"idle", "evicting", "parked", "resting"})
    if job.state in ("idle", "evicting") and job.idle_since is None:
        broken("R7 state", f"{job.id} was said to be idle, and counts as used")
    if was[3] is not None and job.state == was[0] and job.idle_since != was[3]:
        broken("R7 state", f"{job.id} was idle since {was[3]}, and is since {job.idle_since}")


def _busy(model: Model, command: c.MarkBusy, was: Was) -> None:
    job = model.jobs[command.lease_id]
    _is(job, {"active", "loading", "evicting", "parked", "resting"})
    if job.idle_since is not None and job.state in ("idle", "evicting"):
        broken("R7 state", f"{job.id} was said to be busy, and counts as idle")
    wanted_anew = was[1] == "idle" or (was[0] == "evicting" and was[3] is not None and was[2] not in OPERATORS)
    if job.state == "resting" and job.rest == "idle":
        broken("S7 rest", f"{job.id} is busy and rests")
    if wanted_anew != (job.place != was[4]):
        broken("S7 rest", f"{job.id} was {was}, is busy and stands at {job.place}")


def _answered(model: Model, command: c.Checkpointed, _: Any) -> None:
    job = model.jobs[command.lease_id]
    if job.evict_until is not None and job.asked_at < model.now:
        broken("S12 parked", f"{job.id} has answered, and is asked still: {job}")


def _evicted(model: Model, command: c.Evict, _: Any) -> None:
    job = model.jobs[command.lease_id]
    _is(job, {"evicting", "resting"})
    if "operator" not in (job.rest, job.evicted_for) or (job.state == "evicting" and job.late):
        broken("S7 rest", f"{job.id} was evicted by an operator, and is {job}")


def _resumed(model: Model, command: c.Resume, was: Was) -> None:
    job = model.jobs[command.lease_id]
    leaves_for = job.evicted_for if job.state == "evicting" else job.rest
    is_emptied = leaves_for == "drain" and any(model.devices[uuid].empties for uuid in job.devices)
    if leaves_for in OPERATORS and not is_emptied:
        broken("S7 rest", f"{job.id} was resumed, and is {job}")
    if job.place != was[4]:
        broken("S7 rest", f"{job.id} was resumed, and lost its place {was[4]} for {job.place}")


def _is(job: Job, states: set[str]) -> None:
    if job.state not in states:
        broken("R7 state", f"{job.id} is {job.state}, must be one of {sorted(states)}")


def _attached(model: Model, command: c.Attach, _: Any) -> None:
    if (command.pid, command.pid_start) not in model.jobs[command.lease_id].pids:
        broken("R4", f"process {command.pid} was attached to {command.lease_id} and is not")


def _cut(model: Model, command: c.CutOff, _: Any) -> None:
    job = model.jobs.get(command.lease_id)
    if job is not None and job.state == "queued" and job.session is None and job.cut_until is None:
        broken("R10", f"{job.id} was cut off and is not")


def _reported(model: Model, command: c.ReportDevices, _: Any) -> None:
    for seen in command.devices:
        dev = model.devices.get(seen.uuid)
        if dev is None:
            if seen.error is None:
                broken("R4", f"{seen.uuid} was reported and is not known")
            continue
        if seen.has_driver and (dev.sample is None or dev.sample.taken_at < model.now - seen.age_s):
            broken("R4", f"{seen.uuid} was reported, and its sample is {dev.sample}")
        if not seen.has_driver and not dev.vouched:
            broken("R4", f"{seen.uuid} was declared again, and grants nothing")
        if seen.error is None and (seen.total_bytes, seen.reserve_bytes) != (dev.total, dev.reserve):
            broken("R4", f"{seen.uuid} has {seen.total_bytes}, and counts with {dev.total}")


def _drained(model: Model, command: c.Drain | c.Undrain, _: Any) -> None:
    dev = model.devices[command.uuid]
    if dev.draining != isinstance(command, c.Drain):
        broken("R4 drain", f"{dev.uuid}: draining is {dev.draining} after {command}")
    if dev.empties != (isinstance(command, c.Drain) and command.evict):
        broken("R4 drain", f"{dev.uuid} is to be emptied: {dev.empties} after {command}")
    for job in model.on(dev.uuid):
        drains = any(model.devices[uuid].draining for uuid in job.devices)
        for_drain = "drain" in (job.rest, job.evicted_for if job.state == "evicting" else None)
        if for_drain and not drains:
            broken("S7 rest", f"{job.id} left for a drain, which is over: {job}")


def emptied(model: Model) -> None:
    """Where a drain is to empty a device, all who can are asked to leave, and none returns."""
    for job in model.jobs.values():
        if not any(model.devices[uuid].empties for uuid in job.devices):
            continue
        can_leave = job.slot.evictable and job.error is None and job.state in ("active", "idle")
        if job.state == "parked" or (can_leave and not any(model.window(uuid) for uuid in job.devices)):
            broken("R6 asked", f"a device of {job.id} is to be emptied, and it is {job.state}")


def _synced(model: Model, command: c.Sync, may_adopt: bool) -> None:  # noqa: FBT001 - what before() gave
    lives = {job.id: job for job in model.jobs.values() if job.session == command.session_id}
    named = {model.requests.get((command.session_id, holding.request_id)) for holding in command.holdings}
    named |= {holding.lease_id for holding in command.holdings}
    for job in lives.values():
        if job.state != "closing" and job.id not in named:
            broken("S19", f"{job.id} lives after a sync that did not name it")
    for holding in command.holdings:
        lease_id = model.requests.get((command.session_id, holding.request_id), "")
        held = any(lives[x].state in HELD for x in (lease_id, holding.lease_id) if x in lives)
        if holding.held and not holding.parked and may_adopt and not held:
            broken("S19", f"{holding.request_id} is held by its session and not in the ledger")
        if holding.parked and any(lives[x].evict_until is not None for x in (lease_id, holding.lease_id) if x in lives):
            asked = [lives[x] for x in (lease_id, holding.lease_id) if x in lives]
            broken("S19", f"{holding.request_id} is parked, said its session, and is asked to leave: {asked}")


def _ticked(model: Model, _: c.Tick, __: Any) -> None:
    now = model.now
    late = [party.id for party in model.parties.values() if party.expires_at <= now]
    late += [dev.uuid for dev in model.devices.values() if dev.drain_until is not None and dev.drain_until <= now]
    late += [job.id for job in model.ended.values() if job.forget_at is not None and job.forget_at <= now]
    late += [str(key) for key, until in model.noted.items() if until <= now]
    for job in model.jobs.values():
        if job.leaving:
            _reclaim_again(model, job)
        if job.state != "closing" and any(when <= now for when in job.deadlines()):
            late.append(job.id)
    if late:
        broken("R7 due", f"what was due did not happen: {late}")


def _reclaim_again(model: Model, job: Job) -> None:
    if job.reclaim_at is None or job.reclaim_at > model.now:
        return
    devices = [model.devices[uuid] for uuid in job.devices]
    if not any(model.blind(dev) or not model.looked(dev, job) for dev in devices):
        if job.state == "closing":
            broken("R5 leak", f"{job.id} is closing after its time-out, and its devices can be seen")
        if job.measured != max(job.residue or 0, *job.seen.values()):
            broken("R6 residue", f"{job.id} is known to keep {job.measured}, seen are {job.seen} after the time-out")
        job.reclaim_at = None
        return
    job.reclaim_at = model.now + model.settings.reclaim_timeout_s


def agree(model: Model, ledger: Ledger, seq: int) -> None:
    """Hold the ledger's records against the model's."""
    if ledger.seq != seq:
        broken("R9", f"the ledger counts {ledger.seq} durable events, told were {seq}")
    if ledger.leases.keys() != model.jobs.keys() or ledger.sessions.keys() != model.parties.keys():
        broken("R7", f"leases {sorted(ledger.leases)}, sessions {sorted(ledger.sessions)}; not {sorted(model.jobs)}")
    for job in model.jobs.values():
        _lease_agrees(job, ledger)
    for dev in model.devices.values():
        _device_agrees(model, dev, ledger)
    _plans_agree(model, ledger)
    requests_agree(model, ledger)


def requests_agree(model: Model, ledger: Ledger) -> None:
    """Hold what each request stands for."""
    for (caller, request_id), lease_id in model.requests.items():
        lease = ledger.find_request(caller, request_id)
        if lease is None or lease.id != lease_id:
            broken("R10", f"{request_id} of {caller} stands for {lease and lease.id}, must be {lease_id}")


def _lease_agrees(job: Job, ledger: Ledger) -> None:
    lease = ledger.leases[job.id]
    if lease.charges != job.charge or lease.seen != job.seen:
        rule = "S11 charge" if job.leaving else "R4 charge"
        broken(rule, f"{job.id} is charged {lease.charges}, seen {lease.seen}; must be {job.charge}, {job.seen}")
    is_now = (lease.state, lease.token, lease.devices, lease.priority, lease.place, lease.cut_until is None)
    must_be = (job.state, job.token, job.devices, job.klass, job.place, job.cut_until is None)
    if is_now != must_be:
        broken("R7 state", f"{job.id} is {is_now}, must be {must_be}")
    asked = (lease.evicted_for, lease.eviction_overdue, lease.rest, lease.checkpoint_error, lease.idle_since)
    must_be_asked = (job.evicted_for, job.late, job.rest, job.error, job.idle_since)
    if job.state != "closing" and asked != must_be_asked:
        broken("S12 eviction", f"{job.id} is {asked}, must be {must_be_asked}")
    known = (lease.residue_bytes, lease.residue_seen_bytes, lease.checkpoint_s, lease.restore_s, lease.loaded_since)
    must_be_known = (job.residue, job.residue_seen, job.checkpoint_s, job.restore_s, job.loaded_since)
    if known != must_be_known:
        broken("R6 measures", f"{job.id} is measured {known}, must be {must_be_known}")


def _plans_agree(model: Model, ledger: Ledger) -> None:
    plans = {plan.owner: (plan.devices, plan.victims, plan.given_up) for plan in ledger.plans.values()}
    must_be = {x.owner: (x.devices, x.victims, x.given_up) for x in model.schemes.values()}
    if plans != must_be:
        broken("S5 plan", f"plans are {plans}, must be {must_be}")


def _device_agrees(model: Model, dev: Dev, ledger: Ledger) -> None:
    device = ledger.devices[dev.uuid]
    if device.foreign_bytes != dev.foreign:
        broken("R4 foreign", f"{dev.uuid} has {device.foreign_bytes} foreign bytes, must be {dev.foreign}")
    if device.room_bytes != model.room(dev):
        broken("R4 charge", f"{dev.uuid} has room {device.room_bytes}, must be {model.room(dev)}")
    if device.draining != dev.draining:
        broken("R4 drain", f"{dev.uuid}: draining is {device.draining}")


def timers_set(model: Model, ledger: Ledger) -> None:
    """Hold the one armed timer against all that will be due."""
    due = [party.expires_at for party in model.parties.values()]
    due += [dev.drain_until for dev in model.devices.values() if dev.drain_until is not None]
    for job in model.jobs.values():
        due += [] if job.reclaim_at is None else [job.reclaim_at]
        due += [] if job.state == "closing" else job.deadlines()
    if due and ((looks := ledger.next_deadline()) is None or looks > min(due)):
        broken("R7 due", f"something is due at {min(due)}, and the ledger wants to be asked at {looks}")


def looks_again(model: Model, ledger: Ledger) -> None:
    """Hold the armed timer against protections that end: nothing is to be done before the ledger looks again."""
    now, looks = model.now, ledger.next_deadline()
    ends = {when for job in model.queue() for when in askable_from(model, job)}
    for when in sorted(ends):
        if looks is not None and when >= looks:
            return
        sights = {key: dev.sample for key, dev in model.devices.items()}
        for dev in model.devices.values():  # what grows stale meanwhile is another matter
            if dev.sample is not None and not model.blind(dev):
                dev.sample = msgspec.structs.replace(dev.sample, taken_at=when)
        model.now = when
        todo = next_todo(model)
        for key, sample in sights.items():
            model.devices[key].sample = sample
        model.now = now
        if todo is not None:
            broken("L2 in time", f"{todo} at {when}, and the ledger wants to be asked at {looks}")


_AFTER: dict[type, Callable[[Model, Any, Any], None]] = {
    c.Release: _released,
    c.CancelRequest: _cancelled,
    c.CloseSession: _closed,
    c.OpenSession: _beaten,
    c.RenewSession: _beaten,
    c.RenewLease: _renewed,
    c.Request: _asked,
    c.MarkLoaded: _loaded,
    c.MarkIdle: _idle,
    c.MarkBusy: _busy,
    c.Attach: _attached,
    c.CutOff: _cut,
    c.Checkpointed: _answered,
    c.Evict: _evicted,
    c.Resume: _resumed,
    c.ReportDevices: _reported,
    c.Drain: _drained,
    c.Undrain: _drained,
    c.Sync: _synced,
    c.Tick: _ticked,
}
