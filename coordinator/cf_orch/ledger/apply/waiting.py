"""Leases take a place in the queue, change it, and leave it."""

from cf_orch.ledger import events as e
from cf_orch.ledger.books import Books
from cf_orch.ledger.deadlines import arm_aging, arm_lease, arm_waiter
from cf_orch.ledger.records import Lease
from cf_orch.ledger.timers import Timer

__all__ = ["aged", "cancel_noted", "connection", "enter_queue", "leave_queue", "register", "requested"]


def requested(books: Books, event: e.Requested, now: float) -> None:
    """Make a waiter of a request."""
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
    register(books, lease)
    arm_waiter(books, lease, now)
    arm_lease(books, lease, now)
    enter_queue(books, lease)


def enter_queue(books: Books, lease: Lease) -> None:
    """Stand at its place, among those that want the same."""
    books.queue.join(lease)
    books.queue.line_up(lease)


def register(books: Books, lease: Lease) -> None:
    """Make a new lease known by its ids and to its session."""
    books.leases[lease.id] = lease
    books.requests[lease.caller, lease.request_id] = lease.id
    books.cancelled.pop((lease.caller, lease.request_id), None)
    if lease.session_id is not None:
        session = books.sessions[lease.session_id]
        session.leases.add(lease.id)
        if session.pid is not None:
            lease.pids = ((session.pid, session.pid_start),)


def aged(books: Books, event: e.Aged, now: float) -> None:
    """Move a waiter to a higher class."""
    lease = books.leases[event.lease_id]
    if books.is_waiting(lease):
        books.queue.step_out(lease)
    books.queue.leave(lease)
    lease.priority = event.priority
    books.queue.join(lease)
    if books.is_waiting(lease):
        books.queue.line_up(lease)
    arm_aging(books, lease, now)


def connection(books: Books, event: e.Cut | e.Rejoined, now: float) -> None:
    """Take a waiter out of its line, or back into it; it keeps its position."""
    lease = books.leases[event.lease_id]
    if isinstance(event, e.Cut):
        books.queue.step_out(lease)
        lease.cut_until = now + books.settings.reconnect_s
        books.timers.at(lease.cut_until, Timer.CUT_ENDS, lease.id)
    else:
        lease.cut_until = None
        books.queue.line_up(lease)


def leave_queue(books: Books, lease: Lease) -> None:
    """Give its place up and, with it, the plan that was under way for it."""
    if books.is_waiting(lease):
        books.queue.step_out(lease)
    books.queue.leave(lease)
    lease.waits_until = lease.ages_at = lease.cut_until = None
    books.plans.pop(lease.id, None)
    lease.has_plan = lease.gave_plan_up = False


def cancel_noted(books: Books, event: e.CancelNoted, now: float) -> None:
    """Remember a cancel that came before its request."""
    key = (event.caller, event.request_id)
    books.cancelled.pop(key, None)
    books.cancelled[key] = now + books.settings.remember_s
    books.timers.at(books.cancelled[key], Timer.FORGET_CANCEL, "")
