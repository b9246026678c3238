"""Who wants to know: callers that wait for one lease, sessions that hear of all of theirs.

They are told only of what is on disk.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from cf_orch.ledger import Lease, Ledger, Outcome
from cf_orch.ledger.events import Closing, Ended, Event, Granted

__all__ = ["Happening", "Listeners", "Subscription", "Watch", "happenings_of"]

T = TypeVar("T")

MOST_UNREAD = 10_000


class Happening(msgspec.Struct, frozen=True):
    """Something a session must hear: a lease was ``granted`` or ``lost``, or the coordinator is ``stopping``.

    ``seq`` is the ledger's sequence number when it was decided.
    """

    kind: str
    seq: int
    session_id: str
    lease_id: str | None = None


def happenings_of(ledger: Ledger, events: list[Event], by: str | None) -> Iterator[Happening]:
    """Say what of some events a session must hear; what it did itself (``by``) it knows."""
    for event in events:
        if not isinstance(event, Granted | Closing | Ended):
            continue
        lease = ledger.find(event.lease_id)
        if lease is None or lease.session_id is None:
            continue
        if isinstance(event, Granted):
            yield Happening("granted", ledger.seq, lease.session_id, lease.id)
        elif _lost(event, lease, by):
            yield Happening("lost", ledger.seq, lease.session_id, lease.id)


def _lost(event: Closing | Ended, lease: Lease, by: str | None) -> bool:
    """Tell whether a lease was taken from its session; one that held memory is lost when it closes, not at its end."""
    by_itself = lease.session_id == by and event.outcome in (Outcome.RELEASED, Outcome.CANCELLED)
    return not by_itself and (isinstance(event, Closing) or lease.token is None)


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


class Subscription(AsyncIterator[Happening]):
    """One session's ear: iterate for what happens, in order.  A listener that does not read falls off the end."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self._unread: deque[Happening] = deque()
        self._heard = asyncio.Event()
        self.overrun = False

    def notify(self, happening: Happening) -> None:
        """Something happened."""
        if len(self._unread) == MOST_UNREAD:
            self.overrun = True
        else:
            self._unread.append(happening)
        self._heard.set()

    async def __anext__(self) -> Happening:
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
        self._subscriptions: dict[str, set[Subscription]] = {}

    @contextmanager
    def watch(self, lease_id: str) -> Iterator[Watch]:
        """Watch a lease for as long as the context lasts."""
        watch = Watch()
        with _member(self._watches, lease_id, watch):
            yield watch

    @contextmanager
    def subscribe(self, session_id: str) -> Iterator[Subscription]:
        """Hear of a session's leases for as long as the context lasts."""
        subscription = Subscription()
        with _member(self._subscriptions, session_id, subscription):
            yield subscription

    def tell(self, changed_leases: set[str], happenings: list[Happening]) -> None:
        """Tell who wants to know."""
        for lease_id in changed_leases & self._watches.keys():
            for watch in self._watches[lease_id]:
                watch.notify()
        for happening in happenings:
            for subscription in self._subscriptions.get(happening.session_id, ()):
                subscription.notify(happening)

    def announce_stop(self, seq: int) -> None:
        """Tell every session that the coordinator ends, and wake every watch."""
        stops = [Happening("stopping", seq, session_id) for session_id in self._subscriptions]
        self.tell(set(self._watches), stops)


@contextmanager
def _member(sets: dict[str, set[T]], key: str, member: T) -> Iterator[None]:
    sets.setdefault(key, set()).add(member)
    try:
        yield
    finally:
        sets[key].discard(member)
        if not sets[key]:
            del sets[key]
