"""Why a lease waits, behind whom, and how long that may take."""

import pytest
from tests.ledger.builders import GIB, ask, card, founded, lease_of

from cf_orch.ledger import Ledger, Quota, WaitingFor
from cf_orch.ledger import commands as c


def why(ledger: Ledger, request_id: str, now: float = 0.0) -> WaitingFor:
    """Ask why a request of kiwi waits."""
    told = ledger.waiting_for(lease_of(ledger, request_id), now)
    assert told is not None
    return told


def names(ledger: Ledger, told: WaitingFor) -> list[str]:
    """Who stands before it, by request."""
    return [lease.request_id for lease_id in told.behind if (lease := ledger.find(lease_id))]


def test_who_does_not_wait_waits_for_nothing() -> None:
    """A lease that holds memory has no reason to wait, and no position."""
    ledger = founded(card())
    ledger.handle(ask(), 0.0)

    assert ledger.waiting_for(lease_of(ledger), 0.0) is None
    assert ledger.position(lease_of(ledger)) is None


def test_memory_names_the_holders_oldest_first() -> None:
    """Ten of the holders are named at most, on the device where least is lacking."""
    ledger = founded(card("d0", 24), card("d1", 20, index=1))
    for i in range(12):
        ledger.handle(ask(f"h{i}", 2, device=("d0",)), 0.0)
    ledger.handle(ask("other", 20, device=("d1",)), 0.0)
    ledger.handle(ask("r1", 20, device=("d0",)), 0.0)

    told = why(ledger, "r1")

    assert (told.rule, told.device, told.needs_bytes, told.free_bytes) == ("memory", "d0", 20 * GIB, 0)
    assert names(ledger, told) == [f"h{i}" for i in range(10)]


def test_fifo_names_the_first_of_each_shape_before() -> None:
    """Of those before, the first of each kind of request is named, ten at most, and none that cannot be in the way."""
    ledger = founded(card("d0", 24), card("d1", 24, index=1))
    ledger.handle(ask("holder", 20, device=("d0",)), 0.0)
    ledger.handle(ask("far", 20, device=("d1",)), 0.0)
    ledger.handle(ask("far too", 20, device=("d1",)), 0.0)
    for i in range(12):
        ledger.handle(ask(f"w{i}", 10 + i, device=("d0",)), 0.0)
    ledger.handle(ask("r1", 22, device=("d0",)), 0.0)

    told = why(ledger, "r1")

    assert told.rule == "fifo"
    assert names(ledger, told) == [f"w{i}" for i in range(10)]


def test_a_stalled_one_before_is_not_in_the_way() -> None:
    """Who cannot be served whatever ends is not what others wait for."""
    ledger = founded(card("d0", 24, driver=True, used=2))
    ledger.handle(ask("stalled", 24), 0.0)
    ledger.handle(ask("holder", 20), 0.0)
    ledger.handle(ask("r1", 20), 0.0)

    told = why(ledger, "r1")

    assert (told.rule, names(ledger, told)) == ("memory", ["holder"])


def test_of_the_same_shape_the_first_is_named() -> None:
    """Behind others of the very same kind it is the first of them that counts."""
    ledger = founded(card())
    for request_id in ("holder", "r1", "r2", "r3"):
        ledger.handle(ask(request_id, 20), 0.0)

    assert names(ledger, why(ledger, "r3")) == ["r1"]


def test_a_gang_waits_for_its_tightest_device() -> None:
    """Where one device of a gang has room and the other has not, the other is the reason."""
    ledger = founded(card("d0", 24), card("d1", 24, index=1), card("d2", 24, index=2))
    ledger.handle(ask("holder", 20, device=("d1",)), 0.0)
    ledger.handle(ask("r1", 20, gpus=3), 0.0)

    told = why(ledger, "r1")

    assert (told.rule, told.device, names(ledger, told)) == ("memory", "d1", ["holder"])


@pytest.mark.parametrize("closed", ["drain", "window", "blind"])
def test_the_device_that_is_nearest_is_one_that_is_open(closed: str) -> None:
    """More room helps nobody where nothing is granted: the reason is told of the other device."""
    ledger = founded(card("d0", 24, driver=True), card("d1", 20, index=1))
    ledger.handle(ask("holder", 16, device=("d1",)), 0.0)
    now = 0.0
    if closed == "drain":
        ledger.handle(c.Drain(uuid="d0"), now)
    elif closed == "window":
        ledger.handle(ask("loader", 4, peak_bytes=4 * GIB, device=("d0",)), now)
    else:
        now = 6.0
    ledger.handle(ask("r1", 16), now)

    told = why(ledger, "r1", now)

    assert (told.rule, told.device, names(ledger, told)) == ("memory", "d1", ["holder"])


