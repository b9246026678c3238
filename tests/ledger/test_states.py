"""The life of a lease, as its table has it."""

from typing import Any

import pytest
from tests.ledger.builders import ask, books_of, card, founded
from tests.ledger.harness import everything

from cf_orch.ledger import TRANSITIONS, Outcome, State
from cf_orch.ledger import events as e
from cf_orch.ledger.apply.dispatch import apply
from cf_orch.ledger.states import HOLDING, LEAVING, WAITING, IllegalTransition, Rest, next_state

EVENTS = sorted({event for row in TRANSITIONS.values() for event in row})


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", list(State))
def test_the_table_is_all_that_is_allowed(state: State, event: str) -> None:
    """A listed event leads where the table says; any other raises and names what would be allowed."""
    if event in TRANSITIONS[state]:
        assert next_state("x-1", state, event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(IllegalTransition, match=rf"lease x-1 is {state}: '{event}' is not allowed"):
            next_state("x-1", state, event)


def test_every_state_has_a_row() -> None:
    """The table speaks of all states, and nothing leaves the end."""
    assert set(TRANSITIONS) == set(State)
    assert TRANSITIONS[State.ENDED] == {}


def test_every_life_can_end() -> None:
    """From each state a way leads to the end."""
    reached = {State.ENDED}
    for _ in State:
        reached |= {state for state, row in TRANSITIONS.items() if reached & set(row.values())}

    assert reached == set(State)


def test_what_holds_memory_passes_through_closing() -> None:
    """No state in which a lease holds memory, or keeps a residue, leads to the end at once."""
    has_held = HOLDING | LEAVING - {State.CLOSING}

    assert all(State.ENDED not in TRANSITIONS[state].values() for state in has_held)
    assert all(State.CLOSING in TRANSITIONS[state].values() for state in has_held)


def test_every_state_is_of_a_family() -> None:
    """A lease that has not ended waits, holds or leaves; one that is parked waits for its return while it leaves."""
    assert set(State) - {State.ENDED} == WAITING | HOLDING | LEAVING
    assert [state for state in State if state in WAITING and state in LEAVING] == [State.PARKED]
    assert not HOLDING & (WAITING | LEAVING)


def test_only_who_was_asked_gives_its_memory_up() -> None:
    """No state but evicting leads to parked or resting from one in which memory is used."""
    gives_up = {state for state in HOLDING if {State.PARKED, State.RESTING} & set(TRANSITIONS[state].values())}

    assert gives_up == {State.EVICTING}


@pytest.mark.parametrize(
    "event",
    [
        e.Granted(lease_id="x-4", token=9, devices=("d0",), loading=False, unix_s=0.0),
        e.Loaded(lease_id="x-4"),
        e.Busied(lease_id="x-4"),
        e.Ended(lease_id="x-4", outcome=Outcome.RELEASED),
        e.Idled(lease_id="x-6"),
        e.Closing(lease_id="x-6", outcome=Outcome.RELEASED),
        e.Withdrawn(lease_id="x-4"),
        e.CheckpointFailed(lease_id="x-4", error="no"),
        e.Parked(lease_id="x-4", residue_bytes=0, rest=None),
        e.Parked(lease_id="x-6", residue_bytes=0, rest=Rest.OPERATOR),
        e.Requeued(lease_id="x-4", place=9),
        e.Requeued(lease_id="x-6", place=9),
        e.EvictAsked(lease_id="x-6", evicted_for="x-4"),
    ],
    ids=lambda event: f"{type(event).__name__} {event.lease_id}",
)
def test_an_illegal_event_changes_nothing(event: e.Event) -> None:
    """An event that meets an active lease, or a waiting one, where it cannot raises before anything changes."""
    ledger = founded(card())
    ledger.handle(ask("active", 20), 0.0)
    ledger.handle(ask("waiting", 20), 0.0)
    before = everything(ledger)

    with pytest.raises(IllegalTransition):
        apply(books_of(ledger), event, 1.0)

    assert everything(ledger) == before


def test_an_unknown_event_is_a_defect() -> None:
    """What is no event of the ledger is refused as a defect, not ignored."""
    ledger = founded(card())
    before = everything(ledger)

    unheard: Any = object()
    with pytest.raises(AssertionError, match="unreachable"):
        apply(books_of(ledger), unheard, 0.0)
    assert everything(ledger) == before
