"""Events into state: the only code that changes the books, live and in replay alike.

Each function takes the books, one event and ``now``; none of them decides anything.  Deadlines are set from ``now``,
so a replay must be followed by :class:`~cf_orch.ledger.events.Restarted`, which sets them all anew.
"""

from collections import deque
from typing import assert_never

from cf_orch.ledger import events as e
from cf_orch.ledger.attribution import Claim, attribute
from cf_orch.ledger.books import Books
from cf_orch.ledger.deadlines import (
    arm_aging,
    arm_drain,
    arm_lease,
    arm_load,
    arm_reclaim,
    arm_waiter,
    renew_lease,
    renew_session,
    restart,
)
from cf_orch.ledger.records import Device, Lease, Session
from cf_orch.ledger.states import Outcome, State, next_state
from cf_orch.ledger.timers import Timer

__all__ = ["apply"]

HOLD_TIMES_KEPT = 20


def apply(books: Books, event: e.Event, now: float) -> None:  # noqa: C901, PLR0912, PLR0915 - one line a kind of event
    """Change the books by one event; one that does not fit a lease's state raises and changes nothing."""
    match event:
        case e.Founded():
            books.ledger_id = event.ledger_id
        case e.Restarted():
            restart(books, now)
        case e.SessionOpened():
            _session_opened(books, event, now)
        case e.SessionRenewed():
            renew_session(books, books.sessions[event.session_id], now)
        case e.SessionEnded():
            del books.sessions[event.session_id]
        case e.Synced():
            books.sessions[event.session_id].may_adopt = False
        case e.DeviceSeen():
            _device_seen(books, event)
        case e.Vouched():
            books.devices[event.uuid].vouched = True
        case e.DrainBegun() | e.DrainEnded():
            _drain(books, event, now)
        case e.Sampled():
            _sampled(books, event)
        case e.Requested():
            _requested(books, event, now)
        case e.CancelNoted():
            _cancel_noted(books, event, now)
        case e.CancelForgotten():
            del books.cancelled[event.caller, event.request_id]
        case e.Forgotten():
            _forgotten(books, event)
        case e.Granted():
            _granted(books, event, now)
        case e.Adopted():
            _adopted(books, event, now)
        case e.Aged():
            _aged(books, event, now)
        case e.Cut() | e.Rejoined():
            _connection(books, event, now)
        case e.LeaseRenewed():
            renew_lease(books, books.leases[event.lease_id], now)
        case e.Attached():
            books.leases[event.lease_id].pids += ((event.pid, event.pid_start),)
        case e.Loaded() | e.LoadOverdue():
            _loaded(books, event, now)
        case e.Idled():
            _step(books.leases[event.lease_id], "idled")
        case e.Busied():
            _step(books.leases[event.lease_id], "busied")
        case e.Closing():
            _closing(books, event, now)
        case e.Leaked():
            _leaked(books, event)
        case e.Ended():
            _ended(books, event, now)
        case _:
            assert_never(event)
    if event.durable:
        books.seq += 1


def _step(lease: Lease, event: str) -> None:
    lease.state = next_state(lease.id, lease.state, event)


# --- sessions


def _session_opened(books: Books, event: e.SessionOpened, now: float) -> None:
    session = Session(
        id=event.session_id,
        service=event.service,
        host_id=event.host_id,
        host_name=event.host_name,
        pid=event.pid,
        pid_start=event.pid_start,
        ttl_s=event.ttl_s,
    )
    books.sessions[session.id] = session
    renew_session(books, session, now)
    books.timers.at(session.expires_at, Timer.SESSION_EXPIRES, session.id)


# --- devices


def _device_seen(books: Books, event: e.DeviceSeen) -> None:
    device = books.devices.get(event.uuid)
    if device is None:
        device = books.devices[event.uuid] = Device(
            uuid=event.uuid,
            name=event.name,
            host_id=event.host_id,
            host_name=event.host_name,
            index=event.index,
            total_bytes=event.total_bytes,
        )
    for field in event.__struct_fields__[1:]:
        setattr(device, field, getattr(event, field))
    device.facts_seq, device.vouched = books.seq + 1, True
    books.queue.devices_changed()


