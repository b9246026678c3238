"""Whom a plan asks, in which order, and whom it keeps its memory from."""

from typing import Any

import pytest
from tests.ledger.builders import GIB, answer, ask, card, founded, kinds, lease_of, looked

from cf_orch.ledger import Ledger, Process
from cf_orch.ledger import commands as c
from cf_orch.ledger import events as e


def plan_of(ledger: Ledger, request_id: str = "waiter") -> tuple[tuple[str, ...], list[str]] | None:
    """The devices of a waiter's plan, and its victims in order; None where it has none that lasts."""
    plan = ledger.plans.get(lease_of(ledger, request_id).id)
    if plan is None or plan.given_up:
        return None
    victims = (ledger.find(lease_id) for lease_id in plan.victims)
    return plan.devices, [lease.request_id for lease in victims if lease]


def hold(ledger: Ledger, name: str, gb: float = 4, *, at: int = 10, on: str | None = None, idle: float = -1) -> None:
    """Let a lease hold memory, unused since ``idle`` if that is not negative."""
    device = () if on is None else (on,)
    ledger.handle(ask(name, gb, priority=at, evictable=True, device=device), 0.0)
    if idle >= 0:
        ledger.handle(c.MarkIdle(lease_id=lease_of(ledger, name).id), idle)


def wants(ledger: Ledger, gb: float, now: float = 0.0, *, at: int = 40, **fields: Any) -> None:
    """Let the waiter ask."""
    ledger.handle(ask("waiter", gb, priority=at, **fields), now)


def test_the_order_of_victims() -> None:
    """The idle, longest unused first, of any class that may be asked; then the busy, lowest class and newest first."""
    ledger = founded(card())
    for name, at, idle in (
        ("background", 0, -1),
        ("old batch", 10, -1),
        ("new batch", 10, -1),
        ("late idle", 10, 2),
        ("early idle", 30, 1),
        ("normal", 20, -1),
    ):
        hold(ledger, name, at=at, idle=idle)

    wants(ledger, 24, 5.0)

    assert plan_of(ledger) == (
        ("d0",),
        ["early idle", "late idle", "background", "new batch", "old batch", "normal"],
    )


def test_of_equals_the_id_decides() -> None:
    """Unused for the same time, the lease with the smaller id goes."""
    ledger = founded(card())
    for name in ("first", "second", "third"):
        hold(ledger, name, 8, idle=3)
    wants(ledger, 8, 5.0)

    assert plan_of(ledger) == (("d0",), ["first"])


def test_who_is_asked_already_comes_first() -> None:
    """For the higher class that arrives the same lease leaves as for the lower, though another is idle by now."""
    ledger = founded(card())
    hold(ledger, "other", 10)
    hold(ledger, "asked", 10)
    ledger.handle(ask("lower", 10, priority=20), 0.0)
    assert plan_of(ledger, "lower") == (("d0",), ["asked"])
    ledger.handle(c.MarkIdle(lease_id=lease_of(ledger, "other").id), 0.0)

    events = ledger.handle(ask("higher", 10, priority=40), 0.0)

    assert plan_of(ledger, "higher") == (("d0",), ["asked"])
    assert kinds(events) == ["Requested", "Planned", "PlanEnded"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([("a", 8, 10), ("b", 8, 20)], [("c", 5, 10), ("d", 5, 10), ("e", 5, 10)], "d1"),  # one class, not two
        ([("a", 8, 10), ("b", 8, 10)], [("c", 16, 20)], "d1"),  # one lease, not two
        ([("a", 20, 10)], [("c", 19, 10)], "d1"),  # fewer bytes
        ([("a", 20, 10)], [("c", 20, 10)], "d0"),  # the first key
    ],
)
def test_the_cheapest_way(first: list[tuple[str, int, int]], second: list[tuple[str, int, int]], expected: str) -> None:
    """Fewest classes asked, then fewest leases, then fewest bytes, then the device's key."""
    ledger = founded(card("d0"), card("d1", index=1))
    for on, holders in (("d0", first), ("d1", second)):
        ledger.handle(ask(f"stiff {on}", 24 - sum(gb for _, gb, _ in holders), priority=40, device=(on,)), 0.0)
        for name, gb, at in holders:
            hold(ledger, name, gb, at=at, on=on)

    wants(ledger, 15)

    plan = plan_of(ledger)
    assert plan is not None
    assert plan[0] == (expected,)


