"""What is said about evictions where scenarios do not tell: who may, what is harmless, and what is refused."""

import pytest
from tests.ledger.builders import GIB, answer, ask, asked, card, founded, kinds, lease_of, refusal_of

from cf_orch.ledger import State
from cf_orch.ledger import commands as c
from cf_orch.ledger.states import Rest

# --- answering


def test_who_waits_has_given_nothing_up() -> None:
    """A lease that was never granted has no memory to leave."""
    ledger = asked()

    assert refusal_of(ledger, c.Checkpointed(lease_id=lease_of(ledger, "waiter").id)).code == "not_granted"


def test_only_its_session_and_the_operator_answer_for_a_lease() -> None:
    """Another session cannot say that a lease has left."""
    ledger = asked()
    lease_id = lease_of(ledger, "victim").id

    assert refusal_of(ledger, c.Checkpointed(lease_id=lease_id, by="paint")).code == "not_yours"
    assert kinds(ledger.handle(c.Checkpointed(lease_id=lease_id, by="kiwi"), 0.0)) == ["Parked", "Granted"]


@pytest.mark.parametrize("residue_gb", [-1, 21])
def test_an_absurd_residue_is_refused(residue_gb: int) -> None:
    """A lease keeps nothing less than nothing, and no more than it had; asked or not."""
    ledger = asked()
    command = c.Checkpointed(lease_id=lease_of(ledger, "victim").id, residue_bytes=residue_gb * GIB)

    refusal = refusal_of(ledger, command)
    assert (refusal.code, str(refusal)) == ("bad_value", f"residue_gb must be 0 to vram_gb (20), not {residue_gb}")
    ledger.handle(c.Release(lease_id=lease_of(ledger, "waiter").id), 0.0)
    assert refusal_of(ledger, command).code == "bad_value"


def test_what_has_ended_cannot_leave() -> None:
    """An answer that comes after the end is told so, as a new request is needed."""
    ledger = asked()
    ledger.handle(c.Release(lease_id=lease_of(ledger, "victim").id), 0.0)

    for command in (c.Checkpointed, c.Evict, c.Resume):
        assert refusal_of(ledger, command(lease_id=lease_of(ledger, "victim").id)).code == "lease_ended"
        assert refusal_of(ledger, command(lease_id="x-999")).code == "unknown_lease"


@pytest.mark.parametrize(("residue_bytes", "error"), [(None, None), (None, "no"), (GIB, None)])
def test_an_answer_to_no_question_is_harmless(residue_bytes: int | None, error: str | None) -> None:
    """Nobody asks any more, or he has answered already: nothing comes of it."""
    ledger = asked()
    answer(ledger)
    assert answer(ledger, residue_bytes=residue_bytes, error=error) == []

    ledger = asked()
    ledger.handle(c.Release(lease_id=lease_of(ledger, "waiter").id), 0.0)
    assert answer(ledger, residue_bytes=residue_bytes, error=error) == []


def test_the_residue_is_as_declared_unless_it_is_said() -> None:
    """A checkpoint that reports no number kept what the request announced; none announced is none."""
    for announced, said, kept in ((2.0, None, 2), (2.0, 3, 3), (2.0, 0, 0), (None, None, 0)):
        ledger = asked(residue_gb=announced)
        answer(ledger, residue_bytes=None if said is None else said * GIB)
        assert lease_of(ledger, "victim").residue_bytes == kept * GIB


def test_a_failure_stays_known() -> None:
    """Whoever could not leave is asked by no plan again, for as long as it lives; the reason can be read."""
    ledger = asked()
    assert kinds(answer(ledger, error="disk full")) == ["CheckpointFailed", "PlanEnded"]
    ledger.handle(ask("another", 20, priority=40), 1.0)

    victim = lease_of(ledger, "victim")
    assert (victim.state, victim.checkpoint_error, victim.can_be_asked) == (State.ACTIVE, "disk full", False)


def test_a_failure_of_one_that_was_idle_leaves_it_idle() -> None:
    """It is kept warm as before, and unused since the same time."""
    ledger = asked(idle=True)
    answer(ledger, 3.0, error="no")

    assert lease_of(ledger, "victim").state is State.IDLE
    assert lease_of(ledger, "victim").idle_since == 0.0


# --- used and unused meanwhile


def test_busy_meanwhile_means_a_place_as_soon_as_it_has_left() -> None:
    """One that was idle when it was asked, and is wanted again, does not rest; saying so twice is harmless."""
    ledger = asked(idle=True)
    victim = lease_of(ledger, "victim")
    assert kinds(ledger.handle(c.MarkBusy(lease_id=victim.id), 1.0)) == ["Requeued"]
    assert ledger.handle(c.MarkBusy(lease_id=victim.id), 1.0) == []
    place = victim.place
    answer(ledger, 2.0)

    assert (victim.state, victim.place) == (State.PARKED, place)
    assert victim.place > lease_of(ledger, "waiter").place


def test_idle_meanwhile_means_a_rest() -> None:
    """One that goes idle while it is asked to leave rests when it has."""
    ledger = asked()
    victim = lease_of(ledger, "victim")
    assert kinds(ledger.handle(c.MarkIdle(lease_id=victim.id), 1.0)) == ["Idled"]
    assert victim.state is State.EVICTING
    answer(ledger, 2.0)

    assert (victim.state, victim.rest) == (State.RESTING, Rest.IDLE)


