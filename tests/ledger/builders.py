"""Short ways to say things to a ledger, for the tests of its parts."""

from typing import Any

import pytest
from tests.ledger.harness import everything

from cf_orch.ledger import Lease, Ledger, Refusal, Settings, State
from cf_orch.ledger import commands as c
from cf_orch.ledger import events as e
from cf_orch.ledger.books import Books

__all__ = [
    "GIB", "answer", "ask", "asked", "books_of", "card", "founded", "held", "kinds", "lease_of", "looked", "refusal_of",
    "residues",
]  # fmt: skip

GIB = 2**30


def card(
    uuid: str = "d0", gb: float = 24, *, driver: bool = False, used: float | None = None, **facts: Any
) -> c.DeviceReport:
    """Report a card: a declared one, or one whose driver shows it empty unless told otherwise."""
    size, in_use = int(gb * GIB), int((used or 0) * GIB)
    known: dict[str, Any] = {
        "name": f"card {uuid}",
        "index": 0,
        "total_bytes": size,
        "has_driver": driver,
        "used_bytes": in_use if driver else None,
        "free_bytes": size - in_use if driver else None,
    }
    return c.DeviceReport(uuid=uuid, **(known | facts))


def looked(*cards: c.DeviceReport, host: str = "h0") -> c.ReportDevices:
    """Report the cards of a host."""
    return c.ReportDevices(host_id=host, host_name=f"host-{host}", devices=cards)


def founded(*cards: c.DeviceReport, **policy: Any) -> Ledger:
    """Begin a ledger with cards on one host, and a session of kiwi there, at time 0."""
    ledger = Ledger(Settings(**policy))
    ledger.handle(c.Found(ledger_id="x"), 0.0)
    if cards:
        ledger.handle(looked(*cards), 0.0)
    ledger.handle(c.OpenSession(session_id="kiwi", service="kiwi", host_id="h0"), 0.0)
    return ledger


def ask(request_id: str = "r1", gb: float = 8, *, session: str | None = "kiwi", **fields: Any) -> c.Request:
    """Ask for memory."""
    asked: dict[str, Any] = {
        "caller": session or "web",
        "request_id": request_id,
        "service": session or "web",
        "size_bytes": int(gb * GIB),
        "session_id": session,
    }
    return c.Request(**(asked | fields))


def lease_of(ledger: Ledger, request_id: str = "r1", caller: str = "kiwi") -> Lease:
    """Find what a request became."""
    lease = ledger.find_request(caller, request_id)
    assert lease is not None
    return lease


def books_of(ledger: Ledger) -> Books:
    """Look behind the ledger."""
    return ledger._books


def refusal_of(ledger: Ledger, command: c.Command, now: float = 0.0) -> Refusal:
    """Expect a refusal that changes nothing."""
    before, seq = everything(ledger), ledger.snapshot()
    with pytest.raises(Refusal) as caught:
        ledger.handle(command, now)

    assert everything(ledger) == before
    assert ledger.snapshot() == seq
    return caught.value


def kinds(events: list[e.Event]) -> list[str]:
    """Name what happened."""
    return [type(event).__name__ for event in events]


def asked(*, driver: bool = False, residue_gb: float | None = None, idle: bool = False) -> Ledger:
    """Begin with one lease of kiwi that is asked to leave for a request of a higher class, and that request."""
    ledger = founded(card(driver=driver))
    residue = None if residue_gb is None else int(residue_gb * GIB)
    ledger.handle(ask("victim", 20, priority=10, evictable=True, residue_bytes=residue), 0.0)
    if idle:
        ledger.handle(c.MarkIdle(lease_id=lease_of(ledger, "victim").id), 0.0)
    ledger.handle(ask("waiter", 20, priority=40), 0.0)
    assert lease_of(ledger, "victim").state is State.EVICTING
    return ledger


def answer(
    ledger: Ledger, now: float = 0.0, *, residue_bytes: int | None = None, error: str | None = None
) -> list[e.Event]:
    """Let the victim answer."""
    lease_id = lease_of(ledger, "victim").id
    return ledger.handle(c.Checkpointed(lease_id=lease_id, residue_bytes=residue_bytes, error=error), now)


def residues(ledger: Ledger) -> tuple[int | None, int | None]:
    """What the victim said that it kept, and what the driver showed of it."""
    victim = lease_of(ledger, "victim")
    return victim.residue_bytes, victim.residue_seen_bytes


def held() -> Ledger:
    """One lease of kiwi that is active, one that waits."""
    ledger = founded(card())
    ledger.handle(ask("r1", 20), 0.0)
    ledger.handle(ask("r2", 20), 0.0)
    return ledger