def test_a_gang_asks_one_that_serves_it_twice_once() -> None:
    """A victim on two devices of a gang leaves both; nobody else is asked there."""
    ledger = founded(card("d0"), card("d1", index=1))
    ledger.handle(ask("wide", 12, priority=10, gpus=2, evictable=True), 0.0)
    hold(ledger, "narrow", 8, on="d0")

    wants(ledger, 16, gpus=2)

    assert plan_of(ledger) == (("d0", "d1"), ["wide"])


def test_nobody_is_asked_on_a_device_where_an_engine_loads() -> None:
    """Not one that holds another device as well; the plan is made where nothing loads."""
    ledger = founded(card("d0"), card("d1", index=1))
    ledger.handle(ask("wide", 16, priority=10, gpus=2, evictable=True), 0.0)
    ledger.handle(ask("loading", 4, peak_bytes=6 * GIB, device=("d1",), priority=10), 0.0)
    wants(ledger, 16, device=("d0",))
    assert plan_of(ledger) is None

    ledger.handle(c.MarkLoaded(lease_id=lease_of(ledger, "loading").id), 0.0)

    assert plan_of(ledger) == (("d0",), ["wide"])


@pytest.mark.parametrize(("residue_gb", "asked"), [(None, True), (1, True), (2, False)])
def test_the_sum_is_less_the_residues(residue_gb: int | None, *, asked: bool) -> None:
    """What is announced to stay is not counted on, to the byte."""
    ledger = founded(card())
    residue_bytes = None if residue_gb is None else residue_gb * GIB
    ledger.handle(ask("victim", 20, priority=10, evictable=True, residue_bytes=residue_bytes), 0.0)

    wants(ledger, 23)

    assert (plan_of(ledger) is not None) is asked


@pytest.mark.parametrize(("max_wait_s", "asked"), [(None, True), (7.0, True), (6.9, False)])
def test_the_wait_must_outlast_the_known_checkpoint(max_wait_s: float | None, *, asked: bool) -> None:
    """One that took seven seconds is asked for one who waits as long."""
    ledger = founded(card())
    ledger.handle(ask("victim", 20, priority=10, evictable=True), 0.0)
    ledger.handle(ask("first", 20, priority=40), 0.0)
    answer(ledger, 7.0)
    ledger.handle(c.Release(lease_id=lease_of(ledger, "first").id), 8.0)
    ledger.handle(c.MarkLoaded(lease_id=lease_of(ledger, "victim").id), 9.0)

    wants(ledger, 20, 10.0, max_wait_s=max_wait_s)

    assert (plan_of(ledger) is not None) is asked


@pytest.mark.parametrize(
    ("victim", "waiter", "evictable", "after_s"),
    [
        (20, 20, False, 10.0),  # its own class: the residency
        (20, 30, False, 0.0),  # a higher one: at once
        (30, 20, True, 30.0),  # a lower one that can be evicted in turn
        (30, 20, False, 300.0),  # one that cannot
        (40, 30, True, None),  # protected
    ],
)
def test_how_long_idle_memory_is_safe(victim: int, waiter: int, after_s: float | None, *, evictable: bool) -> None:
    """By class, and by whether the one who wants it could give it back."""
    ledger = founded(card(), ttl_s=6000.0)
    hold(ledger, "victim", 20, at=victim, idle=0)
    wants(ledger, 20, at=waiter, evictable=evictable)
    if after_s is None:
        ledger.handle(c.Tick(), 5000.0)
        assert plan_of(ledger) is None
        return
    if after_s:
        ledger.handle(c.Tick(), after_s - 0.1)
        assert plan_of(ledger) is None
        assert kinds(ledger.handle(c.Tick(), after_s)) == ["Planned", "EvictAsked"]

    assert plan_of(ledger) == (("d0",), ["victim"])


