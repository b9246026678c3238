"""Two things that happen to meet: each leaves one legal state."""

from tests.ledger.builders import GIB, ask, books_of, card, founded, kinds, lease_of, looked

from cf_orch.ledger import Ledger, Outcome, State
from cf_orch.ledger import commands as c
from cf_orch.ledger import events as e


def test_one_who_is_cut_off_ages_where_he_stands() -> None:
    """He rises a class, still passed over; back in time he has that place."""
    ledger = founded(card(), aging_s=3.0, reconnect_s=5.0)
    ledger.handle(ask("holder", 20), 0.0)
    ledger.handle(ask("r1", 20, session=None, priority=10), 0.0)
    ledger.handle(ask("r2", 20), 0.0)
    ledger.handle(c.CutOff(lease_id=lease_of(ledger, "r1", "web").id), 1.0)
    assert kinds(ledger.handle(c.Tick(), 3.0)) == ["Aged"]
    ledger.check(3.0)

    ledger.handle(ask("r1", 20, session=None, priority=10), 3.0)

    assert ledger.position(lease_of(ledger, "r1", "web")) == 0
    ledger.check(3.0)


def test_a_waiter_may_age_and_end_at_once() -> None:
    """Its own deadline comes first, and nothing of it is left to age."""
    ledger = founded(card(), aging_s=3.0)
    ledger.handle(ask("holder", 20), 0.0)
    ledger.handle(ask("r1", 20, priority=10, max_wait_s=3.0), 0.0)

    assert kinds(ledger.handle(c.Tick(), 3.0)) == ["Ended"]


def test_a_restart_takes_the_idle_for_busy() -> None:
    """That a lease is idle is not journaled: whoever is still idle says so again."""
    ledger = founded(card())
    ledger.handle(ask(), 0.0)
    ledger.handle(c.MarkIdle(lease_id=lease_of(ledger).id), 0.0)
    snapshot = ledger.snapshot()
    ledger.handle(c.Restart(), 1.0)
    loaded = Ledger.from_snapshot(snapshot)

    assert lease_of(ledger).state is State.ACTIVE
    assert lease_of(loaded).state is State.ACTIVE


def test_a_session_may_end_before_its_lease_is_given_back() -> None:
    """What closes outlives its session, in a snapshot too; a new session of the same id has nothing of it to lose."""
    ledger = founded(card(driver=True))
    ledger.handle(ask(), 0.0)
    ledger.handle(c.CloseSession(session_id="kiwi"), 0.0)
    loaded = Ledger.from_snapshot(ledger.snapshot())
    for one in (ledger, loaded):
        one.handle(c.Restart(), 1.0)
        one.check(1.0)
        assert lease_of(one).state is State.CLOSING
        one.handle(c.OpenSession(session_id="kiwi", service="kiwi", host_id="h0"), 1.0)
        one.handle(looked(card(driver=True)), 2.0)
        one.check(2.0)
        assert lease_of(one).state is State.ENDED
        assert one.sessions["kiwi"].leases == set()


def test_a_session_may_end_before_its_timer_rings() -> None:
    """The timer of a session that was closed finds nobody; one that was opened anew has its own time."""
    ledger = founded(card())
    ledger.handle(c.CloseSession(session_id="kiwi"), 10.0)
    assert ledger.handle(c.Tick(), 40.0) == []

    ledger.handle(c.OpenSession(session_id="kiwi", service="kiwi"), 45.0)
    ledger.handle(c.CloseSession(session_id="kiwi"), 46.0)
    ledger.handle(c.OpenSession(session_id="kiwi", service="kiwi"), 50.0)

    assert ledger.handle(c.Tick(), 89.0) == []
    assert kinds(ledger.handle(c.Tick(), 90.0)) == ["SessionEnded"]


def test_half_a_gang_may_leak() -> None:
    """Of a gang only the device that still shows bytes has a leak."""
    ledger = founded(card("d0", driver=True), card("d1", driver=True, index=1))
    ledger.handle(ask(gpus=2), 0.0)
    ledger.handle(c.Release(lease_id=lease_of(ledger).id), 1.0)
    ledger.handle(looked(card("d0", driver=True), card("d1", driver=True, index=1, used=3)), 10.0)
    events = ledger.handle(c.Tick(), 11.0)

    assert events == [
        e.Leaked(lease_id=lease_of(ledger).id, uuid="d1", leaked_bytes=3 * GIB),
        e.Ended(lease_id=lease_of(ledger).id, outcome=Outcome.RELEASED),
    ]
    assert (ledger.devices["d0"].foreign_bytes, ledger.devices["d1"].foreign_bytes) == (0, 3 * GIB)


def test_a_leak_where_no_floor_is_known() -> None:
    """In the journal's fold nothing was seen yet: what leaked then counts until a driver looks."""
    ledger = founded(card(driver=True))
    ledger.handle(ask(), 0.0)
    lease_id = lease_of(ledger).id
    ledger.handle(c.Release(lease_id=lease_id), 0.0)
    reborn = Ledger.from_snapshot(ledger.snapshot())
    reborn.replay([e.Leaked(lease_id=lease_id, uuid="d0", leaked_bytes=3 * GIB)])

    assert (reborn.devices["d0"].foreign_bytes, reborn.devices["d0"].floor_bytes) == (3 * GIB, None)


def test_forgetting_the_old_lease_of_a_request_leaves_the_new() -> None:
    """Where a request stands for an adopted lease by now, the end of the older one's memory changes nothing."""
    ledger = founded(card(), remember_s=5.0)
    ledger.handle(ask(), 0.0)
    ledger.handle(c.Release(lease_id=lease_of(ledger).id), 0.0)
    local = c.Holding(request_id="r1", devices=("d0",), size_bytes=GIB)
    ledger.handle(c.Sync(session_id="kiwi", holdings=(local,)), 1.0)

    assert kinds(ledger.handle(c.Tick(), 5.0)) == ["Forgotten"]
    assert lease_of(ledger).adopted


def test_the_books_may_be_read_while_nothing_is_seen() -> None:
    """A declared device has no sample, and grants by the ledger's account alone."""
    ledger = founded(card(gb=24, reserve_bytes=4 * GIB))
    ledger.handle(ask(gb=12), 0.0)

    assert ledger.devices["d0"].sample is None
    assert books_of(ledger).devices["d0"].room_bytes == 8 * GIB
