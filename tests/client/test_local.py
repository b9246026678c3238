"""Leases without a coordinator: turns on this host, between real processes."""

import asyncio
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cf_orch.client import CoordinatorAwayWarning, CoordinatorUnreachable, LeaseTimeout, ResourceCoordinator, VRAMSlot
from cf_orch.client.local import LocalTurns

NOBODY = "http://127.0.0.1:9"
SLOT = VRAMSlot("kiwi", "llm", 4)

Start = Callable[..., Any]
Handles = Callable[..., ResourceCoordinator]
Eventually = Callable[..., None]


def tickets(folder: Path) -> list[dict[str, Any]]:
    """The tickets of the host, in order."""
    file = folder / "local.json"
    found: list[dict[str, Any]] = json.loads(file.read_bytes())["tickets"] if file.exists() else []
    return found


def queue_up(puppets: list[Any], folder: Path, eventually: Eventually) -> None:
    """Let each ask once the one before it stands in line."""
    for count, puppet in enumerate(puppets, start=1):
        puppet.tell("ask", "a", 4)
        eventually(lambda count=count: len(tickets(folder)) == count)


def test_processes_take_turns_in_order(puppet: Start, runtime_dir: Path, eventually: Eventually) -> None:
    """Three processes are served one at a time, in the order in which they asked."""
    puppets = [puppet(NOBODY) for _ in range(3)]
    queue_up(puppets, runtime_dir, eventually)

    for served, one in enumerate(puppets):
        assert one.says() == "held a local"
        standing = tickets(runtime_dir)
        assert [ticket["pid"] for ticket in standing] == [other.process.pid for other in puppets[served:]]
        assert [ticket.get("has_turn", False) for ticket in standing] == [True] + [False] * (len(standing) - 1)
        one.tell("leave", "a")
        assert one.says() == "left a"


def test_a_killed_holder_and_a_killed_waiter_free_their_turns(
    puppet: Start, runtime_dir: Path, eventually: Eventually
) -> None:
    """Kill -9 of the holder, and of the one that waits next, lets the third have its turn."""
    puppets = [puppet(NOBODY) for _ in range(3)]
    queue_up(puppets, runtime_dir, eventually)
    assert puppets[0].says() == "held a local"

    puppets[1].kill()
    puppets[0].kill()

    assert puppets[2].says() == "held a local"
    assert [ticket["pid"] for ticket in tickets(runtime_dir)] == [puppets[2].process.pid]


def test_an_idle_lease_keeps_nobody_out(puppet: Start) -> None:
    """A local lease that is idle lets the next have its turn, and gets a turn again when it is busy."""
    warm, other = puppet(NOBODY), puppet(NOBODY)
    warm.tell("ask", "a", 4)
    assert warm.says() == "held a local"
    warm.tell("idle", "a")
    assert warm.says() == "idle a idle"

    other.tell("ask", "b", 4)
    assert other.says() == "held b local"
    warm.tell("busy", "a")
    other.tell("leave", "b")

    assert other.says() == "left b"
    assert warm.says() == "busy a active"


async def test_warns_once_and_shares_its_own_turn(handle: Handles) -> None:
    """A local lease says that it is one; a task that asks within its own turn does not wait for itself."""
    coordinator = handle(NOBODY)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        async with asyncio.timeout(5), coordinator.lease(SLOT) as outer, coordinator.lease(SLOT) as inner:
            assert outer.local
            assert inner.local
            assert outer.token is None
            assert outer.state == "active"

    assert [warning.category for warning in seen] == [CoordinatorAwayWarning]


async def test_tasks_of_one_process_take_turns(handle: Handles) -> None:
    """Tasks that do not stand within each other's leases are served one at a time, in order."""
    coordinator = handle(NOBODY)
    order: list[str] = []

    async def work(name: str) -> None:
        async with coordinator.lease(SLOT):
            order.append(f"{name} in")
            await asyncio.sleep(0)
            order.append(f"{name} out")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await asyncio.gather(*(work(name) for name in "abc"))

    assert order == ["a in", "a out", "b in", "b out", "c in", "c out"]


async def test_a_wait_for_a_turn_can_end(handle: Handles, runtime_dir: Path) -> None:
    """A wait for a turn that takes longer than max_wait_s ends, and one that is cancelled leaves no ticket."""
    holder = LocalTurns(runtime_dir)
    await holder.take_turn("other", 0)
    coordinator = handle(NOBODY)

    with pytest.raises(LeaseTimeout, match="no coordinator answered"):
        async with coordinator.lease(VRAMSlot("kiwi", "llm", 4, max_wait_s=0.2)):
            pytest.fail("it was granted")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), coordinator.lease(SLOT):
            pytest.fail("it was granted")

    assert [ticket["request_id"] for ticket in tickets(runtime_dir)] == ["other"]
    holder.close()


async def test_fail_names_every_url(handle: Handles) -> None:
    """fallback="fail" says which URLs were tried, and what came of each."""
    coordinator = handle("http://127.0.0.1:9,unix:///nowhere/sock", fallback="fail")

    with pytest.raises(CoordinatorUnreachable) as unreachable:
        async with coordinator.lease(SLOT):
            pytest.fail("it was granted")

    assert "http://127.0.0.1:9: Connection refused" in str(unreachable.value)
    assert "unix:///nowhere/sock: No such file" in str(unreachable.value)


async def test_a_slot_for_another_host_waits(handle: Handles) -> None:
    """No turn on this host helps a slot that names another host: it waits for the coordinator."""
    slot = VRAMSlot("kiwi", "llm", 4, host="elsewhere", max_wait_s=0.3)

    with pytest.raises(LeaseTimeout):
        async with handle(NOBODY).lease(slot):
            pytest.fail("it was granted")


async def test_no_turn_begins_beside_the_coordinators_leases(runtime_dir: Path) -> None:
    """While a process uses a lease that the coordinator granted, no other process gets a turn."""
    user, asker = LocalTurns(runtime_dir), LocalTurns(runtime_dir)
    user.use("granted")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.15):
            await asker.take_turn("local", 0)

    user.leave("granted")
    ticket = await asker.take_turn("local", 0)

    user.use("granted later")
    asker.end_turn(ticket)
    user.refresh()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.15):
            await asker.take_turn("local", 0)
    user.close()
    asker.close()


async def test_a_task_with_a_granted_lease_gets_a_turn_within_it(runtime_dir: Path) -> None:
    """Within a granted lease a turn comes when no other process uses the host; a failed try keeps others out."""
    mine, theirs, third = (LocalTurns(runtime_dir) for _ in range(3))
    mine.use("outer")
    theirs.use("granted")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.15):
            await mine.take_turn("inner", 0, frozenset({"outer"}))
    theirs.leave("granted")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.15):
            await third.take_turn("beside", 0)

    ticket = await mine.take_turn("inner", 0, frozenset({"outer"}))

    assert [(other["request_id"], other["has_turn"]) for other in tickets(runtime_dir)] == [("inner", True)]
    mine.end_turn(ticket)
    for turns in (mine, theirs, third):
        turns.close()