def _drain(books: Books, event: e.DrainBegun | e.DrainEnded, now: float) -> None:
    device = books.devices[event.uuid]
    device.draining = isinstance(event, e.DrainBegun)
    device.drain_for_s = event.for_s if isinstance(event, e.DrainBegun) else None
    arm_drain(books, device, now)


def _sampled(books: Books, event: e.Sampled) -> None:
    device, sample = books.devices[event.uuid], event.sample
    device.sample = sample
    if sample.error is not None:
        return
    leases = books.held_on(device)
    account = attribute(sample, [_claim(books, lease, device) for lease in leases], device.floor_bytes)
    device.foreign_bytes = account.foreign_bytes
    device.foreign_processes = account.foreign_processes
    device.floor_bytes = account.floor_bytes
    for lease in leases:
        seen = account.seen_bytes[lease.id]
        lease.seen[device.uuid], before = seen, lease.seen[device.uuid]
        due = lease.due_bytes(device.uuid)
        if sample.taken_at <= lease.due_since:  # it looked before the memory could have come back
            due = max(due, lease.charges[device.uuid])
        lease.seen[device.uuid] = before
        books.charge(lease, device, due, seen)


def _claim(books: Books, lease: Lease, device: Device) -> Claim:
    closing, promised = lease.state is State.CLOSING, lease.slot.need_bytes
    return Claim(
        lease_id=lease.id,
        token=lease.token or 0,
        pids=books.pids_of(lease, device),
        kept_bytes=lease.charges[device.uuid] if closing else min(lease.seen[device.uuid], promised),
        promised_bytes=promised,
        closing=closing,
    )


# --- waiting


def _requested(books: Books, event: e.Requested, now: float) -> None:
    lease = Lease(
        id=event.lease_id,
        slot=event.slot,
        request_id=event.request_id,
        caller=event.caller,
        session_id=event.session_id,
        host_id=event.host_id,
        ttl_s=event.ttl_s,
        place=event.place,
        requested_unix_s=event.unix_s,
        priority=event.slot.priority,
    )
    _register(books, lease)
    arm_waiter(books, lease, now)
    arm_lease(books, lease, now)
    books.queue.join(lease)
    books.queue.line_up(lease)


def _register(books: Books, lease: Lease) -> None:
    books.leases[lease.id] = lease
    books.requests[lease.caller, lease.request_id] = lease.id
    books.cancelled.pop((lease.caller, lease.request_id), None)
    if lease.session_id is not None:
        session = books.sessions[lease.session_id]
        session.leases.add(lease.id)
        if session.pid is not None:
            lease.pids = ((session.pid, session.pid_start),)


def _aged(books: Books, event: e.Aged, now: float) -> None:
    lease = books.leases[event.lease_id]
    if books.is_waiting(lease):
        books.queue.step_out(lease)
    books.queue.leave(lease)
    lease.priority = event.priority
    books.queue.join(lease)
    if books.is_waiting(lease):
        books.queue.line_up(lease)
    arm_aging(books, lease, now)


def _connection(books: Books, event: e.Cut | e.Rejoined, now: float) -> None:
    lease = books.leases[event.lease_id]
    if isinstance(event, e.Cut):
        books.queue.step_out(lease)
        lease.cut_until = now + books.settings.reconnect_s
        books.timers.at(lease.cut_until, Timer.CUT_ENDS, lease.id)
    else:
        lease.cut_until = None
        books.queue.line_up(lease)


def _leave_queue(books: Books, lease: Lease) -> None:
    if books.is_waiting(lease):
        books.queue.step_out(lease)
    books.queue.leave(lease)
    lease.waits_until = lease.ages_at = lease.cut_until = None


def _cancel_noted(books: Books, event: e.CancelNoted, now: float) -> None:
    key = (event.caller, event.request_id)
    books.cancelled.pop(key, None)
    books.cancelled[key] = now + books.settings.remember_s
    books.timers.at(books.cancelled[key], Timer.FORGET_CANCEL, "")


