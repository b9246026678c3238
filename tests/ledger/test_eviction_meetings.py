"""Evictions that meet something else: a release, a broken connection, a restart, a late look, a drain."""

from math import inf

import pytest
from tests.ledger.builders import (
    GIB,
    answer,
    ask,
    asked,
    books_of,
    card,
    founded,
    kinds,
    lease_of,
    looked,
    refusal_of,
    residues,
)

from cf_orch.ledger import Ledger, State
from cf_orch.ledger import commands as c
from cf_orch.ledger import events as e
from cf_orch.ledger.states import Rest


def test_a_deadline_of_one_that_need_not_leave_is_void() -> None:
    """Withdrawn before its time, it is not overdue then."""
    ledger = asked()
    ledger.handle(c.Release(lease_id=lease_of(ledger, "waiter").id), 10.0)

    assert ledger.handle(c.Tick(), 30.0) == []


def test_a_waiter_that_is_cut_off_loses_its_plan_and_may_have_it_again() -> None:
    """Nobody leaves for one whose caller is gone; back in time he stands where he stood, and asks again."""
    ledger = founded(card())
    ledger.handle(ask("victim", 20, priority=10, evictable=True), 0.0)
    request = ask("waiter", 20, priority=40, session=None)
    assert kinds(ledger.handle(request, 0.0)) == ["Requested", "Planned", "EvictAsked"]
    waiter = lease_of(ledger, "waiter", "web")

    assert kinds(ledger.handle(c.CutOff(lease_id=waiter.id), 1.0)) == ["PlanEnded", "Cut", "Withdrawn"]
    ledger.check(1.0)
    assert kinds(ledger.handle(request, 2.0)) == ["Rejoined", "LeaseRenewed", "Planned", "EvictAsked"]
    ledger.check(2.0)


def test_a_lease_without_a_session_that_was_parked_lives_by_its_heartbeats() -> None:
    """Its connection may break as it likes; without its heartbeats it ends, parked or not."""
    ledger = founded(card())
    ledger.handle(ask("victim", 20, priority=10, evictable=True, session=None, ttl_s=30.0), 0.0)
    ledger.handle(ask("waiter", 20, priority=40), 0.0)
    victim = lease_of(ledger, "victim", "web")
    ledger.handle(c.Checkpointed(lease_id=victim.id), 0.0)
    assert ledger.handle(c.CutOff(lease_id=victim.id), 1.0) == []
    ledger.handle(c.RenewLease(lease_id=victim.id), 10.0)
    ledger.handle(c.RenewSession(session_id="kiwi"), 30.0)

    assert ledger.handle(c.Tick(), 49.0) == []
    assert kinds(ledger.handle(c.Tick(), 50.0)) == ["Closing", "Ended"]


def test_a_return_has_no_end_of_its_wait() -> None:
    """``max_wait_s`` is for the first grant; one that gave its memory up waits as long as it must."""
    ledger = founded(card(), ttl_s=600.0)
    ledger.handle(ask("victim", 20, priority=10, evictable=True, max_wait_s=5.0), 0.0)
    ledger.handle(ask("waiter", 20, priority=40), 0.0)
    answer(ledger, 1.0)

    assert ledger.handle(c.Tick(), 100.0) == []
    assert ledger.position(lease_of(ledger, "victim")) == 0


def test_one_that_is_parked_ages_from_zero() -> None:
    """What it had gained by waiting before its grant is gone; from its parking on it gains anew."""
    ledger = founded(card(), aging_s=10.0, ttl_s=600.0)
    ledger.handle(ask("first", 20), 0.0)
    ledger.handle(ask("victim", 20, priority=10, evictable=True), 0.0)
    assert kinds(ledger.handle(c.Tick(), 10.0)) == ["Aged"]
    victim = lease_of(ledger, "victim")
    ledger.handle(c.Release(lease_id=lease_of(ledger, "first").id), 11.0)
    ledger.handle(ask("waiter", 20, priority=40), 12.0)
    answer(ledger, 15.0)
    assert (victim.priority, victim.ages_at) == (10, 25.0)

    assert kinds(ledger.handle(c.Tick(), 25.0)) == ["Aged"]
    assert victim.priority == 20
    ledger.handle(c.Restart(), 26.0)
    assert victim.ages_at is None  # normal is the highest class that waiting leads to


def test_a_victim_may_end_in_any_state() -> None:
    """Asked, parked or at rest: its release leaves nothing of it, nor in anybody's plan."""
    for idle, answers in ((False, False), (False, True), (True, True)):
        ledger = asked(idle=idle)
        if answers:
            answer(ledger)
        ledger.handle(c.Release(lease_id=lease_of(ledger, "victim").id), 1.0)
        ledger.check(1.0)
        assert lease_of(ledger, "victim").state is State.ENDED
        assert lease_of(ledger, "waiter").state is State.ACTIVE
        assert ledger.plans == {}