def test_idle_and_busy_of_one_that_has_left_and_queues_are_harmless() -> None:
    """It uses nothing, whatever its holder says, and it keeps its place."""
    ledger = asked()
    answer(ledger)
    victim = lease_of(ledger, "victim")

    assert ledger.handle(c.MarkIdle(lease_id=victim.id), 1.0) == []
    assert ledger.handle(c.MarkBusy(lease_id=victim.id), 1.0) == []
    assert (victim.state, ledger.position(victim)) == (State.PARKED, 0)


def test_what_an_operator_asked_rests_for_him_though_it_is_busy() -> None:
    """His word holds whatever the holder does meanwhile, and from the queue as well."""
    ledger = asked(idle=True)
    victim = lease_of(ledger, "victim")
    assert kinds(ledger.handle(c.Evict(lease_id=victim.id), 1.0)) == ["EvictAsked"]
    assert kinds(ledger.handle(c.MarkBusy(lease_id=victim.id), 1.0)) == ["Busied"]
    assert kinds(answer(ledger, 2.0)) == ["Parked", "Granted"]
    assert (victim.state, victim.rest) == (State.RESTING, Rest.OPERATOR)
    assert ledger.handle(c.MarkBusy(lease_id=victim.id), 3.0) == []

    assert kinds(ledger.handle(c.Resume(lease_id=victim.id), 4.0)) == ["Requeued"]
    assert ledger.position(victim) == 0


def test_an_operators_question_has_its_own_deadline() -> None:
    """Asked anew by an operator, a lease has its full grace from then, and the first deadline is void."""
    ledger = asked()
    ledger.handle(c.Evict(lease_id=lease_of(ledger, "victim").id), 20.0)

    assert ledger.handle(c.Tick(), 30.0) == []
    ledger.handle(c.RenewSession(session_id="kiwi"), 30.0)
    assert kinds(ledger.handle(c.Tick(), 50.0)) == ["EvictionOverdue", "PlanEnded"]


def test_an_operator_keeps_a_rest_from_ending_by_itself() -> None:
    """One that rests because it was idle, evicted once more, is not queued by its holder's busy."""
    ledger = asked(idle=True)
    answer(ledger)
    victim = lease_of(ledger, "victim")
    assert kinds(ledger.handle(c.Evict(lease_id=victim.id), 1.0)) == ["Parked"]

    assert ledger.handle(c.MarkBusy(lease_id=victim.id), 1.0) == []
    assert victim.rest is Rest.OPERATOR


@pytest.mark.parametrize("request_id", ["victim", "waiter"])
def test_resuming_what_does_not_rest_is_harmless(request_id: str) -> None:
    """An operator undoes only what an operator did: a plan's notice stays, and a wait."""
    ledger = asked()

    assert ledger.handle(c.Resume(lease_id=lease_of(ledger, request_id).id), 0.0) == []


def test_what_cannot_leave_is_not_asked_by_an_operator() -> None:
    """Not one that waits, that loads, or that has no checkpoint."""
    ledger = founded(card())
    ledger.handle(ask("stiff", 4), 0.0)
    ledger.handle(ask("loading", 4, peak_bytes=4 * GIB, evictable=True), 0.0)
    ledger.handle(ask("waiting", 4, evictable=True), 0.0)

    refused = {name: refusal_of(ledger, c.Evict(lease_id=lease_of(ledger, name).id)).code for name in
               ("stiff", "loading", "waiting")}  # fmt: skip
    assert refused == {"stiff": "not_evictable", "loading": "still_loading", "waiting": "not_granted"}


def test_nobody_is_asked_by_an_operator_where_an_engine_loads() -> None:
    """Not on any of its devices while a window is open there; who was asked before may still answer."""
    ledger = founded(card("d0"), card("d1", index=1))
    ledger.handle(ask("gang", 4, gpus=2, evictable=True), 0.0)
    ledger.handle(ask("loading", 4, peak_bytes=4 * GIB, device=("d1",)), 0.0)
    gang = lease_of(ledger, "gang")

    refusal = refusal_of(ledger, c.Evict(lease_id=gang.id))
    assert refusal.code == "still_loading"
    assert "is loading on d1" in str(refusal)
    ledger.handle(c.MarkLoaded(lease_id=lease_of(ledger, "loading").id), 1.0)
    assert kinds(ledger.handle(c.Evict(lease_id=gang.id), 1.0)) == ["EvictAsked"]


def test_one_that_is_known_to_be_slow_has_longer() -> None:
    """The deadline is a quarter longer than its last checkpoint took, where that is more than the grace."""
    for took_s, has_s in ((8.0, 30.0), (40.0, 50.0)):
        ledger = founded(card(), ttl_s=600.0)
        ledger.handle(ask("victim", 20, priority=10, evictable=True), 0.0)
        lease_id = lease_of(ledger, "victim").id
        ledger.handle(c.Evict(lease_id=lease_id), 0.0)
        answer(ledger, took_s)
        ledger.handle(c.Resume(lease_id=lease_id), 100.0)
        ledger.handle(c.MarkLoaded(lease_id=lease_id), 100.0)
        ledger.handle(c.Evict(lease_id=lease_id), 100.0)

        assert ledger.handle(c.Tick(), 99.9 + has_s) == []
        assert kinds(ledger.handle(c.Tick(), 100.0 + has_s)) == ["EvictionOverdue"]
