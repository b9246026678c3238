"""What each command leads to, where scenarios do not tell: who may, what is harmless, what is refused."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from tests.ledger.builders import GIB, ask, books_of, card, founded, held, kinds, lease_of, looked, refusal_of

from cf_orch.ledger import Process
from cf_orch.ledger import commands as c
from cf_orch.ledger import events as e
from cf_orch.ledger.decide.decision import Decision
from cf_orch.ledger.decide.settling import _take
from cf_orch.ledger.decide.timeouts import _lease_timer
from cf_orch.ledger.timers import Timer, Timers

# --- leases


@pytest.mark.parametrize("say", [c.MarkLoaded, c.MarkBusy, c.MarkIdle])
def test_saying_it_twice_is_harmless(say: type[c.MarkLoaded | c.MarkBusy | c.MarkIdle]) -> None:
    """A holder may say again what is already so."""
    ledger = held()
    lease_id = lease_of(ledger).id
    ledger.handle(say(lease_id=lease_id, by="kiwi"), 0.0)

    assert ledger.handle(say(lease_id=lease_id, by="kiwi"), 0.0) == []


@pytest.mark.parametrize("say", [c.MarkLoaded, c.MarkBusy, c.MarkIdle])
def test_who_waits_has_nothing_to_say(say: type[c.MarkLoaded | c.MarkBusy | c.MarkIdle]) -> None:
    """A lease that holds no memory is neither loaded, busy nor idle."""
    ledger = held()

    assert refusal_of(ledger, say(lease_id=lease_of(ledger, "r2").id)).code == "not_granted"


@pytest.mark.parametrize(
    "command",
    [
        c.RenewLease(lease_id="x-3", by="kiwi"),
        c.MarkIdle(lease_id="x-3"),
        c.Attach(lease_id="x-3", pid=1),
    ],
)
def test_what_has_ended_is_not_commanded(command: c.Command) -> None:
    """The refusal tells the ended from what never was, by the number."""
    ledger = held()
    lease = lease_of(ledger)
    ended = msgspec.structs.replace(command, lease_id=lease.id)
    ledger.handle(c.Release(lease_id=lease.id), 0.0)

    assert refusal_of(ledger, ended).code == "lease_ended"
    assert "long ago" in str(refusal_of(ledger, msgspec.structs.replace(command, lease_id="x-1", by=None)))
    for never in ("x-999", "y-1", "x-", "x", "x-0", "x-1.5"):
        unheard = msgspec.structs.replace(command, lease_id=never)
        assert refusal_of(ledger, unheard).code == "unknown_lease"


def test_releasing_what_ended_long_ago_is_harmless() -> None:
    """A release that comes ten minutes late is no error."""
    assert held().handle(c.Release(lease_id="x-2", by="kiwi"), 0.0) == []


def test_a_lease_of_another_session_is_not_commanded() -> None:
    """Only its session and the operator command a lease."""
    ledger = held()

    assert refusal_of(ledger, c.Release(lease_id=lease_of(ledger).id, by="paint")).code == "not_yours"
    assert kinds(ledger.handle(c.Release(lease_id=lease_of(ledger).id), 0.0)) == ["Closing", "Ended", "Granted"]


def test_renewing_a_lease_with_a_session_does_nothing() -> None:
    """It lives by its session; one without lives by its own time."""
    ledger = held()
    ledger.handle(ask("w", 20, session=None), 0.0)

    assert ledger.handle(c.RenewLease(lease_id=lease_of(ledger).id), 0.0) == []
    assert kinds(ledger.handle(c.RenewLease(lease_id=lease_of(ledger, "w", "web").id), 0.0)) == ["LeaseRenewed"]


def test_a_process_is_attached_once() -> None:
    """The same process again is harmless; a number that is none is refused."""
    ledger = held()
    lease_id = lease_of(ledger).id

    assert kinds(ledger.handle(c.Attach(lease_id=lease_id, pid=7, pid_start=1), 0.0)) == ["Attached"]
    assert ledger.handle(c.Attach(lease_id=lease_id, pid=7, pid_start=1), 0.0) == []
    assert refusal_of(ledger, c.Attach(lease_id=lease_id, pid=0)).code == "bad_value"


def test_only_a_waiter_without_a_session_is_cut_off() -> None:
    """A broken connection means nothing to a holder, to one with a session, to one cut off already, to nobody."""
    ledger = held()
    ledger.handle(ask("w", 20, session=None), 0.0)
    waiter = lease_of(ledger, "w", "web").id

    for lease_id in (lease_of(ledger).id, lease_of(ledger, "r2").id, "nobody"):
        assert ledger.handle(c.CutOff(lease_id=lease_id), 0.0) == []
    assert kinds(ledger.handle(c.CutOff(lease_id=waiter), 0.0)) == ["Cut"]
    assert ledger.handle(c.CutOff(lease_id=waiter), 0.0) == []


def test_a_retry_renews_a_lease_without_a_session() -> None:
    """Who asks again is alive; of what has ended he learns the end."""
    ledger = founded(card())
    request = ask(session=None)
    ledger.handle(request, 0.0)

    assert kinds(ledger.handle(request, 1.0)) == ["LeaseRenewed"]
    ledger.handle(c.Release(lease_id=lease_of(ledger, caller="web").id), 1.0)
    assert ledger.handle(request, 1.0) == []


def test_an_adopted_request_is_retried_with_any_body() -> None:
    """What was adopted has the holder's word for its size, so a retry cannot contradict it."""
    ledger = founded(card())
    local = c.Holding(request_id="r1", devices=("d0",), size_bytes=4 * GIB)
    ledger.handle(c.Sync(session_id="kiwi", holdings=(local,)), 0.0)

    assert ledger.handle(ask(gb=8, priority=30), 0.0) == []


