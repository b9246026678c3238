"""What the driver shows decides: who gets memory, when it is given again, and who is named for what is in use."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.commands.conftest import Cli, Coordinator, said, until
from tests.gpus.conftest import FakeNvml
from tests.truth.conftest import CARD, Program

Start = Callable[[], Program]


def lease_of(coordinator: Coordinator, lease_id: str) -> dict[str, Any]:
    lease: dict[str, Any] = coordinator.get(f"/leases/{lease_id}")
    return lease


def held_by(coordinator: Coordinator, program: Program, gb: float, **fields: Any) -> str:
    """A lease whose memory a process uses, as the driver shows it."""
    lease_id = coordinator.ask("kiwi", gb, **fields)
    coordinator.call("POST", f"/leases/{lease_id}/attach", {"pid": program.pid})
    program.uses(gb)
    until(lambda: device(coordinator)["used_gb"] == gb)
    return lease_id


def device(coordinator: Coordinator) -> dict[str, Any]:
    found: dict[str, Any] = coordinator.get("/devices")["devices"][0]
    return found


def granted(coordinator: Coordinator, lease_id: str) -> bool:
    return lease_of(coordinator, lease_id)["state"] in ("active", "loading")


@pytest.fixture
def cli(coordinator: Coordinator, tmp_path: Any) -> Cli:
    """The command line, asked to talk to this coordinator."""
    return Cli(coordinator.url, tmp_path)


def test_nobody_is_granted_into_a_strangers_memory(coordinator: Coordinator, program: Start, cli: Cli) -> None:
    """A process that knows nothing of us takes most of the card: who asks waits, status names it, its end lets in."""
    stranger = program()
    stranger.uses(20)
    until(lambda: device(coordinator)["foreign_gb"] == 20)

    waiter = coordinator.ask("kiwi", 16)
    shown = said(cli, "status")
    small = coordinator.ask("kiwi", 3)
    waiting_for = lease_of(coordinator, waiter)["waiting_for"]
    stranger.kill()

    assert re.search(rf"foreign \S* ?\(pid {stranger.pid}\) 20 GB", shown)
    assert waiting_for["rule"] == "foreign"
    assert granted(coordinator, small)  # it holds nobody back whom the stranger leaves room for
    assert until(lambda: granted(coordinator, waiter))


def test_a_stranger_that_comes_later_is_no_reason_to_end_anybody(coordinator: Coordinator, program: Start) -> None:
    """The device is over-committed and says so; leases go on, and nothing is granted until it fits again."""
    own, stranger = program(), program()
    holder = held_by(coordinator, own, 16)
    coordinator.call("POST", f"/leases/{holder}/attach", {"pid": own.pid})
    own.uses(8)
    stranger.uses(12)
    until(lambda: device(coordinator)["over_committed"])

    waiter = coordinator.ask("kiwi", 1)
    seen = lease_of(coordinator, holder)["state"], lease_of(coordinator, waiter)["state"]
    stranger.kill()

    assert seen == ("active", "queued")
    assert until(lambda: granted(coordinator, waiter))


def test_memory_is_given_again_when_the_driver_shows_it(coordinator: Coordinator, program: Start) -> None:
    """A release alone gives nothing: the process still has the bytes, and the next waits until they are gone."""
    own = program()
    holder = held_by(coordinator, own, 20)
    waiter = coordinator.ask("merlin", 20)

    coordinator.release(holder)
    after_release = lease_of(coordinator, holder)["state"], lease_of(coordinator, waiter)["state"]
    own.uses(0)

    assert after_release == ("closing", "queued")
    assert until(lambda: granted(coordinator, waiter))


def test_memory_that_never_comes_back_is_a_leak_with_a_name(coordinator: Coordinator, program: Start) -> None:
    """After a second of fresh looks it is foreign use of that process, and what is left can be given."""
    own = program()
    holder = held_by(coordinator, own, 16)
    coordinator.release(holder)

    until(lambda: lease_of(coordinator, holder)["state"] == "ended")
    events = [entry["event"] for entry in coordinator.get("/events?limit=1000")["events"]]
    found = device(coordinator)

    assert [event["leaked_bytes"] for event in events if event["event"] == "leaked"] == [16 * 2**30]
    assert (found["foreign_gb"], found["free_gb"]) == (16, 7.5)
    assert granted(coordinator, coordinator.ask("merlin", 7))


def test_a_killed_process_gives_its_memory_to_the_next(coordinator: Coordinator, program: Start) -> None:
    """The process dies with its memory; its lease is released by nobody, and ends by its time to live."""
    own = program()
    holder = held_by(coordinator, own, 20, ttl_s=1)
    waiter = coordinator.ask("merlin", 20)

    own.kill()

    assert until(lambda: granted(coordinator, waiter))
    assert lease_of(coordinator, holder)["outcome"] == "expired"


def test_a_driver_that_fails_grants_nothing(coordinator: Coordinator, driver: FakeNvml) -> None:
    """What is held goes on; nothing is granted on a guess, and everything again when the driver is back."""
    holder = coordinator.ask("kiwi", 4)
    driver.also("fail nvmlDeviceGetMemoryInfo_v2 999", "fail nvmlDeviceGetMemoryInfo 999")
    until(lambda: device(coordinator)["blind"])

    waiter = coordinator.ask("kiwi", 4)
    seen = lease_of(coordinator, holder)["state"], lease_of(coordinator, waiter)["waiting_for"]["rule"]
    driver.says(CARD)

    assert seen == ("active", "blind")
    assert until(lambda: granted(coordinator, waiter))


def test_an_evicted_holders_memory_is_given_when_it_is_seen(coordinator: Coordinator, program: Start) -> None:
    """It says that its memory is free, and it is not: the one who asked waits for the driver's word."""
    own = program()
    batch = held_by(coordinator, own, 20, priority="batch", evictable=True, residue_gb=0.5)
    asker = coordinator.ask("merlin", 20, priority="realtime")

    asked = lease_of(coordinator, batch)["eviction"]["for"]
    coordinator.call("POST", f"/leases/{batch}/checkpointed", {"residue_gb": 0.5})
    after_answer = lease_of(coordinator, asker)["state"], lease_of(coordinator, batch)["charge_gb"]
    own.uses(0.5)
    until(lambda: granted(coordinator, asker))
    coordinator.release(asker)

    assert asked == asker
    assert after_answer == ("queued", 20)
    assert until(lambda: granted(coordinator, batch))


def test_a_holder_that_frees_nothing_comes_back_before_the_one_it_left_for(
    coordinator: Coordinator, program: Start
) -> None:
    """What it kept is counted as its residue; the plan cannot succeed, is given up, and its victim goes on."""
    own = program()
    batch = held_by(coordinator, own, 20, priority="batch", evictable=True)
    asker = coordinator.ask("merlin", 20, priority="realtime")

    coordinator.call("POST", f"/leases/{batch}/checkpointed", {})
    until(lambda: granted(coordinator, batch))
    events = [entry["event"] for entry in coordinator.get("/events?limit=1000")["events"]]
    told = ("parked", "residue_seen", "plan_ended", "granted")
    story = [event["event"] for event in events if event["event"] in told and event["lease_id"] in (batch, asker)]

    assert story == ["granted", "parked", "residue_seen", "plan_ended", "granted"]
    assert lease_of(coordinator, asker)["state"] == "queued"
