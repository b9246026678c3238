"""Asking for memory, asking again, and taking it back before it was answered."""

from cf_orch.ledger import events as e
from cf_orch.ledger.admission import admit, check_ttl, complete
from cf_orch.ledger.commands import CancelRequest, CutOff, Request
from cf_orch.ledger.decide.decision import Decision
from cf_orch.ledger.decide.ending import end
from cf_orch.ledger.records import Lease
from cf_orch.ledger.refusals import Refusal
from cf_orch.ledger.states import Outcome, State

__all__ = ["cancel_request", "cut_off", "request"]


def request(d: Decision, command: Request) -> None:
    """Take a place in the queue, or find the one that an earlier try with the same id took."""
    earlier = d.books.find_request((command.caller, command.request_id))
    if earlier is None:
        _enqueue(d, command)
    else:
        _retry(d, command, earlier)


def _enqueue(d: Decision, command: Request) -> None:
    session = None if command.session_id is None else d.session(command.session_id)
    if session is not None and command.service and session.service != command.service:
        raise Refusal(
            "bad_value",
            f"session {session.id} is of {session.service}, and cannot ask for {command.service}: open one for that",
        )
    host_id = session.host_id if session else None
    slot = admit(d.books, command, host_id)
    ttl_s = None if session else check_ttl(d.books, command.ttl_s)
    cancelled = (command.caller, command.request_id) in d.books.cancelled
    place = d.next_seq()
    lease_id = f"{d.books.ledger_id}-{place}"
    d.emit(
        e.Requested(
            lease_id=lease_id,
            place=place,
            slot=slot,
            request_id=command.request_id,
            caller=command.caller,
            session_id=command.session_id,
            host_id=host_id,
            ttl_s=ttl_s,
            unix_s=d.unix_s,
        )
    )
    if cancelled:
        end(d, d.books.leases[lease_id], Outcome.CANCELLED)


def _retry(d: Decision, command: Request, lease: Lease) -> None:
    if not lease.adopted and complete(d.books, command) != lease.slot:
        raise Refusal(
            "request_id_reused",
            f"request id {command.request_id} already stands for lease {lease.id}, which asked for something else: "
            "use a new id for a new request",
        )
    if lease.state is State.ENDED:
        return
    if lease.cut_until is not None:
        d.emit(e.Rejoined(lease_id=lease.id))
    if lease.session_id is None:
        d.emit(e.LeaseRenewed(lease_id=lease.id))


def cancel_request(d: Decision, command: CancelRequest) -> None:
    """End what a request became; if it has not arrived yet, see to it that it finds itself cancelled."""
    lease = d.books.find_request((command.caller, command.request_id))
    if lease is None:
        d.emit(e.CancelNoted(caller=command.caller, request_id=command.request_id))
    elif lease.state is not State.ENDED:
        end(d, lease, Outcome.RELEASED)


def cut_off(d: Decision, command: CutOff) -> None:
    """Pass a waiter over whose connection broke; one with a session stays, for its session lives.

    One that has held already is renewed by its own heartbeats, whatever becomes of a connection.
    """
    lease = d.books.leases.get(command.lease_id)
    if lease is not None and lease.session_id is None and d.books.is_waiting(lease) and not lease.devices:
        if lease.has_plan:
            d.emit(e.PlanEnded(lease_id=lease.id))
        d.emit(e.Cut(lease_id=lease.id))
