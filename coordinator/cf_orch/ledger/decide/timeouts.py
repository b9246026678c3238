"""What is due by now.  A timer only says when to look; the record says whether its time has come."""

from cf_orch.ledger import events as e
from cf_orch.ledger.deadlines import next_class
from cf_orch.ledger.decide.decision import Decision
from cf_orch.ledger.decide.devices import end_drain
from cf_orch.ledger.decide.ending import end, end_session, give_up_reclaim, looked_since
from cf_orch.ledger.decide.evictions import learn_residue
from cf_orch.ledger.records import Lease
from cf_orch.ledger.states import Outcome, State
from cf_orch.ledger.timers import Timer

__all__ = ["fire_due"]


def fire_due(d: Decision) -> None:
    """Let all happen whose time has come."""
    while due := d.books.timers.pop_due(d.now):
        kind, key = due
        match kind:
            case Timer.SESSION_EXPIRES:
                _session_expires(d, key)
            case Timer.DRAIN_ENDS:
                _drain_ends(d, key)
            case Timer.FORGET:
                d.emit(e.Forgotten(lease_id=key))
            case Timer.FORGET_CANCEL:
                _cancels_end(d)
            case Timer.LOOK_AGAIN:
                d.books.looks_again_at = None
            case _:
                lease = d.books.leases.get(key)
                if lease is not None:
                    _lease_timer(d, kind, lease)


def _session_expires(d: Decision, session_id: str) -> None:
    session = d.books.sessions.get(session_id)
    if session is None:
        return
    if session.expires_at <= d.now:
        end_session(d, session, Outcome.EXPIRED)
    else:
        d.books.timers.at(session.expires_at, Timer.SESSION_EXPIRES, session_id)


def _drain_ends(d: Decision, uuid: str) -> None:
    ends_at = d.books.devices[uuid].drain_ends_at
    if ends_at is not None and ends_at <= d.now:
        end_drain(d, uuid)


def _cancels_end(d: Decision) -> None:
    while d.books.cancelled:
        (caller, request_id), until = next(iter(d.books.cancelled.items()))
        if until > d.now:
            return
        d.emit(e.CancelForgotten(caller=caller, request_id=request_id))


def _lease_timer(d: Decision, kind: Timer, lease: Lease) -> None:
    match kind:
        case Timer.LEASE_EXPIRES:
            _lease_expires(d, lease)
        case Timer.CUT_ENDS:
            _end_if_due(d, lease, lease.cut_until, Outcome.CANCELLED)
        case Timer.WAIT_ENDS:
            _end_if_due(d, lease, lease.waits_until, Outcome.TIMED_OUT)
        case Timer.AGES:
            _ages(d, lease)
        case Timer.LOAD_ENDS:
            _load_ends(d, lease)
        case Timer.RECLAIM_ENDS:
            _reclaim_ends(d, lease)
        case Timer.EVICT_ENDS:
            if _is_due(d, lease.evict_until) and not lease.eviction_overdue:
                d.emit(e.EvictionOverdue(lease_id=lease.id))
        case _:
            raise AssertionError(f"{kind!r} is no timer of a lease")


def _is_due(d: Decision, deadline: float | None) -> bool:
    return deadline is not None and deadline <= d.now


def _end_if_due(d: Decision, lease: Lease, deadline: float | None, outcome: Outcome) -> None:
    if _is_due(d, deadline):
        end(d, lease, outcome)


def _lease_expires(d: Decision, lease: Lease) -> None:
    if lease.expires_at is not None and lease.expires_at > d.now:
        d.books.timers.at(lease.expires_at, Timer.LEASE_EXPIRES, lease.id)
    else:
        end(d, lease, Outcome.EXPIRED)


def _ages(d: Decision, lease: Lease) -> None:
    priority = next_class(lease.priority)
    if _is_due(d, lease.ages_at) and priority is not None:
        d.emit(e.Aged(lease_id=lease.id, priority=priority))


def _load_ends(d: Decision, lease: Lease) -> None:
    """Close the window of one that loads for too long; a return without a peak had none, and counts as loaded."""
    if lease.state is State.LOADING and not lease.load_overdue and _is_due(d, lease.load_until):
        has_peak = lease.slot.peak_bytes is not None
        d.emit(e.LoadOverdue(lease_id=lease.id) if has_peak else e.Loaded(lease_id=lease.id))


def _reclaim_ends(d: Decision, lease: Lease) -> None:
    """Only fresh sight can tell that bytes did not come back: a blind driver gets the time anew."""
    if not lease.is_leaving or not _is_due(d, lease.reclaim_until):
        return
    stale_after_s = d.books.settings.stale_after_s
    blind = any(d.books.devices[uuid].blind(d.now, stale_after_s) for uuid in lease.devices)
    if blind or not looked_since(d, lease):
        d.books.timers.at(d.now + d.books.settings.reclaim_timeout_s, Timer.RECLAIM_ENDS, lease.id)
    elif lease.state is State.CLOSING:
        give_up_reclaim(d, lease)
    else:
        learn_residue(d, lease)
