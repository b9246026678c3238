"""Defects of evictions that random histories found, each as the smallest history that shows it."""

from typing import Any

from tests.ledger.builders import GIB, ask, card, looked
from tests.ledger.harness import Harness, Step

from cf_orch.ledger import Lease, Quota, Settings
from cf_orch.ledger import commands as c
from cf_orch.ledger import events as e
from cf_orch.ledger.records import Process


class Stage:
    """A ledger under the oracle's eyes, with a session of each service; leases go by their request's name."""

    def __init__(self, *cards: c.DeviceReport, **policy: Any) -> None:
        self.now = 0.0
        self.harness = Harness(Settings(**policy))
        self.events: list[e.Event] = []
        self.say(c.Found(ledger_id="x"))
        for service in ("kiwi", "scribe"):
            self.say(c.OpenSession(session_id=service, service=service, host_id="h0", ttl_s=3600.0))
        if cards:
            self.say(looked(*cards))

    def say(self, command: c.Command, *, after: float = 0.0) -> None:
        """Let time pass, then say it."""
        self.now += after
        self.events = self.harness.do(Step(at=self.now, command=command)) or []

    def ask(self, name: str, gb: float, *, session: str = "kiwi", **fields: Any) -> None:
        self.say(ask(name, gb, session=session, **fields))

    def lease(self, name: str) -> Lease:
        found = [x for x in self.harness.ledger.leases.values() if x.request_id == name]
        return found[0] if found else next(x for x in self.harness.ledger.ended.values() if x.request_id == name)

    def id(self, name: str) -> str:
        return self.lease(name).id

    def wait(self, seconds: float) -> None:
        """Let time pass; the timer rings whenever something is due."""
        until = self.now + seconds
        while (due := self.harness.ledger.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.say(c.Tick())
        self.now = until

    def park(self, name: str, residue_gb: float = 0) -> None:
        """The holder has left, as it was asked to."""
        self.say(c.Checkpointed(lease_id=self.id(name), residue_bytes=int(residue_gb * GIB)))

    def states(self, *names: str) -> list[str]:
        return [str(self.lease(name).state) for name in names]


def test_one_that_rests_can_be_released() -> None:
    """It closes, and rests no more."""
    stage = Stage(card(driver=True))
    stage.ask("r", 8, evictable=True)
    stage.say(c.Evict(lease_id=stage.id("r")))
    stage.park("r")
    assert stage.states("r") == ["resting"]

    stage.say(c.Release(lease_id=stage.id("r")))

    assert stage.states("r") == ["closing"]
    assert stage.lease("r").rest is None


def test_one_that_is_released_is_not_overdue_later() -> None:
    """The deadline of a notice dies with it."""
    stage = Stage(card(driver=True), grace_s=1.0)
    stage.ask("r", 8, evictable=True)
    stage.say(c.Evict(lease_id=stage.id("r")))
    stage.say(c.Release(lease_id=stage.id("r")))

    stage.wait(2.0)

    assert stage.states("r") == ["closing"]
    assert not stage.lease("r").eviction_overdue


def test_an_eviction_is_overdue_once() -> None:
    """A notice that was given anew has an old timer and a new one; after a late tick one of them counts."""
    stage = Stage(card(), grace_s=5.0)
    stage.ask("r", 8, evictable=True)
    stage.say(c.Evict(lease_id=stage.id("r")))
    stage.say(c.Evict(lease_id=stage.id("r")), after=2.0)

    stage.say(c.Tick(), after=60.0)

    assert [type(event) for event in stage.events].count(e.EvictionOverdue) == 1


def test_the_time_to_give_back_begins_with_the_end() -> None:
    """What was parked nine seconds ago and is released now has its whole time still: its bytes have not leaked."""
    stage = Stage(card(driver=True), reclaim_timeout_s=10.0)
    stage.ask("r", 8, evictable=True)
    stage.say(looked(card(driver=True, used=8)), after=1.0)
    stage.say(c.Evict(lease_id=stage.id("r")))
    stage.park("r", 1)
    stage.say(c.Release(lease_id=stage.id("r")), after=9.0)
    stage.say(looked(card(driver=True, used=8)), after=0.5)

    stage.wait(1.0)
    assert stage.states("r") == ["closing"]

    stage.say(looked(card(driver=True, used=8)), after=8.0)
    stage.wait(1.0)
    assert stage.states("r") == ["ended"]


def test_a_second_load_has_its_own_time() -> None:
    """The timer of the first load does not end the second."""
    stage = Stage(card(), load_timeout_s=10.0)
    stage.ask("r", 8, peak_bytes=9 * GIB, evictable=True)
    stage.say(c.MarkLoaded(lease_id=stage.id("r")), after=1.0)
    stage.say(c.Evict(lease_id=stage.id("r")))
    stage.park("r")
    stage.say(c.Resume(lease_id=stage.id("r")), after=5.0)
    assert stage.states("r") == ["loading"]

    stage.wait(6.0)
    assert not stage.lease("r").load_overdue
    stage.wait(5.0)
    assert stage.lease("r").load_overdue


def test_a_plan_ends_where_somebody_comes_before_its_owner_though_nothing_is_open() -> None:
    """Blind here, a load window there: the one who aged before the owner still holds his devices back."""
    stage = Stage(card(driver=True), card("d1", 12, index=1), aging_s=3.0)
    stage.ask("loads", 10, peak_bytes=12 * GIB, device=("d1",))
    stage.ask("victim", 8, priority=0, evictable=True)
    stage.ask("stays", 14, priority=30)
    stage.ask("old", 8, priority=0)
    stage.ask("owner", 10, session="scribe", priority=20)
    assert stage.lease("owner").has_plan

    stage.say(c.Tick(), after=3.0)
    stage.say(c.Tick(), after=3.0)

    assert stage.lease("old").priority == 20
    assert not stage.lease("owner").has_plan


def test_nobody_is_counted_on_where_memory_comes_free_elsewhere() -> None:
    """Of two cards, one comes free as it is; on the other somebody is asked already, and may stay."""
    stage = Stage(card("d0"), card("d1", driver=True, index=1))
    stage.ask("victim", 24, device=("d0",), priority=0, evictable=True)
    stage.ask("ends", 24, device=("d1",), priority=40)
    stage.ask("first", 20, session="scribe", device=("d0",), priority=30)
    stage.ask("second", 20, priority=20)
    stage.say(c.Release(lease_id=stage.id("ends")), after=1.0)
    stage.say(c.Release(lease_id=stage.id("first")))

    assert not stage.lease("second").has_plan
    assert stage.states("victim") == ["active"]


def test_what_a_return_still_has_is_no_supply_for_it() -> None:
    """It needs 16, and that its own 10 are on their way back gives it nothing: the batch job must leave."""
    stage = Stage(card(driver=True))
    process = (Process(pid=7, pid_start=1, used_bytes=10 * GIB),)
    stage.ask("back", 16, priority=20, evictable=True)
    stage.say(c.Attach(lease_id=stage.id("back"), pid=7, pid_start=1))
    stage.say(looked(card(driver=True, used=10, processes=process)), after=1.0)
    stage.say(c.Evict(lease_id=stage.id("back")))
    stage.park("back", 2)
    stage.say(looked(card(driver=True, used=10, processes=process)), after=1.0)
    stage.ask("batch", 12, session="scribe", priority=0, evictable=True)
    assert stage.states("back", "batch") == ["resting", "active"]

    stage.say(c.Resume(lease_id=stage.id("back")))

    assert stage.states("back", "batch") == ["parked", "evicting"]


def test_one_whose_residue_blocks_the_first_goes_before_all_behind_him() -> None:
    """``large`` waits for ``kept`` to end, ``kept`` stands behind ``small``, and ``small`` behind ``large``."""
    stage = Stage(card())
    stage.ask("kept", 4, priority=0, evictable=True)
    stage.ask("passes", 22, session="scribe", priority=40)
    assert stage.states("kept", "passes") == ["evicting", "queued"]
    stage.park("kept", 1)
    assert stage.states("kept", "passes") == ["parked", "active"]
    stage.ask("large", 23.5, session="scribe", priority=30)
    stage.ask("small", 2, session="scribe", priority=20, evictable=False)

    stage.say(c.Release(lease_id=stage.id("passes")))

    assert stage.states("kept", "large", "small") == ["loading", "queued", "queued"]


def test_one_that_keeps_more_than_it_needs_comes_back() -> None:
    """A parked lease whose process still holds 18 of the 12 that it may use takes nothing more by returning."""
    stage = Stage(card(driver=True))
    process = (Process(pid=7, pid_start=1, used_bytes=18 * GIB),)
    stage.ask("r", 12, evictable=True)
    stage.say(c.Attach(lease_id=stage.id("r"), pid=7, pid_start=1))
    stage.say(c.Evict(lease_id=stage.id("r")))
    stage.park("r", 12)
    stage.say(looked(card(driver=True, used=18, processes=process)), after=1.0)

    stage.say(c.Resume(lease_id=stage.id("r")))

    assert stage.states("r") == ["loading"]


def test_what_a_parked_lease_keeps_is_not_counted_twice_after_a_restart() -> None:
    """Where the driver names no processes, its residue is what it said, and it fits again: 23.5 of 24, 1 kept."""
    stage = Stage(card(driver=True))
    stage.ask("r", 23.5, evictable=True)
    stage.say(c.Evict(lease_id=stage.id("r")))
    stage.park("r", 1)
    stage.say(c.Restart(), after=1.0)
    stage.say(c.Resume(lease_id=stage.id("r")))
    assert stage.states("r") == ["parked"]

    stage.harness.do(Step(at=stage.now, command=c.Restart(), reborn="replay"))
    stage.say(looked(card(driver=True, used=1)), after=1.0)

    assert stage.states("r") == ["loading"]


def test_a_plan_takes_no_quota_from_those_before_its_owner() -> None:
    """Or it would be given up for the first one's sake, which then is over its quota no more: for ever."""
    stage = Stage(card("d0", 24), card("d1", 12, index=1), quotas={"kiwi": Quota(max_vram_bytes=30 * GIB)})
    stage.ask("victim", 8, session="scribe", priority=0, device=("d1",), evictable=True)
    stage.ask("stays", 10, session="scribe", priority=40, device=("d0",))
    stage.ask("holds", 4, priority=40, device=("d1",))
    stage.ask("first", 20, priority=20)
    stage.ask("owner", 8, priority=10, device=("d1",))
    stage.ask("another", 6, priority=10, device=("d0",))

    assert stage.lease("owner").has_plan
    assert stage.states("victim", "first") == ["evicting", "queued"]


def test_one_who_left_in_vain_passes_whoever_is_held_back_by_that_owner() -> None:
    """``second`` asks for the same as ``owner`` and stands before ``left``, but could not go before him anyway."""
    stage = Stage(card("d0", 24), grace_s=5.0)
    stage.ask("left", 8, priority=0, evictable=True)
    stage.ask("stubborn", 8, priority=0, evictable=True)
    stage.ask("owner", 20, session="scribe", priority=20)
    stage.ask("second", 20, session="scribe", priority=20)
    assert stage.states("left", "stubborn") == ["evicting", "evicting"]
    stage.park("left")

    stage.say(c.Tick(), after=5.0)

    assert not stage.lease("owner").has_plan
    assert stage.states("left", "owner", "second") == ["loading", "queued", "queued"]