def test_a_residue_is_learnt_by_fresh_sight_only() -> None:
    """A look from before the answer tells nothing; what the driver shows when the time is up is what was kept."""
    ledger = asked(driver=True, residue_gb=1)
    ledger.handle(looked(card(driver=True, used=20)), 1.0)
    answer(ledger, 2.0)
    ledger.handle(looked(card(driver=True, used=20, age_s=1.0)), 3.0)
    assert ledger.handle(c.Tick(), 11.9) == []
    assert residues(ledger) == (GIB, None)
    ledger.handle(looked(card(driver=True, used=5)), 11.9)

    assert kinds(ledger.handle(c.Tick(), 12.0))[0] == "ResidueSeen"
    assert residues(ledger) == (GIB, 5 * GIB)


def test_a_gangs_residue_is_learnt_when_all_its_devices_were_seen() -> None:
    """One device that shows it gone says nothing of the other; what is known is the most that one of them shows."""
    both = (card("d0", driver=True), card("d1", driver=True, index=1))
    ledger = founded(*both)
    ledger.handle(ask("victim", 20, priority=10, evictable=True, gpus=2), 0.0)
    ledger.handle(ask("waiter", 20, priority=40), 0.0)
    answer(ledger, 0.0, residue_bytes=2 * GIB)
    victim = lease_of(ledger, "victim")

    assert kinds(ledger.handle(looked(card("d0", driver=True, used=1)), 1.0)) == ["Sampled", "Granted"]
    assert residues(ledger) == (2 * GIB, None)
    assert kinds(ledger.handle(looked(card("d1", driver=True, index=1, used=3)), 2.0)) == ["Sampled"]
    assert kinds(ledger.handle(looked(card("d0", driver=True, used=22)), 3.0)) == ["Sampled", "ResidueSeen"]

    assert residues(ledger) == (2 * GIB, 3 * GIB)
    assert victim.charges == {"d0": 2 * GIB, "d1": 3 * GIB}


def test_a_blind_driver_gets_the_time_of_a_residue_anew() -> None:
    """Who cannot be seen is not said to have kept anything."""
    ledger = asked(driver=True, residue_gb=1)
    answer(ledger, 0.0)

    assert ledger.handle(c.Tick(), 10.0) == []
    ledger.handle(c.RenewSession(session_id="kiwi"), 19.0)
    ledger.handle(looked(card(driver=True)), 19.0)
    assert ledger.next_deadline() == 20.0
    assert ledger.handle(c.Tick(), 20.0) == []


def test_a_synced_residue_must_be_possible() -> None:
    """What a session says that it kept of a lease is not less than nothing, nor more than the lease has."""
    ledger = asked()
    holding = c.Holding(request_id="victim", parked=True, size_bytes=GIB, residue_bytes=2 * GIB)

    assert refusal_of(ledger, c.Sync(session_id="kiwi", holdings=(holding,))).code == "bad_value"


# --- what survives


@pytest.mark.parametrize("given_up", [False, True])
def test_a_snapshot_keeps_plans_and_who_is_asked(given_up: bool) -> None:  # noqa: FBT001 - a table's column
    """Devices, victims, and whether the plan lasts; the one who is asked, and that it is overdue."""
    ledger = asked()
    now = 30.0 if given_up else 10.0
    ledger.handle(c.RenewSession(session_id="kiwi"), now)
    ledger.handle(c.Tick(), now)
    waiter, victim = lease_of(ledger, "waiter"), lease_of(ledger, "victim")

    loaded = Ledger.from_snapshot(ledger.snapshot(), ledger.settings)
    loaded.handle(c.Restart(), 100.0)
    loaded.handle(looked(card()), 100.0)
    loaded.check(100.0)

    assert loaded.plans == ledger.plans
    plan = loaded.plans[waiter.id]
    assert (plan.devices, plan.victims, plan.given_up) == (("d0",), (victim.id,), given_up)
    again = lease_of(loaded, "victim")
    assert (again.state, again.evicted_for, again.eviction_overdue) == (State.EVICTING, waiter.id, given_up)
    assert again.evict_until == (None if given_up else 130.0)
    assert lease_of(loaded, "waiter").has_plan is not given_up
    assert kinds(loaded.handle(c.Checkpointed(lease_id=again.id), 101.0)) == ["Parked", "Granted"]