def test_noting_a_cancel_again_gives_it_its_full_time() -> None:
    """The time runs from the last word, and ids with line breaks are ids."""
    ledger = founded(card(), remember_s=10.0)
    cancel = c.CancelRequest(caller="a\nb", request_id="r\n1")
    ledger.handle(cancel, 0.0)
    ledger.handle(c.CancelRequest(caller="web", request_id="r2"), 5.0)
    ledger.handle(cancel, 6.0)

    assert ledger.handle(c.Tick(), 10.0) == []
    assert ledger.handle(c.Tick(), 15.0) == [e.CancelForgotten(caller="web", request_id="r2")]
    assert ledger.handle(c.Tick(), 16.0) == [e.CancelForgotten(caller="a\nb", request_id="r\n1")]


# --- devices


@pytest.mark.parametrize(
    "wrong",
    [
        {"total_bytes": -1},
        {"reserve_bytes": -1},
        {"age_s": -1.0},
        {"age_s": float("nan")},
        {"age_s": float("inf")},
        {"used_bytes": -1},
        {"free_bytes": -1},
    ],
)
def test_an_absurd_report_is_refused_as_a_whole(wrong: dict[str, Any]) -> None:
    """One absurd device of a report leaves all as it was."""
    absurd = card("d2", driver=True, **wrong)

    assert refusal_of(founded(card()), looked(card("d1"), absurd)).code == "bad_value"


def test_a_device_that_was_never_seen_and_cannot_be_is_not_known() -> None:
    """An observer that fails at its first look tells nothing."""
    ledger = founded()

    assert ledger.handle(looked(card(driver=True, error="no driver")), 0.0) == []
    assert ledger.devices == {}


def test_only_what_is_new_of_a_device_is_journaled() -> None:
    """The same facts again are no event, whatever order its capabilities come in; other facts are."""
    ledger = founded(card(capabilities=("fp8", "bf16")))

    assert ledger.handle(looked(card(capabilities=("bf16", "fp8"))), 1.0) == []
    assert kinds(ledger.handle(looked(card(gb=48)), 1.0)) == ["DeviceSeen"]
    assert ledger.devices["d0"].total_bytes == 48 * GIB


def test_a_driver_that_does_not_say_is_not_seen() -> None:
    """Without its numbers a device with a driver is blind, and says why."""
    ledger = founded(card(driver=True))
    ledger.handle(looked(card(driver=True, used_bytes=None)), 1.0)
    sample = ledger.devices["d0"].sample

    assert sample is not None
    assert sample.error == "the driver does not say how much memory is in use"


def test_an_older_look_changes_nothing() -> None:
    """The freshest report is the one whose look was last, not the one that came last."""
    ledger = founded(card(driver=True))
    ledger.handle(looked(card(driver=True, used=4)), 10.0)

    assert ledger.handle(looked(card(driver=True, used=9, age_s=1.0)), 10.5) == []
    assert ledger.devices["d0"].foreign_bytes == 4 * GIB


