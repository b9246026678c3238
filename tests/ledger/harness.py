"""One ledger, its oracle and its journal, driven step by step: after each step all rules are held."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from tests.ledger.aftermath import requests_agree
from tests.ledger.broken import broken
from tests.ledger.naive import Key
from tests.ledger.oracle import Oracle

from cf_orch.ledger import Ledger, Refusal, Settings
from cf_orch.ledger import commands as c
from cf_orch.ledger import events as e
from cf_orch.ledger.snapshot import durable_view

__all__ = ["Harness", "Step", "everything"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A command and its time.  ``of`` names the lease by its request, since ids shift when steps are left out."""

    at: float
    command: c.Command
    of: Key | None = None
    reborn: str = ""
    """``replay`` or ``snapshot``: the process died before, and a new one read its journal."""


class Harness:
    """Drives a ledger under the eyes of an oracle and of ``Ledger.check``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ledger = Ledger(settings)
        self.oracle = Oracle(settings)
        self.journal: list[e.DurableEvent] = []
        self.snapshots: list[tuple[int, bytes]] = []
        self.refusal: Refusal | None = None  #: the last one

    def do(self, step: Step) -> list[e.Event] | None:
        """Take one step; None if it was refused."""
        command = step.command
        if step.of is not None:
            lease_id = self.oracle.model.requests.get(step.of, "nobody")
            command = msgspec.structs.replace(command, lease_id=lease_id)
        if step.reborn:
            self._be_reborn(step.reborn)
        before = everything(self.ledger) if isinstance(command, _REFUSABLE) else b""
        try:
            events = self.ledger.handle(command, step.at, step.at)
        except Refusal as refusal:
            self.refusal = refusal
            if before and everything(self.ledger) != before:
                broken("R11 a refusal changes nothing", f"{command}: {before!r} became {everything(self.ledger)!r}")
            self.oracle.refused(command, step.at, refusal.code)
            return None
        self.journal += [event for event in events if isinstance(event, e.DurableEvent)]
        self.oracle.follow(command, step.at, events, self.ledger)
        self._check(step.at)
        return events

    @property
    def noted(self) -> Counter[str]:
        """How often each kind of event happened, and some rare things among them."""
        return self.oracle.noted

    def _check(self, now: float) -> None:
        try:
            self.ledger.check(now)
        except AssertionError as wrong:
            broken("check", str(wrong))

    def take_snapshot(self) -> None:
        """Keep a snapshot to be reborn from."""
        self.snapshots.append((len(self.journal), self.ledger.snapshot()))

    def _be_reborn(self, how: str) -> None:
        if how == "replay" or not self.snapshots:
            reborn = self.read_again()
            self.snapshots.clear()  # what they had forgotten is known again
        else:
            reborn = self.load_again(*self.snapshots[-1])
        self.ledger = reborn
        self.oracle.reborn(reborn)

    def read_again(self) -> Ledger:
        """Fold the whole journal, as a new process would, and hold it against the live state."""
        ledger = Ledger(self.settings)
        ledger.replay(_through_the_wire(self.journal))
        self._same(ledger, "the fold of the journal")
        return ledger

    def load_again(self, at: int, snapshot: bytes) -> Ledger:
        """Load a snapshot and fold what came after it."""
        ledger = Ledger.from_snapshot(snapshot, self.settings)
        ledger.replay(_through_the_wire(self.journal[at:]))
        self._same(ledger, f"a snapshot at {at} and the journal after it")
        return ledger

    def _same(self, other: Ledger, what: str) -> None:
        live, told = durable_view(self.ledger._books), durable_view(other._books)
        for field, value in live.items():
            if told[field] != value:
                broken("R9 fold", f"{what} gives another {field}: {_difference(value, told[field])}")

    def finish(self) -> None:
        """Hold what is dear to hold: replay, and the snapshot's way there and back."""
        self.read_again()
        for at, snapshot in self.snapshots[-1:]:
            self.load_again(at, snapshot)
        snapshot = self.ledger.snapshot()
        loaded = Ledger.from_snapshot(snapshot, self.settings)
        if loaded.snapshot() != snapshot:
            broken("R9 snapshot", "a snapshot of a loaded snapshot differs")
        requests_agree(self.oracle.model, loaded)


def _through_the_wire(events: Iterable[e.DurableEvent]) -> list[e.DurableEvent]:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(list(events)), type=list[e.DurableEvent])


def _difference(live: Any, told: Any) -> str:
    if isinstance(live, list) and isinstance(told, list):
        return f"live {[x for x in live if x not in told]}, told {[x for x in told if x not in live]}"
    return f"live {live}, told {told}"


_REFUSABLE = (
    c.Request | c.OpenSession | c.RenewSession | c.CloseSession | c.Sync | c.Release | c.RenewLease | c.MarkLoaded
    | c.MarkIdle | c.MarkBusy | c.Attach | c.Drain | c.Undrain | c.ReportDevices | c.Checkpointed | c.Evict | c.Resume
)  # fmt: skip


def everything(ledger: Ledger) -> bytes:
    """Encode all that a ledger keeps, what is volatile too."""
    books = ledger._books
    return msgspec.json.encode(
        (
            books.ledger_id,
            books.seq,
            [*books.sessions.values(), *books.devices.values(), *books.leases.values()],
            list(books.ended),
            list(books.requests.items()),
            sorted(books.cancelled),
            books.held_bytes,
            [*books.plans.values()],
            sorted(books.evicting),
            books.looks_again_at,
            [(service, list(times)) for service, times in books.hold_times_s.items()],
            list(books.queue._order),
            [(lane.head, lane.order) for lane in books.queue.lanes()],
            books.timers._heap,
        )
    )
