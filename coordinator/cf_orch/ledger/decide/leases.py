"""What a holder says of its lease."""

from cf_orch.ledger import events as e
from cf_orch.ledger.commands import Attach, MarkBusy, MarkIdle, MarkLoaded, Release, RenewLease
from cf_orch.ledger.decide.decision import Decision
from cf_orch.ledger.decide.ending import end
from cf_orch.ledger.decide.evictions import want_again
from cf_orch.ledger.records import Lease
from cf_orch.ledger.refusals import Refusal
from cf_orch.ledger.states import HOLDING, Outcome, State

__all__ = ["attach", "mark_busy", "mark_idle", "mark_loaded", "release", "renew_lease"]


def release(d: Decision, command: Release) -> None:
    """Give the memory back, or leave the queue; releasing twice, or long after the end, is harmless."""
    if d.books.find(command.lease_id) is None and d.ended_long_ago(command.lease_id):
        return
    lease = d.owned(command.lease_id, command.by)
    if lease.state is not State.ENDED:
        end(d, lease, Outcome.RELEASED)


def renew_lease(d: Decision, command: RenewLease) -> None:
    """Keep a lease that has no session for another full grace; one with a session lives by that."""
    lease = d.live(command.lease_id, command.by)
    if lease.session_id is None:
        d.emit(e.LeaseRenewed(lease_id=lease.id))


def _held(d: Decision, lease_id: str, by: str | None) -> Lease:
    lease = d.live(lease_id, by)
    if lease.state is State.QUEUED:
        raise Refusal("not_granted", f"lease {lease_id} is {lease.state}: it holds no memory yet")
    return lease


def mark_loaded(d: Decision, command: MarkLoaded) -> None:
    """End the load; said of a lease that loads nothing, it is harmless."""
    lease = _held(d, command.lease_id, command.by)
    if lease.state is State.LOADING:
        d.emit(e.Loaded(lease_id=lease.id))


def mark_idle(d: Decision, command: MarkIdle) -> None:
    """Keep the memory warm, unused; idle already is harmless."""
    lease = _held(d, command.lease_id, command.by)
    if lease.state is State.LOADING:
        raise Refusal("still_loading", f"lease {lease.id} is loading: say loaded first")
    if lease.state in HOLDING and lease.idle_since is None:
        d.emit(e.Idled(lease_id=lease.id))


def mark_busy(d: Decision, command: MarkBusy) -> None:
    """Use the memory again, or queue for it again where it was given up while idle; busy already is harmless."""
    lease = _held(d, command.lease_id, command.by)
    if lease.state is State.IDLE:
        d.emit(e.Busied(lease_id=lease.id))
    else:
        want_again(d, lease)


def attach(d: Decision, command: Attach) -> None:
    """Name a process that uses the lease's memory, so that its bytes are not taken for foreign use."""
    lease = d.live(command.lease_id, command.by)
    if command.pid <= 0:
        raise Refusal("bad_value", f"pid must be positive, not {command.pid}")
    if (command.pid, command.pid_start) not in lease.pids:
        d.emit(e.Attached(lease_id=lease.id, pid=command.pid, pid_start=command.pid_start))