def test_a_process_counts_only_on_its_leases_host() -> None:
    """A process of the same number on another host is not the lease's."""
    ledger = founded(card("d0", driver=True))
    ledger.handle(looked(card("d1", driver=True), host="h1"), 0.0)
    ledger.handle(c.OpenSession(session_id="s", service="s", host_id="h0", pid=7), 0.0)
    ledger.handle(ask("near", session="s"), 0.0)
    ledger.handle(ask("far", session="s", host="h1"), 0.0)
    processes = (Process(pid=7, used_bytes=4 * GIB), Process(pid=8, used_bytes=GIB))
    ledger.handle(looked(card("d1", driver=True, used=5, processes=processes), host="h1"), 1.0)

    assert ledger.devices["d1"].foreign_processes == processes
    assert lease_of(ledger, "far", "s").seen == {"d1": 5 * GIB}  # by growth: none of its processes is known there


def test_a_drain_begun_again_has_its_new_time() -> None:
    """The first end of a drain is void once it was begun anew, or for good."""
    ledger = founded(card())
    ledger.handle(c.Drain(uuid="d0", for_s=10.0), 0.0)
    ledger.handle(c.Drain(uuid="d0", for_s=10.0), 5.0)
    assert ledger.handle(c.Tick(), 10.0) == []
    assert kinds(ledger.handle(c.Tick(), 15.0)) == ["DrainEnded"]

    ledger.handle(c.Drain(uuid="d0", for_s=10.0), 20.0)
    ledger.handle(c.Drain(uuid="d0"), 21.0)
    assert ledger.handle(c.Tick(), 30.0) == []
    assert kinds(ledger.handle(c.Undrain(uuid="d0"), 31.0)) == ["DrainEnded"]
    assert ledger.handle(c.Undrain(uuid="d0"), 31.0) == []


@pytest.mark.parametrize("command", [c.Drain(uuid="d9"), c.Undrain(uuid="d9")])
def test_an_unknown_device_is_not_drained(command: c.Command) -> None:
    """The refusal names the devices that are known, or says that there are none."""
    assert str(refusal_of(founded(card("d0"), card("d1", index=1)), command)).endswith("known: d0, d1")
    assert str(refusal_of(founded(), command)).endswith("known: none yet")


def test_what_closes_blindly_is_given_its_time_anew() -> None:
    """Only a fresh look can tell that bytes did not come back; an unseen lease ends without a leak then."""
    ledger = founded(card(driver=True))
    ledger.handle(ask(), 0.0)
    ledger.handle(c.Release(lease_id=lease_of(ledger).id), 0.0)

    assert ledger.handle(c.Tick(), 10.0) == []
    assert ledger.next_deadline() == 20.0
    ledger.handle(looked(card(driver=True, age_s=20.0)), 20.0)
    assert ledger.handle(c.Tick(), 20.0) == []
    ledger.handle(looked(card(driver=True)), 29.0)
    assert lease_of(ledger).state == "ended"


# --- timers


def test_timers_ring_in_order() -> None:
    """The earliest first, at one time in the order of their kinds; nothing before its time."""
    timers = Timers()
    assert timers.next() is None
    timers.at(2.0, Timer.FORGET, "b")
    timers.at(2.0, Timer.SESSION_EXPIRES, "c")
    timers.at(1.0, Timer.FORGET, "a")

    assert timers.next() == 1.0
    assert timers.pop_due(0.5) is None
    rung = [timers.pop_due(2.0) for _ in range(4)]
    assert rung == [(Timer.FORGET, "a"), (Timer.SESSION_EXPIRES, "c"), (Timer.FORGET, "b"), None]


def test_a_timer_of_something_else_is_a_defect() -> None:
    """What is no timer of a lease must never be asked of one."""
    ledger = held()

    with pytest.raises(AssertionError, match="no timer of a lease"):
        _lease_timer(Decision(books_of(ledger), 0.0, 0.0), Timer.FORGET, lease_of(ledger))


def test_an_unknown_step_is_a_defect() -> None:
    """What is neither a grant nor a plan must never come of a walk along the queue."""
    ledger = held()

    unheard: Any = SimpleNamespace(lease_id=lease_of(ledger).id)
    with pytest.raises(AssertionError, match="unreachable"):
        _take(Decision(books_of(ledger), 0.0, 0.0), unheard)


def test_stale_timers_do_nothing() -> None:
    """A timer whose reason has passed looks, and lets be."""
    ledger = founded(card(), aging_s=5.0, load_timeout_s=5.0)
    ledger.handle(ask("r1", 20, session=None, ttl_s=3600.0, peak_bytes=20 * GIB, max_wait_s=5.0, priority=0), 0.0)
    ledger.handle(c.MarkLoaded(lease_id=lease_of(ledger, caller="web").id), 1.0)
    ledger.handle(c.RenewSession(session_id="kiwi"), 4.0)

    assert ledger.handle(c.Tick(), 5.0) == []