def test_a_snapshot_keeps_who_is_parked_and_who_rests() -> None:
    """Their places, their residues, and what would bring them back."""
    ledger = asked(residue_gb=1)
    answer(ledger)
    ledger.handle(ask("other", 1, evictable=True), 0.0)
    ledger.handle(c.Evict(lease_id=lease_of(ledger, "other").id), 0.0)
    ledger.handle(c.Checkpointed(lease_id=lease_of(ledger, "other").id), 0.0)

    loaded = Ledger.from_snapshot(ledger.snapshot(), ledger.settings)
    loaded.handle(c.Restart(), 1.0)
    loaded.check(1.0)

    parked, resting = lease_of(loaded, "victim"), lease_of(loaded, "other")
    assert (parked.state, parked.charges, loaded.position(parked)) == (State.PARKED, {"d0": GIB}, 0)
    assert (resting.state, resting.rest, loaded.position(resting)) == (State.RESTING, Rest.OPERATOR, None)
    assert books_of(loaded).queue.returning == 1


def test_what_is_learnt_of_checkpoints_starts_anew() -> None:
    """How long a lease took to leave and to come back is not journaled."""
    ledger = asked()
    answer(ledger, 7.0)
    ledger.handle(c.Release(lease_id=lease_of(ledger, "waiter").id), 8.0)
    ledger.handle(c.MarkLoaded(lease_id=lease_of(ledger, "victim").id), 11.0)
    victim = lease_of(ledger, "victim")
    assert (victim.checkpoint_s, victim.restore_s) == (7.0, 3.0)

    again = lease_of(Ledger.from_snapshot(ledger.snapshot()), "victim")
    assert (again.checkpoint_s, again.restore_s) == (None, 0.0)


def test_a_protection_that_ends_is_looked_at_once() -> None:
    """The earliest of several is what a timer is set for, and one that came too late is not set again."""
    ledger = founded(card(), min_residency_s=20.0, ttl_s=600.0)
    ledger.handle(ask("warm", 20, evictable=True), 0.0)
    ledger.handle(c.MarkIdle(lease_id=lease_of(ledger, "warm").id), 0.0)
    ledger.handle(ask("r1", 20), 5.0)
    ledger.handle(ask("r2", 20), 6.0)
    assert books_of(ledger).looks_again_at == 20.0

    assert kinds(ledger.handle(c.Tick(), 20.0)) == ["Planned", "EvictAsked"]
    assert books_of(ledger).looks_again_at is None


# --- devices


def test_a_drain_asks_only_who_can_leave() -> None:
    """Who cannot, who has failed, who waits and who was asked by an operator is left as it is."""
    ledger = founded(card(gb=48), card("d1", index=1))
    for name in ("stiff", "failed", "operators", "willing"):
        ledger.handle(ask(name, 4, device=("d0",), evictable=name != "stiff"), 0.0)
    ledger.handle(ask("elsewhere", 4, device=("d1",), evictable=True), 0.0)
    for name in ("failed", "operators"):
        ledger.handle(c.Evict(lease_id=lease_of(ledger, name).id), 0.0)
    ledger.handle(c.Checkpointed(lease_id=lease_of(ledger, "failed").id, error="no"), 0.0)

    events = ledger.handle(c.Drain(uuid="d0", evict=True), 1.0)

    assert events == [
        e.DrainBegun(uuid="d0", for_s=None, evict=True),
        e.EvictAsked(lease_id=lease_of(ledger, "willing").id, evicted_for="drain"),
    ]


def test_a_gang_rests_until_no_device_of_it_is_drained() -> None:
    """Two drains must both end before a lease on both devices comes back."""
    ledger = founded(card("d0"), card("d1", index=1))
    ledger.handle(ask("gang", 4, gpus=2, evictable=True), 0.0)
    gang = lease_of(ledger, "gang")
    ledger.handle(c.Drain(uuid="d0", evict=True), 0.0)
    ledger.handle(c.Checkpointed(lease_id=gang.id), 0.0)
    ledger.handle(c.Drain(uuid="d1", evict=True), 0.0)

    assert kinds(ledger.handle(c.Undrain(uuid="d0"), 1.0)) == ["DrainEnded"]
    assert kinds(ledger.handle(c.Undrain(uuid="d1"), 2.0)) == ["DrainEnded", "Requeued", "Granted"]


@pytest.mark.parametrize("for_s", [0.0, -1.0, inf])
def test_a_drain_for_no_time_asks_nobody(for_s: float) -> None:
    """A refused drain changes nothing, nor asks it anybody."""
    ledger = founded(card())
    ledger.handle(ask("r1", 4, evictable=True), 0.0)

    assert refusal_of(ledger, c.Drain(uuid="d0", for_s=for_s, evict=True)).code == "bad_value"
