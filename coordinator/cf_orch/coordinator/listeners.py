"""Who wants to know: callers that wait for one lease, sessions that hear of all of theirs.

They are told only of what is on disk, and as it was when it was decided: to look again would mean to wait for what
was decided meanwhile.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import msgspec

from cf_orch.ledger import Lease, Ledger, Outcome
from cf_orch.ledger.events import Closing, Ended, Event, EvictAsked, Granted, Requested, Withdrawn

__all__ = ["Happening", "Hearing", "Listeners", "Subscription", "View", "Watch", "happenings_of", "kind_of"]

T = TypeVar("T")

MOST_UNREAD = 10_000


class Happening(msgspec.Struct, frozen=True):
    """Something a session must hear: what happened to a lease of its own (:func:`kind_of`), ``stopping``, ``sample``.

    ``seq`` is the ledger's sequence number when it was decided.
    """

    kind: str
    seq: int
    session_id: str
    lease_id: str | None = None


View = Callable[[Happening, Ledger, float], T]
"""Makes of a happening what a listener hears, from the ledger as it is at that time."""
Hearing = Callable[[], None]
"""Lets one listener hear one thing."""


def happenings_of(ledger: Ledger, events: list[Event], by: str | None) -> Iterator[Happening]:
    """Say what of some events a session must hear; what the answer to its own call says (``by``) it knows."""
    asked_now = {event.lease_id for event in events if isinstance(event, Requested)}
    for event in events:
        lease = ledger.find(getattr(event, "lease_id", ""))
        if lease is None or lease.session_id is None:
            continue
        kind = kind_of(event, lease)
        is_known = kind == "granted" and lease.id in asked_now
        if kind is not None and not is_known and not (kind == "lost" and _by_itself(event, lease, by)):
            yield Happening(kind, ledger.seq, lease.session_id, lease.id)


def kind_of(event: Event, lease: Lease) -> str | None:
    """Say what an event means to its lease's holder, if anything.

    One that held memory is lost when it closes, not at its end; one that gave it up before is granted it again.
    """
    match event:
        case Granted():
            return "resume" if event.returns else "granted"
        case EvictAsked():
            return "evict"
        case Withdrawn():
            return "withdrawn"
        case Closing():
            return "lost"
        case Ended():
            return "lost" if lease.token is None else None
    return None


def _by_itself(event: Event, lease: Lease, by: str | None) -> bool:
    is_gift = isinstance(event, Closing | Ended) and event.outcome in (Outcome.RELEASED, Outcome.CANCELLED)
    return is_gift and lease.session_id == by


class Watch:
    """One caller's eye on one lease."""

    def __init__(self) -> None:
        """Begin unchanged."""
        self._changed = asyncio.Event()

    def notify(self) -> None:
        """The lease changed."""
        self._changed.set()

    async def changed(self, timeout_s: float) -> bool:
        """Wait for a change since the watch began, or since the last call; False when the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True


class Subscription(AsyncIterator[T]):
    """One session's ear: iterate for what it hears, in order.  One that does not read falls off the end."""

    def __init__(self, view: View[T]) -> None:
        """Begin with nothing heard."""
        self.view = view
        self.overrun = False
        self._unread: deque[T] = deque()
        self._heard = asyncio.Event()

    def hear(self, item: T) -> None:
        """Take what happened, as the view made it."""
        if len(self._unread) == MOST_UNREAD:
            self.overrun = True
        else:
            self._unread.append(item)
        self._heard.set()

    async def __anext__(self) -> T:
        """Wait for what happens next; ends after an overrun, so that the listener syncs anew."""
        while not self._unread:
            if self.overrun:
                raise StopAsyncIteration
            self._heard.clear()
            await self._heard.wait()
        return self._unread.popleft()


class Listeners:
    """All watches and subscriptions of one engine."""

    def __init__(self) -> None:
        """Begin with nobody listening."""
        self._watches: dict[str, set[Watch]] = {}
        self._subscriptions: dict[str, set[Subscription[Any]]] = {}
        self._observers: dict[str, set[str]] = {}

    def note_observer(self, host_id: str, session_id: str) -> None:
        """A session looks at a host's devices; one that listens is asked to look when memory is given back there."""
        self._observers.setdefault(host_id, set()).add(session_id)

    def samples_wanted(self, host_ids: set[str], seq: int) -> list[Happening]:
        """Ask those who look at some hosts to look now; who listens no more is forgotten."""
        for host_id in host_ids & self._observers.keys():
            self._observers[host_id] &= self._subscriptions.keys()
        observers = {session_id for host_id in host_ids for session_id in self._observers.get(host_id, ())}
        return [Happening("sample", seq, session_id) for session_id in sorted(observers)]

    @contextmanager
    def watch(self, lease_id: str) -> Iterator[Watch]:
        """Watch a lease for as long as the context lasts."""
        watch = Watch()
        with _member(self._watches, lease_id, watch):
            yield watch

    @contextmanager
    def subscribe(self, session_id: str, view: View[T]) -> Iterator[Subscription[T]]:
        """Hear of a session's leases for as long as the context lasts."""
        subscription = Subscription(view)
        with _member(self._subscriptions, session_id, subscription):
            yield subscription

    def look(self, happenings: Iterable[Happening], ledger: Ledger, now: float) -> list[Hearing]:
        """Make what each listener will hear, in the instant in which it was decided."""
        return [
            partial(subscription.hear, subscription.view(happening, ledger, now))
            for happening in happenings
            for subscription in self._subscriptions.get(happening.session_id, ())
        ]

    def tell(self, changed_leases: set[str], hearings: list[Hearing]) -> None:
        """Tell who wants to know."""
        for lease_id in changed_leases & self._watches.keys():
            for watch in self._watches[lease_id]:
                watch.notify()
        for hearing in hearings:
            hearing()

    def announce_stop(self, ledger: Ledger, now: float) -> None:
        """Tell every session that the coordinator ends, and wake every watch."""
        stops = [Happening("stopping", ledger.seq, session_id) for session_id in self._subscriptions]
        self.tell(set(self._watches), self.look(stops, ledger, now))


@contextmanager
def _member(sets: dict[str, set[T]], key: str, member: T) -> Iterator[None]:
    sets.setdefault(key, set()).add(member)
    try:
        yield
    finally:
        sets[key].discard(member)
        if not sets[key]:
            del sets[key]
