"""The ledger: commands in, events out.

``Ledger.handle(command, now)`` is the one way in.  It decides by the functions of :mod:`cf_orch.ledger.decide`,
changes the books by :mod:`cf_orch.ledger.apply` and no other way, and returns what happened, in order; a refused
command raises :class:`~cf_orch.ledger.refusals.Refusal` and changes nothing.  There is no clock, no randomness and
no I/O here: the same history gives the same decisions.

Whoever runs it must put the durable events on disk before telling anybody of them, call ``handle(Tick(), now)`` no
later than ``next_deadline()``, and after a start ``replay`` the journal and ``handle(Restart(), now)``.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cf_orch.ledger import commands as c
from cf_orch.ledger import events as e
from cf_orch.ledger.apply.dispatch import apply
from cf_orch.ledger.books import Books
from cf_orch.ledger.check import check
from cf_orch.ledger.decide import devices, evictions, leases, requests, sessions
from cf_orch.ledger.decide.decision import Decision
from cf_orch.ledger.decide.settling import settle
from cf_orch.ledger.decide.timeouts import fire_due
from cf_orch.ledger.records import Device, Lease, Plan, Session
from cf_orch.ledger.settings import Settings
from cf_orch.ledger.snapshot import dump, load
from cf_orch.ledger.states import WAITING
from cf_orch.ledger.waiting import WaitingFor, waiting_for

__all__ = ["Ledger"]


class Ledger:
    """Who holds how much memory on which device, who waits, and why."""

    def __init__(self, settings: Settings | None = None) -> None:
        """Make an empty ledger; it must be founded, loaded or replayed before it takes requests."""
        self._books = Books(settings or Settings())

    # --- changing

    def handle(self, command: c.Command, now: float, unix_s: float = 0.0) -> list[e.Event]:
        """Decide one command at ``now``, in seconds of a monotonic clock; ``unix_s`` is that instant for people.

        Raises:
            Refusal: the command is impossible or not allowed; nothing changed.

        """
        decision = Decision(self._books, now, unix_s)
        _DECIDE[type(command)](decision, command)
        settle(decision)
        return decision.events

    def replay(self, events: Iterable[e.DurableEvent]) -> None:
        """Fold journaled events; ``Restart`` must follow."""
        for event in events:
            apply(self._books, event, 0.0)

    def next_deadline(self) -> float | None:
        """Say when something may be due next, on the clock of ``now``."""
        return self._books.timers.next()

    def check(self, now: float) -> None:
        """Hold all rules and indexes against a recount; raises AssertionError with what is wrong."""
        check(self._books, now)

    def snapshot(self) -> bytes:
        """Encode all that survives a restart."""
        return dump(self._books)

    @classmethod
    def from_snapshot(cls, encoded: bytes, settings: Settings | None = None) -> "Ledger":
        """Decode a snapshot; journaled events after it can be replayed, and ``Restart`` must follow."""
        ledger = cls(settings)
        load(ledger._books, encoded)
        return ledger

    # --- reading

    @property
    def id(self) -> str:
        """The name that the ledger was founded under."""
        return self._books.ledger_id

    @property
    def seq(self) -> int:
        """How many durable events there were."""
        return self._books.seq

    @property
    def settings(self) -> Settings:
        """The policy in numbers."""
        return self._books.settings

    @property
    def leases(self) -> Mapping[str, Lease]:
        """The leases that have not ended, by id."""
        return self._books.leases

    @property
    def ended(self) -> Mapping[str, Lease]:
        """The leases that ended not long ago, by id."""
        return self._books.ended

    @property
    def devices(self) -> Mapping[str, Device]:
        """The devices that were ever reported, by key."""
        return self._books.devices

    @property
    def sessions(self) -> Mapping[str, Session]:
        """The open sessions, by id."""
        return self._books.sessions

    @property
    def plans(self) -> Mapping[str, Plan]:
        """The evictions under way or given up, by the lease that waits for them."""
        return self._books.plans

    def find(self, lease_id: str) -> Lease | None:
        """Return a lease that lives, or that ended not long ago."""
        return self._books.find(lease_id)

    def find_request(self, caller: str, request_id: str) -> Lease | None:
        """Return what a request became."""
        return self._books.find_request((caller, request_id))

    def position(self, lease: Lease) -> int | None:
        """How many stand before a lease that waits."""
        return self._books.queue.position(lease) if lease.state in WAITING else None

    def queued(self) -> int:
        """How many leases wait."""
        return len(self._books.queue)

    def waiting_for(self, lease: Lease, now: float) -> WaitingFor | None:
        """Explain a wait."""
        return waiting_for(self._books, lease, now) if lease.state in WAITING else None


def _found(d: Decision, command: c.Found) -> None:
    d.emit(e.Founded(ledger_id=command.ledger_id))


def _restart(d: Decision, _: c.Restart) -> None:
    d.emit(e.Restarted())


def _tick(d: Decision, _: c.Tick) -> None:
    fire_due(d)


_DECIDE: dict[type[c.Command], Callable[[Decision, Any], None]] = {
    c.Found: _found,
    c.Restart: _restart,
    c.Tick: _tick,
    c.OpenSession: sessions.open_session,
    c.RenewSession: sessions.renew_session,
    c.CloseSession: sessions.close_session,
    c.Sync: sessions.sync,
    c.Request: requests.request,
    c.CancelRequest: requests.cancel_request,
    c.CutOff: requests.cut_off,
    c.Release: leases.release,
    c.RenewLease: leases.renew_lease,
    c.MarkLoaded: leases.mark_loaded,
    c.MarkIdle: leases.mark_idle,
    c.MarkBusy: leases.mark_busy,
    c.Attach: leases.attach,
    c.Checkpointed: evictions.checkpointed,
    c.Evict: evictions.evict,
    c.Resume: evictions.resume,
    c.ReportDevices: devices.report,
    c.Drain: devices.drain,
    c.Undrain: devices.undrain,
}
