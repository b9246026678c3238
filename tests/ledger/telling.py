"""What happened, in the few words of a transcript."""

from collections.abc import Callable, Iterator
from typing import Any

from cf_orch.ledger import PRIORITIES, Lease, Ledger
from cf_orch.ledger import events as e
from cf_orch.ledger.states import Rest

__all__ = ["gb", "in_class", "tell", "tell_devices", "tell_queue", "tell_reason"]

GIB = 2**30
CLASSES = {value: name for name, value in PRIORITIES.items()}


def gb(size: int) -> str:
    """Write bytes as GB."""
    return f"{size / GIB:.4g} GB"


def in_class(priority: int) -> str:
    """Name a class."""
    return CLASSES.get(priority, str(priority))


def tell(ledger: Ledger, event: e.Event) -> Iterator[str]:
    """Write an event; a heartbeat is told in no words."""
    write = _WORDS.get(type(event))
    if write is not None:
        yield write(ledger, event)


def _name(ledger: Ledger, lease_id: str) -> str:
    lease = ledger.find(lease_id)
    return lease.request_id if lease else lease_id


def _requested(_: Ledger, event: e.Requested) -> str:
    slot = event.slot
    peak = f", {gb(slot.peak_bytes)} while loading" if slot.peak_bytes else ""
    each = f" on each of {slot.gpus} devices" if slot.gpus > 1 else ""
    size = f"{gb(slot.size_bytes)}{each}{peak}"
    return f"requested {event.request_id} at place {event.place}: {size}, {in_class(slot.priority)}"


def _granted(ledger: Ledger, event: e.Granted) -> str:
    loads = ", loading" if event.loading else ""
    return f"granted {_name(ledger, event.lease_id)} on {' and '.join(event.devices)}, token {event.token}{loads}"


def _adopted(_: Ledger, event: e.Adopted) -> str:
    on = " and ".join(event.devices)
    return f"adopted {event.request_id} on {on}, token {event.token}: {gb(event.slot.size_bytes)}"


def _sampled(ledger: Ledger, event: e.Sampled) -> str:
    sample, device = event.sample, ledger.devices[event.uuid]
    if sample.error is not None:
        return f"{event.uuid}: cannot be seen ({sample.error})"
    shown = [f"{gb(x.seen[event.uuid])} {x.request_id}" for x in ledger.leases.values() if x.seen.get(event.uuid)]
    foreign = [f"{gb(device.foreign_bytes)} foreign"] if device.foreign_bytes else []
    of_it = f": {', '.join(shown + foreign)}" if shown or foreign else ""
    return f"{event.uuid}: {gb(sample.used_bytes)} used{of_it}"


def _drain_begun(_: Ledger, event: e.DrainBegun) -> str:
    time = f" for {event.for_s:g} s" if event.for_s is not None else ""
    return f"{event.uuid} drains{time}" + (", and all who can are to leave" if event.evict else "")


def _planned(ledger: Ledger, event: e.Planned) -> str:
    victims = ", ".join(_name(ledger, lease_id) for lease_id in event.victims)
    return f"planned for {_name(ledger, event.lease_id)} on {' and '.join(event.devices)}: {victims} to leave"


def _asked(ledger: Ledger, event: e.EvictAsked) -> str:
    is_operator = event.evicted_for in list(Rest)
    whom = f"the {event.evicted_for}" if is_operator else _name(ledger, event.evicted_for)
    return f"asked {_name(ledger, event.lease_id)} to leave for {whom}"


def _withdrawn(ledger: Ledger, event: e.Withdrawn) -> str:
    lease = ledger.find(event.lease_id)
    return f"withdrawn: {_name(ledger, event.lease_id)} need not leave, token {lease.token if lease else None}"


def _parked(ledger: Ledger, event: e.Parked) -> str:
    kept = f" but for {gb(event.residue_bytes)}" if event.residue_bytes else ""
    what = "to queue at its place" if event.rest is None else f"to rest until {_UNTIL[event.rest]}"
    return f"parked {_name(ledger, event.lease_id)}{kept}, {what}"


_UNTIL = {Rest.IDLE: "it is busy", Rest.OPERATOR: "it is resumed", Rest.DRAIN: "the drain ends"}


def _of_lease(words: str) -> Callable[[Ledger, Any], str]:
    def write(ledger: Ledger, event: Any) -> str:
        return words.format(_name(ledger, event.lease_id), event)

    return write


