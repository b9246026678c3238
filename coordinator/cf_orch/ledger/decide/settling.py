"""After each command: grant, plan and withdraw until nothing is left to do."""

from math import isfinite
from typing import assert_never

from cf_orch.ledger import events as e
from cf_orch.ledger.decide.decision import Decision
from cf_orch.ledger.eviction import to_withdraw
from cf_orch.ledger.records import Lease
from cf_orch.ledger.schedule import GiveUp, Grant, MakePlan, Step, Walk
from cf_orch.ledger.states import Rest, State
from cf_orch.ledger.timers import Timer

__all__ = ["settle"]


def settle(d: Decision) -> None:
    """Take one step after the other; each may make the next possible."""
    _empty_drained_devices(d)
    while True:
        walk = Walk(d.books, d.now)
        step = walk.next_step()
        if step is not None:
            _take(d, step)
        elif unneeded := to_withdraw(d.books, d.now):
            for lease in unneeded:
                d.emit(e.Withdrawn(lease_id=lease.id))
        else:
            _look_again(d, walk.look_again_at)
            return


def _empty_drained_devices(d: Decision) -> None:
    """Where a drain is to empty a device, ask all to leave, those that load when they have; and let none return."""
    for device in d.books.devices.values():
        if not device.drain_evicts:
            continue
        for lease in d.books.held_on(device):
            if lease.state is State.PARKED:
                d.emit(e.Parked(lease_id=lease.id, residue_bytes=lease.residue_bytes or 0, rest=Rest.DRAIN))
            elif _is_to_leave(d, lease):
                d.emit(e.EvictAsked(lease_id=lease.id, evicted_for=Rest.DRAIN))


def _is_to_leave(d: Decision, lease: Lease) -> bool:
    asked_by_a_plan = lease.state is State.EVICTING and not lease.asked_by_operator
    nothing_loads_there = all(d.books.devices[uuid].window is None for uuid in lease.devices)
    return nothing_loads_there and (lease.can_be_asked or asked_by_a_plan)


def _take(d: Decision, step: Step) -> None:
    lease = d.books.leases[step.lease_id]
    match step:
        case Grant():
            _grant(d, lease, step.devices)
        case MakePlan():
            d.emit(e.Planned(lease_id=lease.id, devices=step.proposal.devices, victims=step.proposal.victims))
            for victim in (d.books.leases[key] for key in step.proposal.victims):
                if victim.state is not State.EVICTING:
                    d.emit(e.EvictAsked(lease_id=victim.id, evicted_for=lease.id))
        case GiveUp():
            d.emit(e.PlanEnded(lease_id=lease.id))
        case _:
            assert_never(step)


def _grant(d: Decision, lease: Lease, devices: tuple[str, ...]) -> None:
    returns = bool(lease.devices)
    d.emit(
        e.Granted(
            lease_id=lease.id,
            token=d.next_seq(),
            devices=devices,
            loading=returns or lease.slot.peak_bytes is not None,
            unix_s=d.unix_s,
            returns=returns,
        )
    )


def _look_again(d: Decision, when: float) -> None:
    """See to it that somebody looks when a protection ends that a waiter waits for."""
    armed = d.books.looks_again_at
    if isfinite(when) and (armed is None or when < armed):
        d.books.looks_again_at = when
        d.books.timers.at(when, Timer.LOOK_AGAIN, "")
