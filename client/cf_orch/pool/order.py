"""Who of those who wait gets which server next.  Pure: no clock, no I/O, nothing is changed.

A model that a server does not have in its memory must be loaded there first, which takes seconds to minutes and throws
another one out: a *swap*.  Serving strictly in order swaps at nearly every request; serving whoever finds its model
loaded lets the others starve.  So models take turns, and within a model the order is that of arrival:

1. A model is *starved* when somebody waited for it, and it was given no server, for ``patience_s`` (five times that
   while it has requests running, for then it is not forgotten).  The longest starved goes first.  It may take a server
   from a model that had its turn: ``patience_s`` since its first answer there, and all served who came before the
   starved one.  Where such a server is still running something it is held back: nobody else is let in until it is
   drained; one server at first, and one more for each further patience, for the first may never be done.
2. Whoever finds a server with its model, or an empty one, takes it: the one with the fewest requests.
3. Whoever is left swaps an idle server, the one that was unused for longest: at once if its model is on no server;
   else after ``patience_s``, for its own server will be free sooner than another one has loaded.

No step lets a second model onto a server that is running something.  All who wait for a model have the patience of the
least patient of them, or the order of arrival would not hold among them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from cf_orch.pool.server import ServerConfig

__all__ = ["Waiter", "assign", "next_change_s"]

PATIENCES_WHILE_RUNNING = 5


@dataclass(frozen=True, slots=True, eq=False)
class Waiter:
    """One who waits for a server; times in seconds of the pool's clock."""

    model: str
    came_at: float
    patience_s: float
    is_direct: bool = False  #: it takes what is there now, or leaves: it does not wait for its model's own server


@dataclass(slots=True, eq=False)
class _Room:
    """A server as it will be once all that was assigned so far has begun."""

    server: ServerConfig
    models: frozenset[str]
    model: str | None
    active: int
    turn_began_at: float
    held_for: str | None = None

    @classmethod
    def of(cls, server: ServerConfig) -> "_Room":
        model = server.current_model if server.active_requests else server.resident_model
        began = inf if server.turn_began_at is None else server.turn_began_at
        return cls(server, frozenset(server.available_models), model, server.active_requests, began)

    @property
    def is_full(self) -> bool:
        return self.active >= self.server.max_concurrent

    def admits(self, model: str) -> bool:
        """Tell whether a request for this model may begin here."""
        return (
            not self.is_full
            and model in self.models
            and self.held_for in (None, model)
            and (self.active == 0 or self.model == model)
        )

    def swaps(self, model: str) -> bool:
        """Tell whether another model would be thrown out."""
        return self.model not in (None, model)

    def yields_at(self, since: float, patience_s: float) -> float:
        """When the model that is here has had its turn, for one that is wanted since then."""
        return max(since, self.turn_began_at) + patience_s


class _Plan:
    """What was assigned so far, and what it leaves."""

    def __init__(
        self, servers: Iterable[ServerConfig], waiters: Iterable[Waiter], now: float, served_at: Mapping[str, float]
    ) -> None:
        self.rooms = [_Room.of(server) for server in servers if server.available_models or server.active_requests]
        self.now = now
        self.assigned: dict[Waiter, ServerConfig] = {}
        self._served_at = served_at
        self._running = {room.model for room in self.rooms if room.active}
        self.patience_s: dict[str, float] = {}
        for waiter in waiters:
            if not waiter.is_direct:
                least_s = self.patience_s.get(waiter.model, waiter.patience_s)
                self.patience_s[waiter.model] = min(least_s, waiter.patience_s)

    def take(self, waiter: Waiter, rooms: Iterable[_Room]) -> bool:
        """Assign the best of the rooms that admit the waiter, if there is one."""
        able = [room for room in rooms if room.admits(waiter.model)]
        if not able:
            return False
        best = min(able, key=lambda room: _rank(room, waiter.model))
        if best.model != waiter.model:
            best.model, best.turn_began_at = waiter.model, inf
        best.active += 1
        self.assigned[waiter] = best.server
        return True

    def hunger(self, waiter: Waiter) -> tuple[float, float]:
        """Since when the waiter's model is wanted and was not given a server, and how long it bears that; seconds."""
        since = max(waiter.came_at, self._served_at.get(waiter.model, -inf))
        patiences = PATIENCES_WHILE_RUNNING if waiter.model in self._running else 1
        return since, patiences * self.patience_s[waiter.model]


