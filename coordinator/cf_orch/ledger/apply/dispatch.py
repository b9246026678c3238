"""Events into state: the only code that changes the books, live and in replay alike.

Each function takes the books, one event and ``now``; none of them decides anything.  Deadlines are set from ``now``,
so a replay must be followed by :class:`~cf_orch.ledger.events.Restarted`, which sets them all anew.
"""

from typing import assert_never

from cf_orch.ledger import events as e
from cf_orch.ledger.apply import devices, evictions, holding, sessions, waiting
from cf_orch.ledger.books import Books
from cf_orch.ledger.deadlines import renew_lease, restart

__all__ = ["apply"]


def apply(books: Books, event: e.Event, now: float) -> None:  # noqa: C901, PLR0912, PLR0915 - one line a kind of event
    """Change the books by one event; one that does not fit a lease's state raises and changes nothing."""
    match event:
        case e.Founded():
            books.ledger_id = event.ledger_id
        case e.Restarted():
            restart(books, now)
        case e.SessionOpened():
            sessions.session_opened(books, event, now)
        case e.SessionRenewed():
            sessions.session_renewed(books, event, now)
        case e.SessionEnded():
            del books.sessions[event.session_id]
        case e.Synced():
            books.sessions[event.session_id].may_adopt = False
        case e.DeviceSeen():
            devices.device_seen(books, event)
        case e.Vouched():
            books.devices[event.uuid].vouched = True
        case e.DrainBegun() | e.DrainEnded():
            devices.drain(books, event, now)
        case e.Sampled():
            devices.sampled(books, event)
        case e.Requested():
            waiting.requested(books, event, now)
        case e.CancelNoted():
            waiting.cancel_noted(books, event, now)
        case e.CancelForgotten():
            del books.cancelled[event.caller, event.request_id]
        case e.Forgotten():
            holding.forgotten(books, event)
        case e.Granted():
            holding.granted(books, event, now)
        case e.Adopted():
            holding.adopted(books, event, now)
        case e.Aged():
            waiting.aged(books, event, now)
        case e.Cut() | e.Rejoined():
            waiting.connection(books, event, now)
        case e.LeaseRenewed():
            renew_lease(books, books.leases[event.lease_id], now)
        case e.Attached():
            books.leases[event.lease_id].pids += ((event.pid, event.pid_start),)
        case e.Loaded() | e.LoadOverdue():
            holding.loaded(books, event, now)
        case e.Idled() | e.Busied():
            holding.use(books, event, now)
        case e.Planned() | e.PlanEnded():
            evictions.planned(books, event)
        case e.EvictAsked():
            evictions.asked(books, event, now)
        case e.EvictionOverdue():
            books.leases[event.lease_id].eviction_overdue = True
        case e.Withdrawn() | e.CheckpointFailed():
            evictions.kept(books, event, now)
        case e.Parked():
            evictions.parked(books, event, now)
        case e.Requeued():
            evictions.requeued(books, event, now)
        case e.ResidueSeen():
            books.leases[event.lease_id].residue_seen_bytes = event.residue_bytes
        case e.Closing():
            holding.closing(books, event, now)
        case e.Leaked():
            devices.leaked(books, event)
        case e.Ended():
            holding.ended(books, event, now)
        case _:
            assert_never(event)
    if event.durable:
        books.seq += 1
