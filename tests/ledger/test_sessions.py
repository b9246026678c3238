"""Processes register, say what they hold after a reconnect, and leave."""

import pytest
from tests.ledger.builders import GIB, answer, ask, asked, card, founded, held, kinds, lease_of, refusal_of

from cf_orch.ledger import commands as c


def test_a_session_without_a_service_is_refused() -> None:
    """A process that registers must say whose it is."""
    assert refusal_of(founded(), c.OpenSession(session_id="s", service="")).code == "bad_value"


def test_another_services_session_is_not_taken_over() -> None:
    """The id of an open session cannot be registered for another service."""
    refusal = refusal_of(founded(), c.OpenSession(session_id="kiwi", service="paint"))

    assert refusal.code == "not_yours"
    assert "belongs to kiwi" in str(refusal)


@pytest.mark.parametrize(
    "command", [c.RenewSession(session_id="s"), c.CloseSession(session_id="s"), c.Sync(session_id="s", holdings=())]
)
def test_a_session_that_is_not_open_is_refused(command: c.Command) -> None:
    """Its process is told to register anew."""
    refusal = refusal_of(founded(), command)

    assert refusal.code == "unknown_session"
    assert "register anew" in str(refusal)


def test_a_synced_wish_that_was_granted_meanwhile_stays() -> None:
    """A session that only waits for what it has already been granted keeps it, and so learns of it."""
    ledger = held()
    events = ledger.handle(
        c.Sync(
            session_id="kiwi", holdings=(c.Holding(request_id="r1", held=False), c.Holding(request_id="r2", held=False))
        ),
        0.0,
    )

    assert kinds(events) == ["SessionRenewed", "Synced"]


def test_a_waiting_lease_that_was_served_elsewhere_is_adopted_anew() -> None:
    """What went local while it waited here leaves the queue and comes in as a new lease under the same request."""
    ledger = held()
    waiting = lease_of(ledger, "r2")
    holdings = (
        c.Holding(request_id="r1"),
        c.Holding(request_id="r2", devices=("d0",), size_bytes=4 * GIB, priority=40),
    )
    events = ledger.handle(c.Sync(session_id="kiwi", holdings=holdings), 0.0)

    assert kinds(events) == ["SessionRenewed", "Ended", "Adopted", "Synced"]
    adopted = lease_of(ledger, "r2")
    assert adopted.id != waiting.id
    assert (adopted.adopted, adopted.priority, adopted.token) == (True, 40, ledger.seq)


def test_a_lease_of_another_session_is_not_synced() -> None:
    """Whoever names the id of somebody else's lease names something that is not his."""
    ledger = held()
    ledger.handle(c.OpenSession(session_id="paint", service="paint", host_id="h0"), 0.0)
    taken = c.Holding(request_id="p1", lease_id=lease_of(ledger).id, devices=("d0",), size_bytes=GIB)
    ledger.handle(c.Sync(session_id="paint", holdings=(taken,)), 0.0)

    assert lease_of(ledger).session_id == "kiwi"
    assert lease_of(ledger, "p1", "paint").adopted


def test_a_session_asks_for_its_own_service_only() -> None:
    """Or a quota could be passed by: whose memory it is, is said once, when the process registers."""
    refusal = refusal_of(founded(card()), ask(service="paint"))

    assert refusal.code == "bad_value"
    assert "of kiwi" in str(refusal)


def test_a_session_that_introduces_itself_anew_may_adopt_again() -> None:
    """It was cut off; what it took meanwhile is a fact."""
    ledger = founded(card())
    local = c.Holding(request_id="r1", devices=("d0",), size_bytes=GIB)
    ledger.handle(c.Sync(session_id="kiwi", holdings=()), 0.0)
    ledger.handle(c.Sync(session_id="kiwi", holdings=(local,)), 0.0)
    assert ledger.find_request("kiwi", "r1") is None

    ledger.handle(c.OpenSession(session_id="kiwi", service="kiwi", host_id="h0"), 1.0)
    ledger.handle(c.Sync(session_id="kiwi", holdings=(local,)), 1.0)

    assert lease_of(ledger).adopted


@pytest.mark.parametrize(
    ("holding", "code"),
    [
        (c.Holding(request_id="a", size_bytes=GIB), "unknown_device"),
        (c.Holding(request_id="a", devices=("d9",), size_bytes=GIB), "unknown_device"),
        (c.Holding(request_id="a", devices=("d0", "d0"), size_bytes=GIB), "bad_value"),
        (c.Holding(request_id="a", devices=("d0",)), "bad_value"),
        (c.Holding(request_id="a", devices=("d0",), size_bytes=GIB, priority=101), "bad_value"),
        (c.Holding(request_id="a", devices=("d0",), size_bytes=GIB, residue_bytes=2 * GIB), "bad_value"),
        (c.Holding(request_id="a", parked=True, size_bytes=GIB, residue_bytes=-1), "bad_value"),
    ],
)
def test_what_cannot_be_adopted_is_refused_as_a_whole(holding: c.Holding, code: str) -> None:
    """A session that holds something on an unknown device asks again when that is seen, and loses nothing meanwhile."""
    ledger = held()
    holdings = (c.Holding(request_id="r1"), c.Holding(request_id="r2", held=False), holding)

    assert refusal_of(ledger, c.Sync(session_id="kiwi", holdings=holdings)).code == code


def test_what_is_held_though_it_was_parked_is_adopted() -> None:
    """It was taken back while the coordinator was away: the wait for its return ends, and it is charged in full."""
    for rests in (False, True):
        ledger = asked(idle=rests)
        answer(ledger)
        old = lease_of(ledger, "victim")
        holdings = (
            c.Holding(request_id="victim", devices=("d0",), size_bytes=20 * GIB),
            c.Holding(request_id="waiter"),
        )
        ledger.handle(c.Sync(session_id="kiwi", holdings=holdings), 1.0)

        assert old.outcome == "released"
        assert (lease_of(ledger, "victim").adopted, lease_of(ledger, "victim").charges) == (True, {"d0": 20 * GIB})
