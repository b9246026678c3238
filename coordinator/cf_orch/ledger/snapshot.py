"""All that survives a restart, as bytes: what replaying the journal from its beginning would give."""

from typing import Any

import msgspec

from cf_orch.ledger.books import Books, RequestKey
from cf_orch.ledger.records import Device, Lease, Plan, Session
from cf_orch.ledger.states import WAITING, State

__all__ = ["dump", "durable_view", "load"]


class _Snapshot(msgspec.Struct, kw_only=True):
    ledger_id: str
    seq: int
    cancelled: list[RequestKey]
    sessions: list[Session]
    devices: list[Device]
    leases: list[Lease]
    plans: list[Plan]
    ended: list[Lease]
    charges: dict[str, dict[str, int]]


def dump(books: Books) -> bytes:
    """Encode the books.  Charges go along, for what was being given back is charged until a driver looks."""
    view = durable_view(books)
    view["cancelled"] = list(books.cancelled)
    view["ended"] = [_durable(lease) for lease in books.ended.values()]
    view["charges"] = {key: books.leases[key].charges for key in sorted(books.leases)}
    return msgspec.json.encode(view)


def durable_view(books: Books) -> dict[str, Any]:
    """All that a fold of the journal must give again, in plain values."""
    return {
        "ledger_id": books.ledger_id,
        "seq": books.seq,
        "sessions": [_durable(books.sessions[key]) for key in sorted(books.sessions)],
        "devices": [_durable(books.devices[key]) for key in sorted(books.devices)],
        "leases": [_durable(books.leases[key]) for key in sorted(books.leases)],
        "plans": [msgspec.structs.asdict(books.plans[key]) for key in sorted(books.plans)],
    }


def _durable(record: Session | Device | Lease) -> dict[str, Any]:
    fields = {name: getattr(record, name) for name in record.__struct_fields__ if name not in record.VOLATILE}
    if fields.get("state") is State.IDLE:  # that a lease is idle is not journaled
        fields["state"] = State.ACTIVE
    return fields


def load(books: Books, encoded: bytes) -> None:
    """Fill empty books from a snapshot; deadlines are set by the restart that must follow."""
    snapshot = msgspec.json.decode(encoded, type=_Snapshot)
    books.ledger_id, books.seq = snapshot.ledger_id, snapshot.seq
    books.cancelled = dict.fromkeys(snapshot.cancelled, 0.0)
    books.sessions = {session.id: session for session in snapshot.sessions}
    books.devices = {device.uuid: device for device in snapshot.devices}
    books.plans = {plan.owner: plan for plan in snapshot.plans}
    books.ended = {lease.id: lease for lease in snapshot.ended}
    for lease in sorted([*snapshot.ended, *snapshot.leases], key=lambda lease: lease.place):
        books.requests[lease.caller, lease.request_id] = lease.id  # an adopted lease may have come after another's end
    for lease in snapshot.leases:
        _load_lease(books, lease, snapshot.charges.get(lease.id, {}))


def _load_lease(books: Books, lease: Lease, charges: dict[str, int]) -> None:
    books.leases[lease.id] = lease
    if lease.session_id in books.sessions:
        books.sessions[lease.session_id].leases.add(lease.id)
    if lease.id in books.plans:
        lease.gave_plan_up = books.plans[lease.id].given_up
        lease.has_plan = not lease.gave_plan_up
    if lease.state in WAITING:
        books.queue.join(lease)
        books.queue.line_up(lease)
    elif lease.state is State.EVICTING:
        books.evicting.add(lease.id)
    if lease.is_counted:
        service = lease.slot.service
        books.held_bytes[service] = books.held_bytes.get(service, 0) + lease.full_bytes
    for uuid in lease.devices:
        device = books.devices[uuid]
        device.holders.add(lease.id)
        books.charge(lease, device, charges[uuid], 0)