def test_a_window_is_the_reason_while_an_engine_loads() -> None:
    """With room enough and nobody before, it is the one that loads."""
    ledger = founded(card())
    ledger.handle(ask("loader", 4, peak_bytes=6 * GIB), 0.0)
    ledger.handle(ask("r1", 4), 0.0)

    told = why(ledger, "r1")

    assert (told.rule, names(ledger, told)) == ("window", ["loader"])


def test_the_quota_is_the_reason_where_it_is_full() -> None:
    """What the quota leaves free is told, and who of the service holds; who comes behind waits for that."""
    ledger = founded(card(), quotas={"kiwi": Quota(max_vram_bytes=10 * GIB)})
    ledger.handle(ask("holder", 8), 0.0)
    ledger.handle(ask("r1", 4), 0.0)
    ledger.handle(ask("r2", 1), 0.0)
    ledger.handle(ask("other", 20, session=None), 0.0)

    told = why(ledger, "r1")

    assert (told.rule, told.device, told.needs_bytes, told.free_bytes) == ("quota", None, 4 * GIB, 2 * GIB)
    assert names(ledger, told) == ["holder"]
    assert (why(ledger, "r2").rule, names(ledger, why(ledger, "r2"))) == ("fifo", ["r1"])
    others = ledger.waiting_for(lease_of(ledger, "other", "web"), 0.0)
    assert others is not None
    assert (others.rule, names(ledger, others)) == ("memory", ["holder"])


def test_an_eviction_names_who_is_asked() -> None:
    """One for whom others are asked to leave waits for them; who waits behind it, for it."""
    ledger = founded(card("d0"), card("d1", index=1))
    for request_id in ("v1", "v2", "v3"):
        ledger.handle(ask(request_id, 8, priority=10, evictable=True, device=("d0",)), 0.0)
    ledger.handle(ask("r1", 16, device=("d0",)), 0.0)
    ledger.handle(ask("r2", 8, device=("d0",)), 0.0)

    told = why(ledger, "r1")
    assert (told.rule, told.device, told.needs_bytes, told.free_bytes, told.eta_s) == (
        "eviction", "d0", 16 * GIB, 0, None
    )  # fmt: skip
    assert names(ledger, told) == ["v3", "v2"]
    assert (why(ledger, "r2").rule, names(ledger, why(ledger, "r2"))) == ("fifo", ["r1"])


def test_a_plan_holds_back_its_own_devices_only() -> None:
    """Of those before, one with a plan is in the way on its plan's devices, and nowhere else."""
    ledger = founded(card("d0"), card("d1", index=1))
    ledger.handle(ask("victim", 20, priority=10, evictable=True, device=("d0",)), 0.0)
    ledger.handle(ask("fixed", 20, priority=10, device=("d1",)), 0.0)
    ledger.handle(ask("owner", 20), 0.0)
    ledger.handle(ask("here", 20, device=("d0",)), 0.0)
    ledger.handle(ask("there", 20, device=("d1",)), 0.0)

    assert (why(ledger, "here").rule, names(ledger, why(ledger, "here"))) == ("fifo", ["owner"])
    assert (why(ledger, "there").rule, names(ledger, why(ledger, "there"))) == ("memory", ["fixed"])


def test_a_return_needs_what_it_does_not_keep() -> None:
    """Its residue is there already; the one before which it stands is not what it waits for."""
    ledger = founded(card())
    ledger.handle(ask("victim", 20, priority=10, evictable=True), 0.0)
    ledger.handle(ask("urgent", 20, priority=40), 0.0)
    ledger.handle(c.Checkpointed(lease_id=lease_of(ledger, "victim").id, residue_bytes=2 * GIB), 0.0)
    ledger.handle(ask("later", 4, priority=10), 0.0)

    told = why(ledger, "victim")

    assert (told.rule, told.needs_bytes, told.free_bytes) == ("memory", 18 * GIB, 2 * GIB)
    assert names(ledger, told) == ["urgent"]
    assert (why(ledger, "later").rule, names(ledger, why(ledger, "later"))) == ("fifo", ["victim"])


def test_residue_names_those_that_must_end_first() -> None:
    """A request that fits only without what parked leases keep, wherever it could go, waits for their ends."""
    ledger = founded(card())
    for request_id in ("parked", "resting"):
        ledger.handle(ask(request_id, 8, priority=10, evictable=True), 0.0)
    ledger.handle(c.Evict(lease_id=lease_of(ledger, "resting").id), 0.0)
    ledger.handle(ask("urgent", 20, priority=40), 0.0)
    for request_id in ("parked", "resting"):
        ledger.handle(c.Checkpointed(lease_id=lease_of(ledger, request_id).id, residue_bytes=GIB), 0.0)
    ledger.handle(ask("whole", 23), 0.0)

    told = why(ledger, "whole")

    assert (told.rule, told.device) == ("residue", "d0")
    assert set(names(ledger, told)) == {"parked", "resting"}


