"""The ledger's surface, its snapshot, and its doubt of itself."""

import pytest
from tests.ledger.builders import GIB, ask, books_of, card, founded, lease_of, looked

from cf_orch import ledger as public
from cf_orch.ledger import Ledger, Quota, Settings, State
from cf_orch.ledger import commands as c
from cf_orch.ledger import events as e


def test_the_public_names_are_all_there() -> None:
    """What the package names is what it has, in order."""
    assert all(hasattr(public, name) for name in public.__all__)
    assert sorted(public.__all__) == sorted(set(public.__all__))
    assert set(e.__all__) >= {kind.__name__ for kind in e.DurableEvent.__args__}


def test_what_can_be_read() -> None:
    """A ledger shows its name, its number, its policy, its leases, those that ended, its devices and sessions."""
    ledger = founded(card(), ttl_s=7.0)
    ledger.handle(ask("r1", 20), 0.0)
    ledger.handle(ask("r2", 20), 0.0)
    ledger.handle(ask("r3", 20), 0.0)
    gone = lease_of(ledger, "r2")
    ledger.handle(c.Release(lease_id=gone.id), 0.0)

    assert (ledger.id, ledger.settings.ttl_s) == ("x", 7.0)
    assert ledger.seq == 8
    assert [lease.request_id for lease in ledger.leases.values()] == ["r1", "r3"]
    assert list(ledger.ended) == [gone.id]
    assert (list(ledger.devices), list(ledger.sessions)) == (["d0"], ["kiwi"])
    assert ledger.find(gone.id) is gone
    assert ledger.find("nobody") is None
    assert ledger.find_request("kiwi", "nothing") is None
    assert (ledger.queued(), ledger.position(lease_of(ledger, "r3"))) == (1, 0)


def test_a_new_ledger_wants_no_timer() -> None:
    """Nothing is due in an empty ledger; with its first session something is."""
    assert Ledger().next_deadline() is None
    assert founded().next_deadline() == 40.0


def test_a_snapshot_keeps_what_survives_a_restart() -> None:
    """All leases, the place of a waiter, the charge of what closes, what was cancelled, what can still be read."""
    ledger = founded(card(driver=True), quotas={"kiwi": Quota(max_vram_bytes=30 * GIB)})
    ledger.handle(ask("r1", 20), 0.0)
    ledger.handle(ask("r2", 20), 0.0)
    ledger.handle(ask("r3", 20, session=None), 0.0)
    ledger.handle(c.CancelRequest(caller="web", request_id="later"), 0.0)
    ledger.handle(c.Release(lease_id=lease_of(ledger, "r3", "web").id), 0.0)
    ledger.handle(c.Release(lease_id=lease_of(ledger).id), 0.0)

    loaded = Ledger.from_snapshot(ledger.snapshot(), ledger.settings)
    loaded.handle(c.Restart(), 100.0)
    loaded.check(100.0)

    assert lease_of(loaded).state is State.CLOSING
    assert lease_of(loaded).charges == {"d0": 20 * GIB}
    assert loaded.position(lease_of(loaded, "r2")) == 0
    assert lease_of(loaded, "r3", "web").outcome == "cancelled"
    assert books_of(loaded).held_bytes == {"kiwi": 20 * GIB}
    loaded.handle(ask("later", 1, session=None), 100.0)
    assert lease_of(loaded, "later", "web").outcome == "cancelled"


def test_a_snapshot_keeps_which_lease_a_request_stands_for() -> None:
    """Where an adopted lease took the request of one that still closes, the request stands for the adopted one."""
    ledger = founded(card(driver=True))
    for i in range(4):  # the ids end in 9 and 10 or more: as text the older one is the greater
        ledger.handle(c.CancelRequest(caller="web", request_id=f"r{i}"), 0.0)
    ledger.handle(ask(), 0.0)
    older = lease_of(ledger)
    ledger.handle(c.Release(lease_id=older.id), 0.0)
    local = c.Holding(request_id="r1", devices=("d0",), size_bytes=GIB)
    ledger.handle(c.Sync(session_id="kiwi", holdings=(local,)), 0.0)

    assert lease_of(ledger).id != older.id
    assert lease_of(Ledger.from_snapshot(ledger.snapshot())).id == lease_of(ledger).id


def test_what_was_learnt_of_hold_times_starts_anew() -> None:
    """A replay has no times, so it must not make holds of no length of them."""
    ledger = founded(card())
    events: list[e.Event] = []
    for command in (ask("r1", 20), ask("r2", 20)):
        events += ledger.handle(command, 0.0)
    events += ledger.handle(c.Release(lease_id=lease_of(ledger).id), 50.0)
    again = founded(card())
    again.replay([event for event in events if isinstance(event, e.DurableEvent)])
    again.handle(c.Restart(), 0.0)

    assert books_of(ledger).hold_times_s.keys() == {"kiwi"}
    assert books_of(again).hold_times_s == {}


def test_a_restart_takes_back_who_was_cut_off() -> None:
    """All connections broke with the process; whoever was cut off before has no less time to come back."""
    ledger = founded(card(), reconnect_s=5.0)
    ledger.handle(ask("r1", 20), 0.0)
    ledger.handle(ask("r2", 20, session=None), 0.0)
    ledger.handle(c.CutOff(lease_id=lease_of(ledger, "r2", "web").id), 0.0)

    ledger.handle(c.Restart(), 4.0)
    ledger.handle(looked(card()), 4.0)
    ledger.handle(c.Release(lease_id=lease_of(ledger).id), 6.0)

    assert lease_of(ledger, "r2", "web").state is State.ACTIVE


def test_a_declared_card_grants_again_when_it_is_declared_again() -> None:
    """After a start nothing is granted on a device that nobody declares any more: it may be gone."""
    ledger = founded(card())
    ledger.handle(c.Restart(), 1.0)

    ledger.handle(ask("r1", 8), 2.0)
    assert lease_of(ledger).state is State.QUEUED
    ledger.handle(looked(card()), 3.0)

    assert lease_of(ledger).state is State.ACTIVE


def test_settings_have_defaults() -> None:
    """An empty policy is the documented one."""
    assert (Settings().ttl_s, Settings().reclaim_timeout_s, Settings().aging_s) == (30.0, 10.0, None)
    assert (Settings().grace_s, Settings().idle_protect_s, Settings().min_residency_s) == (30.0, 30.0, 10.0)


@pytest.mark.parametrize(
    ("policy", "protected"),
    [
        (Settings(), [40, 100]),
        (Settings(protected_priority=30), [30, 40, 100]),
        (Settings(protect="strict"), [0, 20, 30, 40, 100]),
    ],
)
def test_which_classes_are_protected(policy: Settings, protected: list[int]) -> None:
    """Realtime and above, unless set otherwise; with ``strict`` every class is."""
    assert [priority for priority in (0, 20, 30, 40, 100) if policy.is_protected(priority)] == protected