@pytest.mark.parametrize(("victim", "waiter"), [(20, 20), (30, 20)])
def test_who_is_busy_is_asked_by_higher_classes_only(victim: int, waiter: int) -> None:
    """Neither its own class nor a lower one makes a working lease leave."""
    ledger = founded(card(), ttl_s=6000.0)
    hold(ledger, "victim", 20, at=victim)
    wants(ledger, 20, at=waiter)
    ledger.handle(c.Tick(), 5000.0)

    assert plan_of(ledger) is None


def test_a_plans_memory_is_kept_from_those_behind_and_from_its_victims() -> None:
    """On its devices nobody behind is served and no victim returns, though either would fit; elsewhere both are."""
    ledger = founded(card("d0"), card("d1", index=1))
    for name, gb in (("large", 12), ("victim", 8)):
        hold(ledger, name, gb, on="d0")
    ledger.handle(ask("stiff", 20, priority=10, device=("d1",)), 0.0)
    wants(ledger, 24)
    answer(ledger)

    ledger.handle(ask("behind", 4, priority=30), 0.0)
    ledger.handle(ask("pinned", 4, priority=10, device=("d0",)), 0.0)

    assert {name: lease_of(ledger, name).devices for name in ("behind", "pinned")} == {"behind": ("d1",), "pinned": ()}
    assert lease_of(ledger, "victim").state == "parked"
    assert ledger.devices["d0"].room_bytes == 12 * GIB


def test_who_stands_before_an_owner_takes_its_memory() -> None:
    """A higher class is served from what a plan has freed, and the plan asks for more, where there is more."""
    ledger = founded(card())
    for name, gb in (("more", 6), ("large", 10), ("victim", 8)):
        hold(ledger, name, gb)
    wants(ledger, 16, at=20)
    assert plan_of(ledger) == (("d0",), ["victim", "large"])
    answer(ledger)

    events = ledger.handle(ask("higher", 6, priority=40), 0.0)

    assert kinds(events) == ["Requested", "Granted", "Planned", "EvictAsked"]
    assert plan_of(ledger) == (("d0",), ["victim", "large", "more"])


def test_a_plan_stands_still_while_its_device_is_not_seen() -> None:
    """Nobody is put back for what cannot be known; seen again, it goes on."""
    ledger = founded(card(driver=True), ttl_s=600.0)
    ledger.handle(ask("victim", 20, priority=10, evictable=True), 0.0)
    wants(ledger, 20)

    assert ledger.handle(looked(card(driver=True, error="no driver")), 1.0) != []
    assert plan_of(ledger) == (("d0",), ["victim"])
    answer(ledger, 2.0)
    assert kinds(ledger.handle(looked(card(driver=True)), 3.0)) == ["Sampled", "Granted"]


def test_a_gang_without_one_of_its_devices_gives_its_plan_up() -> None:
    """A drain takes a device out of the plan; where no other would do, all may stay."""
    ledger = founded(card("d0"), card("d1", index=1))
    for on in ("d0", "d1"):
        hold(ledger, f"victim {on}", 20, on=on)
    wants(ledger, 20, gpus=2)
    assert plan_of(ledger) == (("d0", "d1"), ["victim d1", "victim d0"])

    events = ledger.handle(c.Drain(uuid="d1"), 0.0)

    assert kinds(events) == ["DrainBegun", "PlanEnded", "Withdrawn", "Withdrawn"]


def test_a_stalled_owner_gives_its_plan_up_and_holds_nobody_back() -> None:
    """Where foreign use makes it hopeless, the others go on and the next is served."""
    ledger = founded(card(driver=True))
    ledger.handle(c.OpenSession(session_id="known", service="known", host_id="h0", pid=7), 0.0)
    ledger.handle(ask("victim", 12, session="known", priority=10, evictable=True), 0.0)
    wants(ledger, 22)
    ledger.handle(ask("small", 4, priority=10), 0.0)

    game = Process(pid=9, used_bytes=3 * GIB)
    events = ledger.handle(looked(card(driver=True, used=3, processes=(game,))), 1.0)

    assert kinds(events) == ["Sampled", "PlanEnded", "Granted", "Withdrawn"]
    assert lease_of(ledger, "small").state == "active"