def assign(
    servers: Iterable[ServerConfig], waiters: Sequence[Waiter], now: float, served_at: Mapping[str, float]
) -> dict[Waiter, ServerConfig]:
    """Who may begin now, and where.

    ``waiters`` are in the order of their arrival; ``served_at`` tells when each model was last given a server.  All
    of the answer may be taken, or any part of it.
    """
    plan = _Plan(servers, waiters, now, served_at)
    if not all(room.is_full for room in plan.rooms):
        _feed_the_starved(plan, waiters)
        _fill(plan, waiters)
        _swap_idle(plan, waiters)
    return plan.assigned


def next_change_s(
    servers: Iterable[ServerConfig], waiters: Sequence[Waiter], now: float, served_at: Mapping[str, float]
) -> float:
    """In how many seconds the answer of ``assign`` may be another one though nothing happens; infinite if never."""
    plan = _Plan(servers, waiters, now, served_at)
    earliest = inf
    for waiter in waiters:
        since, patience_s = plan.hunger(waiter)
        for room in plan.rooms:
            if waiter.model in room.models and room.swaps(waiter.model):
                starved_at = room.yields_at(since, patience_s)
                if starved_at <= now:  # with each further patience it may hold back one more
                    starved_at += _patiences(now - starved_at, patience_s) * patience_s
                swaps_at = room.yields_at(waiter.came_at, plan.patience_s[waiter.model])
                earliest = min(earliest, *(at for at in (starved_at, swaps_at, inf) if at > now))
    return earliest - now


def _feed_the_starved(plan: _Plan, waiters: Sequence[Waiter]) -> None:
    heads: dict[str, Waiter] = {}
    for waiter in waiters:
        if not waiter.is_direct:
            heads.setdefault(waiter.model, waiter)
    for waiter in sorted(heads.values(), key=lambda head: plan.hunger(head)[0]):  # stable: then by arrival
        since, patience_s = plan.hunger(waiter)
        if plan.now < since + patience_s:
            continue
        wanted = {other.model for other in waiters[: waiters.index(waiter)] if other not in plan.assigned}
        had_their_turn = [
            room for room in plan.rooms if room.model not in wanted and room.yields_at(since, patience_s) <= plan.now
        ]
        own = [room for room in plan.rooms if not room.swaps(waiter.model)]
        if not plan.take(waiter, [*own, *had_their_turn]):
            _hold_back(plan, waiter, [room for room in had_their_turn if room.swaps(waiter.model)])


def _hold_back(plan: _Plan, waiter: Waiter, rooms: list[_Room]) -> None:
    """Let nobody else into those that will be drained first."""
    since, patience_s = plan.hunger(waiter)
    able = [room for room in rooms if room.held_for is None and waiter.model in room.models]
    if able:
        overdue_s = plan.now - min(room.yields_at(since, patience_s) for room in able)
        for room in sorted(able, key=lambda room: room.active)[: _patiences(overdue_s, patience_s)]:
            room.held_for = waiter.model


def _fill(plan: _Plan, waiters: Sequence[Waiter]) -> None:
    full: set[str] = set()
    for waiter in waiters:
        if waiter not in plan.assigned and waiter.model not in full:
            own = [room for room in plan.rooms if not room.swaps(waiter.model)]
            if not plan.take(waiter, own):
                full.add(waiter.model)


def _swap_idle(plan: _Plan, waiters: Sequence[Waiter]) -> None:
    idle = [room for room in plan.rooms if room.active == 0]
    for waiter in waiters if idle else ():
        if waiter not in plan.assigned:
            own = [room for room in plan.rooms if room.model == waiter.model]  # that another one has just swapped
            plan.take(waiter, [*own, *_swappable(plan, waiter, idle, waiters)])


def _swappable(plan: _Plan, waiter: Waiter, idle: list[_Room], waiters: Sequence[Waiter]) -> list[_Room]:
    """The idle servers that a waiter may take from another model now."""
    if waiter.is_direct:  # none that somebody waits for, if only until its own server is free
        wanted = {other.model for other in waiters if other is not waiter and other not in plan.assigned}
        return [room for room in idle if not room.models & wanted]
    if not any(room.model == waiter.model and waiter.model in room.models for room in plan.rooms):
        return idle
    patience_s = plan.patience_s[waiter.model]
    return [room for room in idle if room.yields_at(waiter.came_at, patience_s) <= plan.now]


def _rank(room: _Room, model: str) -> tuple[bool, int, bool, float]:
    """Least first: no swap, few requests, the model is there already, unused for long."""
    return room.swaps(model), room.active, room.model != model, room.server.last_acquired_at


def _patiences(overdue_s: float, patience_s: float) -> int:
    return 1 + int(overdue_s / patience_s) if patience_s > 0 else 1
