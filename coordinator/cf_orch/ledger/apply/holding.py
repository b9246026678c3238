"""Leases are granted or adopted, used, given back, and forgotten."""

from collections import deque

from cf_orch.ledger import events as e
from cf_orch.ledger.apply.waiting import leave_queue, register
from cf_orch.ledger.books import Books
from cf_orch.ledger.deadlines import arm_lease, arm_load, arm_reclaim
from cf_orch.ledger.records import Lease
from cf_orch.ledger.states import WAITING, Outcome, State, next_state
from cf_orch.ledger.timers import Timer

__all__ = ["adopted", "closing", "ended", "forgotten", "granted", "loaded", "settle_driverless", "use"]

HOLD_TIMES_KEPT = 20


def granted(books: Books, event: e.Granted, now: float) -> None:
    """Let a waiter hold its memory, for the first time or again."""
    lease = books.leases[event.lease_id]
    state = next_state(lease.id, lease.state, "granted_loading" if event.loading else "granted_active")
    for plan in books.plans.values():
        plan.victims = tuple(victim for victim in plan.victims if victim != lease.id)
    leave_queue(books, lease)
    lease.state = state
    lease.granted_unix_s = event.unix_s
    hold(books, lease, event.token, event.devices, now)
    arm_load(books, lease, now)
    arm_lease(books, lease, now)


def adopted(books: Books, event: e.Adopted, now: float) -> None:
    """Take a lease in that is a fact already."""
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
    register(books, lease)
    hold(books, lease, event.token, event.devices, now)


def hold(books: Books, lease: Lease, token: int, devices: tuple[str, ...], now: float) -> None:
    """Charge a lease in full on its devices from now on."""
    lease.token, lease.devices, lease.held_since, lease.due_since = token, devices, now, now
    lease.loaded_since, lease.idle_since, lease.evicted_for = now, None, None
    books.count(lease, counts=True)
    for uuid in devices:
        device = books.devices[uuid]
        device.holders.add(lease.id)
        books.charge(lease, device, lease.due_bytes(uuid), lease.seen.get(uuid, 0))


def loaded(books: Books, event: e.Loaded | e.LoadOverdue, now: float) -> None:
    """End a load, or at least the window in which nothing else may start there."""
    lease = books.leases[event.lease_id]
    if isinstance(event, e.Loaded):
        lease.state = next_state(lease.id, lease.state, "loaded")
        lease.due_since = lease.loaded_since = now
        if lease.checkpoint_s is not None and lease.held_since is not None:
            lease.restore_s = now - lease.held_since
        settle_driverless(books, lease)
    books.close_window(lease)
    lease.load_overdue = isinstance(event, e.LoadOverdue)


def use(books: Books, event: e.Idled | e.Busied, now: float) -> None:
    """Note that a holder uses its memory, or does not; one that is asked to leave stays asked."""
    lease = books.leases[event.lease_id]
    if lease.state is not State.EVICTING:
        lease.state = next_state(lease.id, lease.state, "idled" if isinstance(event, e.Idled) else "busied")
    lease.idle_since = now if isinstance(event, e.Idled) else None


def settle_driverless(books: Books, lease: Lease) -> None:
    """Where no driver will ever show the bytes gone, they are gone at once."""
    for uuid in lease.devices:
        device = books.devices[uuid]
        if not device.has_driver:
            books.charge(lease, device, lease.due_bytes(uuid), 0)


def closing(books: Books, event: e.Closing, now: float) -> None:
    """Let a lease's charge fall to nothing, as the driver shows it."""
    lease = books.leases[event.lease_id]
    state = next_state(lease.id, lease.state, "closing")
    if lease.state in WAITING:
        leave_queue(books, lease)
    lease.state, lease.rest = state, None
    books.ask_no_more(lease)
    books.close_window(lease)
    lease.outcome, lease.due_since = event.outcome, now
    if event.outcome is Outcome.RELEASED and lease.held_since is not None:
        times = books.hold_times_s.setdefault(lease.slot.service, deque(maxlen=HOLD_TIMES_KEPT))
        times.append(now - lease.held_since)
    settle_driverless(books, lease)
    arm_reclaim(books, lease, now)


def ended(books: Books, event: e.Ended, now: float) -> None:
    """Move a lease to those that can only be read."""
    lease = books.leases[event.lease_id]
    state = next_state(lease.id, lease.state, "ended")
    if lease.state is State.QUEUED:
        leave_queue(books, lease)
    books.uncharge(lease)
    books.count(lease, counts=False)
    del books.leases[lease.id]
    lease.state, lease.outcome = state, event.outcome
    if lease.session_id in books.sessions:
        books.sessions[lease.session_id].leases.discard(lease.id)
    books.ended[lease.id] = lease
    books.timers.at(now + books.settings.remember_s, Timer.FORGET, lease.id)


def forgotten(books: Books, event: e.Forgotten) -> None:
    """Forget an ended lease."""
    lease = books.ended.pop(event.lease_id)
    key = (lease.caller, lease.request_id)
    if books.requests.get(key) == lease.id:
        del books.requests[key]