_WORDS: dict[type, Callable[[Ledger, Any], str]] = {
    e.Requested: _requested,
    e.Granted: _granted,
    e.Adopted: _adopted,
    e.Sampled: _sampled,
    e.DrainBegun: _drain_begun,
    e.DrainEnded: lambda _, event: f"{event.uuid} drains no more",
    e.Vouched: lambda _, event: f"{event.uuid} is declared again",
    e.Restarted: lambda _, __: "restarted: all deadlines run anew, nothing has been seen",
    e.SessionOpened: lambda _, event: f"session {event.session_id} open for {event.ttl_s * 4 / 3:g} s",
    e.SessionEnded: lambda _, event: f"session {event.session_id} {event.outcome}",
    e.Loaded: _of_lease("loaded {0}"),
    e.LoadOverdue: _of_lease("load overdue: {0} keeps its peak, the window is closed"),
    e.Aged: lambda ledger, event: f"aged {_name(ledger, event.lease_id)} to {in_class(event.priority)}",
    e.Attached: _of_lease("attached process {1.pid} to {0}"),
    e.Idled: _of_lease("idle {0}"),
    e.Busied: _of_lease("busy {0}"),
    e.Cut: _of_lease("cut off {0}: it is passed over"),
    e.Rejoined: _of_lease("rejoined {0}, at its old place"),
    e.Planned: _planned,
    e.PlanEnded: _of_lease("plan given up for {0}"),
    e.EvictAsked: _asked,
    e.EvictionOverdue: _of_lease("overdue: {0} has not answered, and keeps its memory"),
    e.Withdrawn: _withdrawn,
    e.CheckpointFailed: _of_lease("checkpoint of {0} failed ({1.error}): it goes on, and is not asked again"),
    e.Parked: _parked,
    e.Requeued: _of_lease("wanted again: {0}, at place {1.place}"),
    e.ResidueSeen: lambda ledger, event: (
        f"residue seen: {_name(ledger, event.lease_id)} kept {gb(event.residue_bytes)}"
    ),
    e.Closing: _of_lease("closing {0} ({1.outcome})"),
    e.Leaked: lambda ledger, event: (
        f"leaked {gb(event.leaked_bytes)} of {_name(ledger, event.lease_id)} on {event.uuid}: foreign use now"
    ),
    e.Ended: _of_lease("ended {0} ({1.outcome})"),
    e.CancelNoted: lambda _, event: f"noted: {event.request_id} is cancelled before it came",
}


def tell_queue(ledger: Ledger) -> Iterator[str]:
    """Write who waits, in order."""
    waiting = [lease for lease in ledger.leases.values() if ledger.position(lease) is not None]
    for lease in sorted(waiting, key=lambda lease: ledger.position(lease) or 0):
        slot = lease.slot
        yield f"{lease.request_id}: {gb(slot.size_bytes)}, {in_class(lease.priority)}, {slot.service}"
    if not waiting:
        yield "nobody waits"


def tell_reason(ledger: Ledger, lease_id: str, now: float) -> Iterator[str]:
    """Write why a lease waits."""
    lease = ledger.leases[lease_id]
    why = ledger.waiting_for(lease, now)
    if why is None:
        yield f"{lease.request_id} does not wait: it is {lease.state}"
        return
    where = f" on {why.device}" if why.device else ""
    behind = f", behind {', '.join(_name(ledger, other) for other in why.behind)}" if why.behind else ""
    soon = f", in about {why.eta_s:g} s" if why.eta_s is not None else ""
    yield f"{why.rule}: needs {gb(why.needs_bytes)}, {gb(why.free_bytes)} free{where}{behind}{soon}"


def tell_devices(ledger: Ledger) -> Iterator[str]:
    """Write the accounts."""
    for device in ledger.devices.values():
        holders = [x for x in ledger.leases.values() if device.uuid in x.devices]
        parts = [f"{x.request_id} {gb(x.charges[device.uuid])} ({_state(x)})" for x in holders]
        parts += [f"foreign {gb(device.foreign_bytes)}"] if device.foreign_bytes else []
        parts += [f"reserve {gb(device.reserve_bytes)}"] if device.reserve_bytes else []
        room = "over-committed" if device.over_committed else f"room {gb(device.room_bytes)}"
        plans = (plan for plan in ledger.plans.values() if device.uuid in plan.devices and not plan.given_up)
        kept = [f"kept for {_name(ledger, plan.owner)}" for plan in plans]
        yield f"{device.uuid}: {', '.join([gb(device.total_bytes), *parts, room, *kept])}"


def _state(lease: Lease) -> str:
    return f"{lease.state}, overdue" if lease.eviction_overdue else lease.state
