"""The life of a lease, as a table.

Theory of operation
-------------------
A lease is born ``queued`` and dies ``ended``; nothing leaves ``ended``.  What moves it between is an *event*,
and :data:`TRANSITIONS` is the whole automaton: ``state -> event -> next state``.  :func:`next_state` is its only
interpreter; an event that the table does not list for a state is a defect of the ledger and raises
:class:`IllegalTransition` before anything changes.

Three families of states matter to the accounts:

* *waiting* (``queued``, ``parked``): stands in the queue, for its first grant or for its return.
* *holding* (``loading``, ``active``, ``idle``, ``evicting``): the holder may use the memory.
* *leaving* (``parked``, ``resting``, ``closing``): the holder is done for now or for ever, and the driver may still
  show its bytes.

What the table does not say, and why:

* ``granted`` and ``adopted`` lead to ``loading`` when the lease has a peak, else to ``active``: the event itself
  carries the state, so that replay never has to decide again.  A return is always a load, until the holder says that
  it has restored.
* a lease that never held anything ends at once; every other one passes through ``closing``.
* a lease that gave its memory up is ``parked`` and queued again at its old place; one that was evicted while idle, or
  by the operator, is ``resting``, out of the queue.
"""

from enum import StrEnum

__all__ = [
    "HOLDING",
    "LEAVING",
    "TRANSITIONS",
    "WAITING",
    "IllegalTransition",
    "Outcome",
    "Rest",
    "State",
    "next_state",
]


class State(StrEnum):
    """Where a lease stands in its life."""

    QUEUED = "queued"
    LOADING = "loading"
    ACTIVE = "active"
    IDLE = "idle"
    EVICTING = "evicting"
    PARKED = "parked"
    RESTING = "resting"
    CLOSING = "closing"
    ENDED = "ended"


class Outcome(StrEnum):
    """How a lease ended."""

    RELEASED = "released"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    TIMED_OUT = "timed_out"
    LOST = "lost"


class Rest(StrEnum):
    """Why a lease that gave its memory up is out of the queue, and what brings it back."""

    IDLE = "idle"  #: nobody was using it: its holder's ``busy()``
    OPERATOR = "operator"  #: an operator evicted it: his resume
    DRAIN = "drain"  #: its device is to be emptied: the drain's end


WAITING = frozenset({State.QUEUED, State.PARKED})
"""The states in which a lease stands in the queue."""

LEAVING = frozenset({State.PARKED, State.RESTING, State.CLOSING})
"""The states in which the bytes that the driver still shows are on their way back."""

HOLDING = frozenset({State.LOADING, State.ACTIVE, State.IDLE, State.EVICTING})
"""The states in which a holder may use its memory."""

TRANSITIONS: dict[State, dict[str, State]] = {
    State.QUEUED: {
        "granted_active": State.ACTIVE,
        "granted_loading": State.LOADING,
        "ended": State.ENDED,
    },
    State.LOADING: {
        "loaded": State.ACTIVE,
        "closing": State.CLOSING,
    },
    State.ACTIVE: {
        "idled": State.IDLE,
        "evict_asked": State.EVICTING,
        "closing": State.CLOSING,
    },
    State.IDLE: {
        "busied": State.ACTIVE,
        "evict_asked": State.EVICTING,
        "closing": State.CLOSING,
    },
    State.EVICTING: {
        "evict_asked": State.EVICTING,
        "kept_active": State.ACTIVE,
        "kept_idle": State.IDLE,
        "parked": State.PARKED,
        "rested": State.RESTING,
        "closing": State.CLOSING,
    },
    State.PARKED: {
        "granted_loading": State.LOADING,
        "rested": State.RESTING,
        "closing": State.CLOSING,
    },
    State.RESTING: {
        "rested": State.RESTING,
        "requeued": State.PARKED,
        "closing": State.CLOSING,
    },
    State.CLOSING: {
        "ended": State.ENDED,
    },
    State.ENDED: {},
}


class IllegalTransition(Exception):  # noqa: N818 - it names what happened, as h11 and others do
    """An event met a lease in a state that the table does not allow for it: a defect of the ledger."""


def next_state(lease_id: str, state: State, event: str) -> State:
    """Return where ``event`` takes a lease that is in ``state``."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        allowed = ", ".join(TRANSITIONS[state]) or "nothing"
        raise IllegalTransition(f"lease {lease_id} is {state}: {event!r} is not allowed ({allowed} is)") from None
