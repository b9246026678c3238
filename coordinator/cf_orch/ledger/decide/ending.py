"""How leases end: at once where nothing is held, else through closing, until the driver shows the bytes gone."""

from cf_orch.ledger.decide.decision import Decision
from cf_orch.ledger.events import Closing, Ended, Leaked, SessionEnded
from cf_orch.ledger.records import Lease, Session
from cf_orch.ledger.states import Outcome, State

__all__ = ["end", "end_reclaimed", "end_session", "give_up_reclaim", "looked_since"]


def end(d: Decision, lease: Lease, outcome: Outcome) -> None:
    """End a live lease; one that is closing already goes on closing."""
    if lease.state is State.QUEUED:
        left = Outcome.CANCELLED if outcome is Outcome.RELEASED else outcome
        d.emit(Ended(lease_id=lease.id, outcome=left))
    elif lease.state is not State.CLOSING:
        d.emit(Closing(lease_id=lease.id, outcome=outcome))
        end_reclaimed(d, lease)


def end_reclaimed(d: Decision, lease: Lease) -> None:
    """End a closing lease once every driver has looked since and shows nothing of it any more."""
    if looked_since(d, lease) and not any(lease.charges.values()):
        d.emit(Ended(lease_id=lease.id, outcome=lease.outcome or Outcome.RELEASED))


def looked_since(d: Decision, lease: Lease) -> bool:
    """Tell whether every driver has looked since the lease was given back."""
    devices = (d.books.devices[uuid] for uuid in lease.devices)
    samples = (device.sample for device in devices if device.has_driver)
    return all(sample is not None and sample.taken_at > lease.due_since for sample in samples)


def give_up_reclaim(d: Decision, lease: Lease) -> None:
    """End a closing lease whose bytes did not come back in time: the rest leaked, and is foreign use now."""
    for uuid in lease.devices:
        if lease.seen[uuid]:
            d.emit(Leaked(lease_id=lease.id, uuid=uuid, leaked_bytes=lease.seen[uuid]))
    d.emit(Ended(lease_id=lease.id, outcome=lease.outcome or Outcome.RELEASED))


def end_session(d: Decision, session: Session, outcome: Outcome) -> None:
    """End a session and, before it, all its leases, in the order in which they were asked for."""
    for lease in sorted((d.books.leases[lease_id] for lease_id in session.leases), key=lambda lease: lease.place):
        end(d, lease, outcome)
    d.emit(SessionEnded(session_id=session.id, outcome=outcome))