def test_residency_names_who_is_protected_for_a_while() -> None:
    """Who waits for a protection to end waits for those whose it is, and for no longer."""
    ledger = founded(card(), min_residency_s=10.0)
    ledger.handle(ask("warm", 12, evictable=True), 0.0)
    ledger.handle(ask("busy", 10, evictable=True), 0.0)
    ledger.handle(c.MarkIdle(lease_id=lease_of(ledger, "warm").id), 0.0)
    ledger.handle(ask("r1", 14), 1.0)

    told = why(ledger, "r1", 9.0)
    assert (told.rule, names(ledger, told)) == ("residency", ["warm"])
    ledger.handle(c.Tick(), 10.0)
    assert (why(ledger, "r1", 10.0).rule, names(ledger, why(ledger, "r1", 10.0))) == ("eviction", ["warm"])


@pytest.mark.parametrize(("cause", "rule"), [("drain", "drain"), ("blind", "blind"), ("foreign", "foreign")])
def test_a_stall_names_its_cause(cause: str, rule: str) -> None:
    """A drain, a driver that is not seen, or memory that no lease accounts for; it stalls others behind it not."""
    ledger = founded(card("d0", 24, driver=True, used=20 if cause == "foreign" else 0))
    if cause == "drain":
        ledger.handle(c.Drain(uuid="d0"), 0.0)
    now = 6.0 if cause == "blind" else 0.0
    ledger.handle(ask("r1", 8), now)
    ledger.handle(ask("r2", 10), now)

    assert why(ledger, "r1", now).rule == why(ledger, "r2", now).rule == rule
    assert why(ledger, "r2", now).behind == ()


def test_the_time_left_is_the_median_of_the_services_holds() -> None:
    """Once a service has held before, its holder is expected to take as long; never less than nothing."""
    ledger = founded(card())
    now = 0.0
    for i, seconds in enumerate((10.0, 20.0, 90.0)):
        ledger.handle(ask(f"done{i}", 20), now)
        now += seconds
        ledger.handle(c.RenewSession(session_id="kiwi"), now)
        ledger.handle(c.Release(lease_id=lease_of(ledger, f"done{i}").id), now)
    ledger.handle(ask("holder", 20), now)
    ledger.handle(ask("r1", 20), now)

    assert why(ledger, "r1", now + 5).eta_s == 15.0
    assert why(ledger, "r1", now + 50).eta_s == 0.0


def test_the_time_left_counts_holders_until_it_fits() -> None:
    """It is the time of the one whose leaving makes room, and unknown where one of them is."""
    ledger = founded(card())
    ledger.handle(ask("done", 20), 0.0)
    ledger.handle(c.Release(lease_id=lease_of(ledger, "done").id), 10.0)
    ledger.handle(ask("done", 20, session=None), 10.0)
    ledger.handle(c.Release(lease_id=lease_of(ledger, "done", "web").id), 30.0)
    ledger.handle(ask("short", 10), 30.0)
    ledger.handle(ask("long", 10, session=None), 30.0)
    ledger.handle(ask("r1", 12), 30.0)
    assert why(ledger, "r1", 30.0).eta_s == 10.0
    ledger.handle(c.Release(lease_id=lease_of(ledger, "r1").id), 30.0)
    ledger.handle(ask("r2", 20), 30.0)
    assert why(ledger, "r2", 30.0).eta_s == 20.0

    ledger.handle(ask("new", 2, service="unheard of", session=None, priority=40), 30.0)

    assert why(ledger, "r2", 30.0).eta_s is None


def test_the_time_left_is_not_known_after_a_restart() -> None:
    """How long a holder has held by then is not known."""
    ledger = founded(card())
    ledger.handle(ask("done", 20), 0.0)
    ledger.handle(c.Release(lease_id=lease_of(ledger, "done").id), 10.0)
    ledger.handle(ask("holder", 20), 10.0)
    ledger.handle(ask("r1", 20), 10.0)
    assert why(ledger, "r1", 10.0).eta_s == 10.0

    ledger.handle(c.Restart(), 12.0)

    assert why(ledger, "r1", 12.0).eta_s is None


def test_one_who_is_cut_off_waits_for_himself() -> None:
    """Nobody holds what he needs, and no time makes it his."""
    ledger = founded(card())
    ledger.handle(c.Drain(uuid="d0"), 0.0)
    ledger.handle(ask(session=None), 0.0)
    lease = lease_of(ledger, caller="web")
    ledger.handle(c.CutOff(lease_id=lease.id), 0.0)
    ledger.handle(c.Undrain(uuid="d0"), 0.0)

    told = ledger.waiting_for(lease, 0.0)

    assert told == WaitingFor("memory", "d0", 8 * GIB, 24 * GIB, (), None)
