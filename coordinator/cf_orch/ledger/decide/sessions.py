"""Registering, heartbeats, leaving, and saying after a reconnect what one holds."""

from collections import Counter

from cf_orch.ledger import events as e
from cf_orch.ledger.admission import check_priority, check_ttl
from cf_orch.ledger.commands import CloseSession, Holding, OpenSession, RenewSession, Sync
from cf_orch.ledger.decide.decision import Decision
from cf_orch.ledger.decide.ending import end, end_session
from cf_orch.ledger.decide.evictions import park
from cf_orch.ledger.records import Lease, Session, Slot
from cf_orch.ledger.refusals import Refusal
from cf_orch.ledger.settings import GIB, PRIORITIES
from cf_orch.ledger.states import HOLDING, Outcome, State

__all__ = ["close_session", "open_session", "renew_session", "sync"]


def open_session(d: Decision, command: OpenSession) -> None:
    """Register a process; one that registers again was cut off, and may adopt what it took meanwhile."""
    if not command.service:
        raise Refusal("bad_value", "service is empty: name the product that registers")
    ttl_s = check_ttl(d.books, command.ttl_s)
    known = d.books.sessions.get(command.session_id)
    if known is None:
        facts = {field: getattr(command, field) for field in command.__struct_fields__}
        d.emit(e.SessionOpened(**(facts | {"ttl_s": ttl_s})))
    elif known.service != command.service:
        raise Refusal("not_yours", f"session {command.session_id} belongs to {known.service}")
    else:
        d.emit(e.SessionRenewed(session_id=known.id, reopened=True))


def renew_session(d: Decision, command: RenewSession) -> None:
    """A heartbeat keeps the session and all its leases for a full grace."""
    d.emit(e.SessionRenewed(session_id=d.session(command.session_id).id))


def close_session(d: Decision, command: CloseSession) -> None:
    """End a session and its leases."""
    end_session(d, d.session(command.session_id), Outcome.LOST if command.lost else Outcome.RELEASED)


def sync(d: Decision, command: Sync) -> None:
    """Make the ledger hold for a session exactly what the session says that it holds and wants.

    1. What it names and the ledger knows stays.
    2. What it holds and the ledger does not know, or has ended, is adopted as a new lease, even beyond the total,
       if the session was cut off or the coordinator started since it last synced; else it is not, and stays ended.
    3. What it does not name ends; so does a wait, for a first grant or a return, for what it holds by now.
    4. What it has given up, and was asked to, is parked: that answer was lost.
    """
    session = d.session(command.session_id)
    _check_named_once(command.holdings)
    for holding in command.holdings:
        _check_residue(holding)
    unknown = [holding for holding in command.holdings if _known(d, session, holding) is None and _is_held(holding)]
    to_adopt = unknown if session.may_adopt else []
    for holding in to_adopt:
        _check_adoptable(d, holding)

    d.emit(e.SessionRenewed(session_id=session.id))
    known = [(holding, lease) for holding in command.holdings if (lease := _known(d, session, holding))]
    named = {lease.id for _, lease in known}
    for lease_id in sorted(session.leases - named, key=lambda lease_id: d.books.leases[lease_id].place):
        end(d, d.books.leases[lease_id], Outcome.RELEASED)
    for holding in to_adopt:
        _adopt(d, session, holding)
    for holding, lease in known:
        if holding.parked and lease.state is State.EVICTING:
            park(d, lease, holding.residue_bytes)
    d.emit(e.Synced(session_id=session.id))


def _known(d: Decision, session: Session, holding: Holding) -> Lease | None:
    """The live lease that a holding names, by its id or by its request id."""
    by_id = d.books.leases.get(holding.lease_id or "")
    lease = by_id or d.books.find_request((session.id, holding.request_id))
    if lease is None or lease.session_id != session.id or lease.state in (State.CLOSING, State.ENDED):
        return None
    return lease if lease.state in HOLDING or not _is_held(holding) else None


def _is_held(holding: Holding) -> bool:
    return holding.held and not holding.parked


def _check_named_once(holdings: tuple[Holding, ...]) -> None:
    for request_id, times in Counter(holding.request_id for holding in holdings).items():
        if times > 1:
            raise Refusal("bad_value", f"request {request_id} is named {times} times: name each lease once")


def _check_residue(holding: Holding) -> None:
    if not (holding.held or holding.parked) or holding.residue_bytes is None:
        return
    if not 0 <= holding.residue_bytes <= holding.size_bytes:
        raise Refusal(
            "bad_value",
            f"request {holding.request_id}: residue_gb must be 0 to vram_gb, not {holding.residue_bytes / GIB:g}",
        )


def _check_adoptable(d: Decision, holding: Holding) -> None:
    missing = [uuid for uuid in holding.devices if uuid not in d.books.devices]
    if missing or not holding.devices:
        named = ", ".join(missing) or "no device"
        raise Refusal("unknown_device", f"request {holding.request_id} holds {named}, which is not known here")
    if len(set(holding.devices)) < len(holding.devices):
        raise Refusal("bad_value", f"request {holding.request_id} names a device twice: {', '.join(holding.devices)}")
    if holding.size_bytes <= 0:
        raise Refusal("bad_value", f"request {holding.request_id} is held, but says no positive vram_gb")
    if holding.priority is not None:
        check_priority(holding.priority)


def _adopt(d: Decision, session: Session, holding: Holding) -> None:
    seq = d.next_seq()
    slot = Slot(
        service=session.service,
        size_bytes=holding.size_bytes,
        priority=PRIORITIES["normal"] if holding.priority is None else holding.priority,
        task_type=holding.task_type,
        model=holding.model,
        gpus=len(holding.devices),
        residue_bytes=holding.residue_bytes,
        evictable=holding.evictable,
    )
    d.emit(
        e.Adopted(
            lease_id=f"{d.books.ledger_id}-{seq}",
            place=seq,
            token=seq,
            slot=slot,
            request_id=holding.request_id,
            caller=session.id,
            session_id=session.id,
            host_id=session.host_id,
            devices=holding.devices,
            unix_s=d.unix_s,
        )
    )