# --- holding


def _granted(books: Books, event: e.Granted, now: float) -> None:
    lease = books.leases[event.lease_id]
    state = next_state(lease.id, lease.state, "granted_loading" if event.loading else "granted_active")
    _leave_queue(books, lease)
    lease.state = state
    lease.granted_unix_s = event.unix_s
    _hold(books, lease, event.token, event.devices, now)
    arm_load(books, lease, now)
    arm_lease(books, lease, now)


def _adopted(books: Books, event: e.Adopted, now: float) -> None:
    lease = Lease(
        id=event.lease_id,
        slot=event.slot,
        request_id=event.request_id,
        caller=event.caller,
        session_id=event.session_id,
        host_id=event.host_id,
        ttl_s=None,
        place=event.place,
        requested_unix_s=event.unix_s,
        granted_unix_s=event.unix_s,
        priority=event.slot.priority,
        state=State.ACTIVE,
        adopted=True,
    )
    _register(books, lease)
    _hold(books, lease, event.token, event.devices, now)


def _hold(books: Books, lease: Lease, token: int, devices: tuple[str, ...], now: float) -> None:
    lease.token, lease.devices, lease.held_since, lease.due_since = token, devices, now, now
    service = lease.slot.service
    books.held_bytes[service] = books.held_bytes.get(service, 0) + lease.full_bytes
    for uuid in devices:
        device = books.devices[uuid]
        device.holders.add(lease.id)
        books.charge(lease, device, lease.due_bytes(uuid), 0)


def _loaded(books: Books, event: e.Loaded | e.LoadOverdue, now: float) -> None:
    lease = books.leases[event.lease_id]
    if isinstance(event, e.Loaded):
        _step(lease, "loaded")
        lease.due_since = now
        _settle_driverless(books, lease)
    books.close_window(lease)
    lease.load_overdue = isinstance(event, e.LoadOverdue)


def _settle_driverless(books: Books, lease: Lease) -> None:
    """Where no driver will ever show the bytes gone, they are gone at once."""
    for uuid in lease.devices:
        device = books.devices[uuid]
        if not device.has_driver:
            books.charge(lease, device, lease.due_bytes(uuid), 0)


def _closing(books: Books, event: e.Closing, now: float) -> None:
    lease = books.leases[event.lease_id]
    _step(lease, "closing")
    books.close_window(lease)
    lease.outcome, lease.due_since = event.outcome, now
    if event.outcome is Outcome.RELEASED and lease.held_since is not None:
        times = books.hold_times_s.setdefault(lease.slot.service, deque(maxlen=HOLD_TIMES_KEPT))
        times.append(now - lease.held_since)
    _settle_driverless(books, lease)
    arm_reclaim(books, lease, now)


def _leaked(books: Books, event: e.Leaked) -> None:
    """Count the bytes as foreign, and as no lease's growth when they are seen again."""
    device = books.devices[event.uuid]
    device.foreign_bytes += event.leaked_bytes
    if device.floor_bytes is not None:
        device.floor_bytes += event.leaked_bytes


def _ended(books: Books, event: e.Ended, now: float) -> None:
    lease = books.leases[event.lease_id]
    state = next_state(lease.id, lease.state, "ended")
    if lease.state is State.QUEUED:
        _leave_queue(books, lease)
    else:
        books.uncharge(lease)
        books.held_bytes[lease.slot.service] -= lease.full_bytes
    del books.leases[lease.id]
    lease.state, lease.outcome = state, event.outcome
    if lease.session_id in books.sessions:
        books.sessions[lease.session_id].leases.discard(lease.id)
    books.ended[lease.id] = lease
    books.timers.at(now + books.settings.remember_s, Timer.FORGET, lease.id)


def _forgotten(books: Books, event: e.Forgotten) -> None:
    lease = books.ended.pop(event.lease_id)
    key = (lease.caller, lease.request_id)
    if books.requests.get(key) == lease.id:
        del books.requests[key]
