"""What a holder that was asked to leave answers, and what an operator asks."""

from cf_orch.ledger import events as e
from cf_orch.ledger.commands import Checkpointed, Evict, Resume
from cf_orch.ledger.decide.decision import Decision
from cf_orch.ledger.decide.ending import looked_since
from cf_orch.ledger.records import Lease
from cf_orch.ledger.refusals import Refusal
from cf_orch.ledger.settings import GIB
from cf_orch.ledger.states import Rest, State

__all__ = ["checkpointed", "come_back", "evict", "learn_residue", "park", "resume", "want_again"]


def checkpointed(d: Decision, command: Checkpointed) -> None:
    """Take a holder's answer in; said of a lease that nobody asks any more, it is harmless."""
    lease = d.live(command.lease_id, command.by)
    if lease.state is State.QUEUED:
        raise Refusal("not_granted", f"lease {lease.id} is queued: it holds no memory yet")
    residue_bytes = command.residue_bytes
    if residue_bytes is not None and not 0 <= residue_bytes <= lease.slot.size_bytes:
        raise Refusal(
            "bad_value",
            f"residue_gb must be 0 to vram_gb ({lease.slot.size_bytes / GIB:g}), not {residue_bytes / GIB:g}",
        )
    if lease.state is not State.EVICTING:
        return
    if command.error is not None:
        d.emit(e.CheckpointFailed(lease_id=lease.id, error=command.error))
    else:
        park(d, lease, residue_bytes)


def park(d: Decision, lease: Lease, residue_bytes: int | None) -> None:
    """Let a lease that is asked to leave be parked, or rest if nobody uses it or an operator asked."""
    if residue_bytes is None:
        residue_bytes = lease.slot.residue_bytes or 0
    rest = Rest.IDLE if lease.idle_since is not None else None
    if lease.asked_by_operator:
        rest = Rest(lease.evicted_for or "")
    d.emit(e.Parked(lease_id=lease.id, residue_bytes=residue_bytes, rest=rest))


def want_again(d: Decision, lease: Lease) -> None:
    """Queue a lease anew that was, or is being, evicted while idle: its holder is busy again."""
    if lease.rest is Rest.IDLE:
        d.emit(e.Requeued(lease_id=lease.id, place=d.next_seq()))
    elif lease.state is State.EVICTING and lease.idle_since is not None:
        by_operator = lease.asked_by_operator  # it rests until he resumes it, whatever its holder does
        again = e.Requeued(lease_id=lease.id, place=d.next_seq())
        d.emit(e.Busied(lease_id=lease.id) if by_operator else again)


def evict(d: Decision, command: Evict) -> None:
    """Ask a holder to leave until it is resumed; one that is parked already stays so until then."""
    lease = d.live(command.lease_id, None)
    match lease.state:
        case State.QUEUED:
            raise Refusal("not_granted", f"lease {lease.id} is queued: it holds no memory yet")
        case State.LOADING:
            raise Refusal("still_loading", f"lease {lease.id} is loading, and is not asked meanwhile: try again later")
        case State.PARKED | State.RESTING:
            d.emit(e.Parked(lease_id=lease.id, residue_bytes=lease.residue_bytes or 0, rest=Rest.OPERATOR))
        case _ if not lease.slot.evictable:
            raise Refusal(
                "not_evictable",
                f"lease {lease.id} of {lease.slot.service} cannot leave: it was taken without a checkpoint",
            )
        case _:
            _refuse_while_loading(d, lease)
            d.emit(e.EvictAsked(lease_id=lease.id, evicted_for=Rest.OPERATOR))


def _refuse_while_loading(d: Decision, lease: Lease) -> None:
    for uuid in lease.devices:
        if (loading := d.books.devices[uuid].window) is not None:
            raise Refusal(
                "still_loading", f"lease {loading} is loading on {uuid}, and nobody there is asked meanwhile: try later"
            )


def resume(d: Decision, command: Resume) -> None:
    """Let a lease that an operator evicted come back, at its old place, or with the end of a drain there.

    Harmless for any other lease.
    """
    come_back(d, d.live(command.lease_id, None), {Rest.OPERATOR, Rest.DRAIN})


def come_back(d: Decision, lease: Lease, rests: set[Rest]) -> None:
    """Undo an operator's eviction for one of these reasons, if that is why the lease left or is to leave."""
    if lease.rest in rests:
        d.emit(e.Requeued(lease_id=lease.id, place=lease.place))
    elif lease.state is State.EVICTING and lease.evicted_for in rests:
        d.emit(e.Withdrawn(lease_id=lease.id))


def learn_residue(d: Decision, lease: Lease) -> None:
    """Note what a parked lease kept, by fresh sight, where that is something else than was thought."""
    if not looked_since(d, lease):
        return
    kept_bytes = max((lease.residue_bytes or 0, *lease.seen.values()))
    known_bytes = lease.residue_bytes if lease.residue_seen_bytes is None else lease.residue_seen_bytes
    if kept_bytes != known_bytes:
        d.emit(e.ResidueSeen(lease_id=lease.id, residue_bytes=kept_bytes))
