"""Deadlines: each is set from now by what happened, and all of them anew, in full, by a restart.

A deadline is a field of its record; the timer that is armed with it only says when to look.
"""

from cf_orch.ledger.books import Books
from cf_orch.ledger.records import Device, Lease, Session
from cf_orch.ledger.settings import PRIORITIES
from cf_orch.ledger.states import State, next_state
from cf_orch.ledger.timers import Timer

__all__ = [
    "arm_aging", "arm_drain", "arm_evict", "arm_lease", "arm_load", "arm_reclaim", "arm_waiter", "next_class",
    "renew_lease", "renew_session", "restart",
]  # fmt: skip

PATIENCE = 1.25
"""A holder whose last checkpoint took longer than the grace has so many times as long, or it would always be late."""


def renew_session(books: Books, session: Session, now: float) -> None:
    """A heartbeat: the session has its full grace again."""
    session.expires_at = now + session.ttl_s * books.settings.grace_factor


def renew_lease(books: Books, lease: Lease, now: float) -> None:
    """A heartbeat of a lease without a session; one with a session lives by that."""
    if lease.ttl_s is not None:
        lease.expires_at = now + lease.ttl_s * books.settings.grace_factor


def arm_drain(books: Books, device: Device, now: float) -> None:
    """Set when a drain ends by itself, if it does."""
    device.drain_ends_at = None
    if device.drain_for_s is not None:
        device.drain_ends_at = now + device.drain_for_s
        books.timers.at(device.drain_ends_at, Timer.DRAIN_ENDS, device.uuid)


def arm_lease(books: Books, lease: Lease, now: float) -> None:
    """Set when a lease without a session expires."""
    renew_lease(books, lease, now)
    if lease.expires_at is not None:
        books.timers.at(lease.expires_at, Timer.LEASE_EXPIRES, lease.id)


def arm_waiter(books: Books, lease: Lease, now: float) -> None:
    """Set how long a waiter waits at the most, and when it ages."""
    if lease.slot.max_wait_s is not None:
        lease.waits_until = now + lease.slot.max_wait_s
        books.timers.at(lease.waits_until, Timer.WAIT_ENDS, lease.id)
    arm_aging(books, lease, now)


def arm_aging(books: Books, lease: Lease, now: float) -> None:
    """Set when a waiter rises to the next class, where aging is on."""
    lease.ages_at = None
    if books.settings.aging_s is not None and next_class(lease.priority) is not None:
        lease.ages_at = now + books.settings.aging_s
        books.timers.at(lease.ages_at, Timer.AGES, lease.id)


def next_class(priority: int) -> int | None:
    """Return the class that aging leads to, or None at the top: never to interactive or above."""
    above = (value for value in PRIORITIES.values() if priority < value < PRIORITIES["interactive"])
    return min(above, default=None)


def arm_load(books: Books, lease: Lease, now: float) -> None:
    """Open a loading lease's window where it has a peak, and set when it is overdue."""
    if lease.state is not State.LOADING or lease.load_overdue:
        return
    lease.load_until = now + books.settings.load_timeout_s
    books.timers.at(lease.load_until, Timer.LOAD_ENDS, lease.id)
    if lease.slot.peak_bytes is not None:
        for uuid in lease.devices:
            books.devices[uuid].window = lease.id


def arm_evict(books: Books, lease: Lease, now: float) -> None:
    """Set how long a holder that is asked to leave has, in full from now: longer where it is known to need longer."""
    if lease.state is State.EVICTING and not lease.eviction_overdue:
        lease.evict_until = now + max(books.settings.grace_s, PATIENCE * (lease.checkpoint_s or 0.0))
        books.timers.at(lease.evict_until, Timer.EVICT_ENDS, lease.id)


def arm_reclaim(books: Books, lease: Lease, now: float) -> None:
    """Set how long a lease that leaves waits for its bytes to come back."""
    if lease.is_leaving:
        lease.reclaim_until = now + books.settings.reclaim_timeout_s
        books.timers.at(lease.reclaim_until, Timer.RECLAIM_ENDS, lease.id)


def restart(books: Books, now: float) -> None:
    """Give every deadline its full time from now; what was idle counts as busy; what was seen is stale."""
    books.timers.clear()
    books.looks_again_at = None
    books.hold_times_s.clear()
    for session in books.sessions.values():
        session.may_adopt = True
        renew_session(books, session, now)
        books.timers.at(session.expires_at, Timer.SESSION_EXPIRES, session.id)
    for device in books.devices.values():
        device.sample, device.vouched = None, False
        arm_drain(books, device, now)
    for lease in books.leases.values():
        _restart_lease(books, lease, now)
    for lease in books.ended.values():
        books.timers.at(now + books.settings.remember_s, Timer.FORGET, lease.id)
    books.cancelled = dict.fromkeys(books.cancelled, now + books.settings.remember_s)
    books.timers.at(now + books.settings.remember_s, Timer.FORGET_CANCEL, "")


def _restart_lease(books: Books, lease: Lease, now: float) -> None:
    lease.due_since = lease.loaded_since = lease.asked_at = now
    lease.held_since = lease.idle_since = None
    arm_lease(books, lease, now)
    if lease.state is State.IDLE:
        lease.state = next_state(lease.id, lease.state, "busied")
    elif lease.state is State.QUEUED:
        if lease.cut_until is not None:
            lease.cut_until = None
            books.queue.line_up(lease)
        arm_waiter(books, lease, now)
    elif lease.state is State.PARKED:
        arm_aging(books, lease, now)
    arm_load(books, lease, now)
    arm_evict(books, lease, now)
    arm_reclaim(books, lease, now)