def test_a_plan_ends_without_a_word_when_it_is_kept() -> None:
    """The grant is what it was for: no other event tells its end."""
    ledger = founded(card())
    ledger.handle(ask("victim", 20, priority=10, evictable=True), 0.0)
    wants(ledger, 20)

    assert [type(event) for event in answer(ledger)] == [e.Parked, e.Granted]
    assert ledger.plans == {}


def parked_beside_a_load() -> Ledger:
    """Begin with a victim that has left, the card free again but for an engine that loads there."""
    ledger = founded(card(driver=True))
    ledger.handle(ask("victim", 8, priority=10, evictable=True), 0.0)
    ledger.handle(c.Evict(lease_id=lease_of(ledger, "victim").id), 0.0)
    answer(ledger)
    ledger.handle(looked(card(driver=True)), 1.0)
    ledger.handle(ask("loading", 4, peak_bytes=6 * GIB, priority=40), 1.0)
    return ledger


def test_nobody_returns_to_a_device_where_an_engine_loads() -> None:
    """A return is a load too: it waits for the window to close."""
    ledger = parked_beside_a_load()

    assert kinds(ledger.handle(c.Resume(lease_id=lease_of(ledger, "victim").id), 1.0)) == ["Requeued"]
    assert kinds(ledger.handle(c.MarkLoaded(lease_id=lease_of(ledger, "loading").id), 2.0)) == ["Loaded", "Granted"]


def test_nobody_returns_to_a_device_that_is_not_seen() -> None:
    """A parked lease has its memory again when the driver is seen to have it."""
    ledger = parked_beside_a_load()
    ledger.handle(c.MarkLoaded(lease_id=lease_of(ledger, "loading").id), 1.0)

    assert kinds(ledger.handle(c.Resume(lease_id=lease_of(ledger, "victim").id), 20.0)) == ["Requeued"]
    assert kinds(ledger.handle(looked(card(driver=True)), 21.0)) == ["Sampled", "Granted"]


@pytest.mark.parametrize(("gb", "passes"), [(23, False), (23.5, True)])
def test_a_residue_is_in_the_way_of_what_does_not_fit_beside_it(gb: float, *, passes: bool) -> None:
    """To the byte: who fits beside it holds the parked lease back, and who does not is passed."""
    ledger = founded(card())
    ledger.handle(ask("victim", 8, priority=10, evictable=True), 0.0)
    ledger.handle(ask("urgent", 20, priority=40), 0.0)
    answer(ledger, residue_bytes=GIB)
    ledger.handle(ask("stiff", 3, priority=40), 0.0)
    wants(ledger, gb, at=30)
    ledger.handle(c.Release(lease_id=lease_of(ledger, "urgent").id), 0.0)

    assert (lease_of(ledger, "victim").state == "loading") is passes


def test_a_gang_is_in_the_way_of_a_residue_where_that_blocks_it() -> None:
    """Blocked on one device, it is passed there by what keeps it from it, and on its other device by nobody."""
    ledger = founded(card("d0"), card("d1", index=1), ttl_s=600.0)
    for on, kept in (("d0", 2), ("d1", 1)):
        ledger.handle(ask(f"victim {on}", 8, priority=10, evictable=True, device=(on,)), 0.0)
        ledger.handle(c.Evict(lease_id=lease_of(ledger, f"victim {on}").id), 0.0)
        ledger.handle(c.Checkpointed(lease_id=lease_of(ledger, f"victim {on}").id, residue_bytes=kept * GIB), 0.0)
    wants(ledger, 23, gpus=2)
    for on in ("d0", "d1"):
        ledger.handle(c.Resume(lease_id=lease_of(ledger, f"victim {on}").id), 0.0)

    assert {on: lease_of(ledger, f"victim {on}").state for on in ("d0", "d1")} == {"d0": "loading", "d1": "parked"}
