"""Holders are asked to leave, and stay, give their memory up, and queue for it again."""

from cf_orch.ledger import events as e
from cf_orch.ledger.apply.holding import settle_driverless
from cf_orch.ledger.apply.waiting import enter_queue, leave_queue
from cf_orch.ledger.books import Books
from cf_orch.ledger.deadlines import arm_aging, arm_evict, arm_reclaim
from cf_orch.ledger.records import Lease, Plan
from cf_orch.ledger.states import WAITING, State, next_state

__all__ = ["asked", "kept", "parked", "planned", "requeued"]


def planned(books: Books, event: e.Planned | e.PlanEnded) -> None:
    """Keep a waiter's devices for it, or keep them no more; the victims of an earlier plan stay its victims."""
    lease = books.leases[event.lease_id]
    plan = books.plans.setdefault(lease.id, Plan(owner=lease.id, devices=(), victims=()))
    books.queue.step_out(lease)
    if isinstance(event, e.Planned):
        plan.devices = event.devices
        plan.victims = tuple(dict.fromkeys((*plan.victims, *event.victims)))
        for victim in event.victims:
            _take_over(books, books.leases[victim], lease)
    plan.given_up = isinstance(event, e.PlanEnded)
    lease.has_plan, lease.gave_plan_up = not plan.given_up, plan.given_up
    books.queue.line_up(lease)


def _take_over(books: Books, victim: Lease, owner: Lease) -> None:
    """Let one that was asked already leave for another waiter, where the first one waits no more."""
    waiter = books.leases.get(victim.evicted_for or "")
    still_waits = waiter is not None and waiter.state in WAITING
    if victim.state is State.EVICTING and not victim.asked_by_operator and not still_waits:
        victim.evicted_for = owner.id


def asked(books: Books, event: e.EvictAsked, now: float) -> None:
    """Give a holder its full grace to leave."""
    lease = books.leases[event.lease_id]
    lease.state = next_state(lease.id, lease.state, "evict_asked")
    lease.evicted_for, lease.eviction_overdue, lease.asked_at = event.evicted_for, False, now
    books.evicting.add(lease.id)
    arm_evict(books, lease, now)


def kept(books: Books, event: e.Withdrawn | e.CheckpointFailed, now: float) -> None:
    """Let a holder go on, as nobody's victim; how long it had already is the least that its checkpoint takes."""
    lease = books.leases[event.lease_id]
    lease.state = next_state(lease.id, lease.state, "kept_active" if lease.idle_since is None else "kept_idle")
    if isinstance(event, e.CheckpointFailed):
        lease.checkpoint_error = event.error
    lease.checkpoint_s = max(lease.checkpoint_s or 0.0, now - lease.asked_at)
    books.ask_no_more(lease)
    lease.evicted_for = None
    lease.loaded_since = now  # nobody of its own class disturbs it again at once
    for plan in books.plans.values():
        plan.victims = tuple(victim for victim in plan.victims if victim != lease.id)


def parked(books: Books, event: e.Parked, now: float) -> None:
    """Let a charge fall to the residue, as the driver shows it; the lease queues at its place, or rests."""
    lease = books.leases[event.lease_id]
    state = next_state(lease.id, lease.state, "parked" if event.rest is None else "rested")
    if lease.state is State.EVICTING:
        lease.checkpoint_s = now - lease.asked_at
        lease.residue_bytes, lease.due_since = event.residue_bytes, now
        books.ask_no_more(lease)
        books.count(lease, counts=False)
    elif lease.state in WAITING:
        leave_queue(books, lease)
    lease.state, lease.rest = state, event.rest
    if state is State.PARKED:
        _queue_again(books, lease, now)
    settle_driverless(books, lease)
    arm_reclaim(books, lease, now)


def requeued(books: Books, event: e.Requeued, now: float) -> None:
    """Give a lease that rests, or is about to, a place in the queue."""
    lease = books.leases[event.lease_id]
    if lease.state is not State.EVICTING:
        lease.state = next_state(lease.id, lease.state, "requeued")
    lease.place, lease.rest, lease.idle_since = event.place, None, None
    if lease.state is State.PARKED:
        _queue_again(books, lease, now)


def _queue_again(books: Books, lease: Lease, now: float) -> None:
    lease.priority = lease.slot.priority  # it ages from zero
    arm_aging(books, lease, now)
    enter_queue(books, lease)
