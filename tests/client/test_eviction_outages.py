"""A coordinator that dies, freezes or forgets while one of its holders is being evicted; and evictions without one."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import pytest

from cf_orch.client import (
    AsyncLease,
    CoordinatorAwayWarning,
    CoordinatorUnreachable,
    LeaseLost,
    ResourceCoordinator,
    VRAMSlot,
)

NOBODY = "http://127.0.0.1:9"
BATCH = VRAMSlot("batch", "llm", 20, priority="batch", residue_gb=1.0)
URGENT = VRAMSlot("urgent", "asr", 20)

Handles = Callable[..., ResourceCoordinator]
Eventually = Callable[..., None]

pytestmark = pytest.mark.slow  # each ends a coordinator and waits for what follows


@pytest.fixture(autouse=True)
def _quietly() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CoordinatorAwayWarning)
        yield


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for what another process does; the loop runs on meanwhile."""
    async with asyncio.timeout(20):
        while not (met := await asyncio.to_thread(condition)):  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.005)
    return met


class Model:
    """Memory that is there or not; checkpoint() and restore() wait until they may."""

    def __init__(self) -> None:
        self.is_there = True
        self.story: list[str] = []
        self.may = {"checkpoint": asyncio.Event(), "restore": asyncio.Event()}
        self.began = {"checkpoint": asyncio.Event(), "restore": asyncio.Event()}
        for gate in self.may.values():
            gate.set()

    async def checkpoint(self) -> float:
        await self._run("checkpoint", there=True)
        return 0.5

    async def restore(self) -> None:
        await self._run("restore", there=False)

    async def _run(self, what: str, *, there: bool) -> None:
        assert self.is_there is there
        self.story.append(what)
        self.began[what].set()
        await self.may[what].wait()
        self.is_there = not there

    async def work(self, lease: AsyncLease) -> None:
        async with lease.use():
            assert self.is_there


class Holder:
    """A task that holds an evictable lease until it is told to leave."""

    def __init__(self, coordinator: ResourceCoordinator, slot: VRAMSlot = BATCH) -> None:
        self.model = Model()
        self._opener = coordinator.lease(slot, checkpoint=self.model.checkpoint, restore=self.model.restore)
        self.lease: AsyncLease

    async def __aenter__(self) -> Self:
        self.lease = await self._opener.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._opener.__aexit__(kind, error, traceback)

    async def work(self) -> None:
        await self.model.work(self.lease)


class Urgent:
    """A task of a higher class, in a session of its own, that holds what it was granted until it leaves."""

    def __init__(self, coordinator: ResourceCoordinator) -> None:
        self.granted = asyncio.Event()
        self._leave = asyncio.Event()
        self._task = asyncio.create_task(self._hold(coordinator))

    async def _hold(self, coordinator: ResourceCoordinator) -> None:
        async with coordinator.lease(URGENT):
            self.granted.set()
            await self._leave.wait()

    async def leave(self) -> None:
        self._leave.set()
        await self._task


@pytest.mark.parametrize("fallback", ["local", "wait", "fail"])
@pytest.mark.parametrize("phase", ["draining", "checkpoint"])
async def test_killed_before_the_memory_was_given_up(server: Any, handle: Handles, phase: str, fallback: str) -> None:
    """The lease goes on as if nobody had asked; when the coordinator is back it asks again, and all are served."""
    await asyncio.to_thread(server.start)
    async with Holder(handle(server.url, fallback=fallback)) as holder:
        token, model = holder.lease.token, holder.model
        if phase == "checkpoint":
            model.may["checkpoint"].clear()
            urgent = Urgent(handle(server.url, fallback="wait"))
            await model.began["checkpoint"].wait()
            server.kill()
            await until(lambda: _is_missed(holder.lease))
            model.may["checkpoint"].set()
        else:
            async with holder.lease.use():
                urgent = Urgent(handle(server.url, fallback="wait"))
                await until(lambda: holder.lease.state == "evicting")
                server.kill()
                await until(lambda: _is_missed(holder.lease))
        async with asyncio.timeout(5):
            await holder.work()
        assert holder.lease.token == token
        assert model.story == (["checkpoint", "restore"] if phase == "checkpoint" else [])

        await asyncio.to_thread(server.start)
        await urgent.granted.wait()
        assert not model.is_there
        await urgent.leave()
        await holder.work()
        assert holder.lease.state == "active"
    assert server.leases("batch") == []


def _is_missed(lease: AsyncLease) -> bool:
    return lease._session._away is not None


async def test_killed_while_parked_goes_local(server: Any, handle: Handles) -> None:
    """Without a coordinator it takes its turn, restores and goes on; the coordinator adopts it, evictable as it was."""
    await asyncio.to_thread(server.start)
    async with Holder(handle(server.url)) as holder:
        lease = holder.lease
        urgent = Urgent(handle(server.url))
        await urgent.granted.wait()
        token, devices = lease.token, [device.uuid for device in lease.devices]
        server.kill()
        used = asyncio.create_task(holder.work())
        await until(lambda: _is_missed(lease))
        assert not used.done()
        await urgent.leave()
        await used
        assert (lease.local, lease.token, lease.state) == (True, None, "active")
        assert [device.uuid for device in lease.devices] == devices

        await asyncio.to_thread(server.start)
        await until(lambda: not lease.local)
        (shown,) = server.leases("batch")
        assert (shown["state"], shown["adopted"], shown["evictable"]) == ("active", True, True)
        assert shown["token"] == lease.token
        assert lease.token is not None
        assert token is not None
        assert lease.token > token

        urgent = Urgent(handle(server.url))
        await urgent.granted.wait()
        assert lease.state == "parked"
        await urgent.leave()
        await holder.work()
    assert holder.model.story == ["checkpoint", "restore"] * 2
    assert server.leases("batch") == []


async def test_killed_while_parked_waits(server: Any, handle: Handles) -> None:
    """fallback="wait": use() waits until the coordinator is back, and then the lease returns at its old place."""
    await asyncio.to_thread(server.start)
    async with Holder(handle(server.url, fallback="wait")) as holder:
        lease_id = holder.lease.id
        urgent = Urgent(handle(server.url, fallback="wait"))
        await urgent.granted.wait()
        server.kill()
        used = asyncio.create_task(holder.work())
        await until(lambda: _is_missed(holder.lease))
        await urgent.leave()
        assert not used.done()

        await asyncio.to_thread(server.start)
        await used
        assert (holder.lease.id, holder.lease.state) == (lease_id, "active")
    assert server.leases("batch") == server.leases("urgent") == []


async def test_killed_while_parked_fails(server: Any, handle: Handles) -> None:
    """fallback="fail": use() and busy() raise CoordinatorUnreachable, also those that wait; the lease lives on."""
    await asyncio.to_thread(server.start)
    async with Holder(handle(server.url, fallback="fail")) as holder:
        urgent = Urgent(handle(server.url, fallback="wait"))
        await urgent.granted.wait()
        waiting = asyncio.create_task(holder.work())
        server.kill()
        with pytest.raises(CoordinatorUnreachable):
            await waiting
        with pytest.raises(CoordinatorUnreachable):
            await holder.work()
        with pytest.raises(CoordinatorUnreachable):
            await holder.lease.busy()
        await urgent.leave()

        await asyncio.to_thread(server.start)
        await until(lambda: holder.lease.state == "active")
        await holder.work()


@pytest.mark.parametrize("fallback", ["local", "wait", "fail"])
async def test_killed_while_restoring(server: Any, handle: Handles, fallback: str) -> None:
    """What was granted again is restored and used; that it is loaded is said when the coordinator is back."""
    await asyncio.to_thread(server.start)
    async with Holder(handle(server.url, fallback=fallback)) as holder:
        holder.model.may["restore"].clear()
        urgent = Urgent(handle(server.url))
        await urgent.granted.wait()
        await urgent.leave()
        await holder.model.began["restore"].wait()
        server.kill()
        await until(lambda: _is_missed(holder.lease))
        holder.model.may["restore"].set()
        await holder.work()

        await asyncio.to_thread(server.start)
        await until(lambda: [one["state"] for one in server.leases("batch")] == ["active"])
    assert holder.model.story == ["checkpoint", "restore"]


@pytest.mark.parametrize("phase", ["checkpoint", "parked", "restore"])
@pytest.mark.parametrize("fallback", ["local", "wait", "fail"])
async def test_a_body_that_ends_while_it_is_away(server: Any, handle: Handles, phase: str, fallback: str) -> None:
    """Nobody hangs, and when the coordinator is back nothing is left of the lease."""
    await asyncio.to_thread(server.start)
    async with Holder(handle(server.url, fallback=fallback)) as holder:
        if phase in holder.model.may:
            holder.model.may[phase].clear()
        urgent = Urgent(handle(server.url, fallback="wait"))
        if phase == "checkpoint":
            await holder.model.began["checkpoint"].wait()
        else:
            await urgent.granted.wait()
        if phase == "restore":
            await urgent.leave()
            await holder.model.began["restore"].wait()
        server.kill()
        await until(lambda: _is_missed(holder.lease))
    await asyncio.to_thread(server.start)
    await until(lambda: server.leases("batch") == [])
    await urgent.granted.wait()
    if phase != "restore":
        await urgent.leave()


async def test_an_answer_that_was_lost_is_said_again(server: Any, handle: Handles) -> None:
    """Given up before a frozen coordinator that is killed then: it may have heard, so nothing is restored before."""
    await asyncio.to_thread(server.start)
    async with Holder(handle(server.url, fallback="wait")) as holder:
        holder.model.may["checkpoint"].clear()
        urgent = Urgent(handle(server.url, fallback="wait"))
        await holder.model.began["checkpoint"].wait()
        server.signal(signal.SIGSTOP)
        holder.model.may["checkpoint"].set()
        await until(lambda: holder.lease.state == "parked")
        server.kill()
        await until(lambda: _is_missed(holder.lease))
        assert holder.lease.state == "parked"

        await asyncio.to_thread(server.start)
        await urgent.granted.wait()
        assert holder.model.story == ["checkpoint"]
        assert server.leases("batch")[0]["residue_gb"] == 0.5
        await urgent.leave()
        await holder.work()


async def test_a_coordinator_that_forgot(server: Any, handle: Handles, tmp_path: Any) -> None:
    """A parked lease that nobody knows any more is asked for anew, on the device that it was on."""
    await asyncio.to_thread(server.start)
    async with Holder(handle(server.url, fallback="wait")) as holder:
        before = holder.lease.id
        urgent = Urgent(handle(server.url, fallback="wait"))
        await urgent.granted.wait()
        await until(lambda: holder.lease.state == "parked")
        server.kill()
        await asyncio.to_thread(server.start, tmp_path / "another")
        (shown,) = await until(lambda: server.leases("batch"))
        assert shown["evictable"]
        await urgent.leave()
        await holder.work()
        assert holder.lease.id == shown["id"] != before
        assert holder.lease.state == "active"
        urgent = Urgent(handle(server.url, fallback="wait"))
        await urgent.granted.wait()
        await urgent.leave()
        await holder.work()
    assert holder.model.story == ["checkpoint", "restore"] * 2
    assert server.leases("batch") == []


async def test_a_coordinator_that_forgot_what_rests(server: Any, handle: Handles, tmp_path: Any) -> None:
    """Evicted while idle and then forgotten, it is asked for when it is wanted, and not before."""
    await asyncio.to_thread(server.start)
    async with Holder(handle(server.url, fallback="wait")) as holder:
        await holder.lease.idle()
        urgent = Urgent(handle(server.url, fallback="wait"))
        await urgent.granted.wait()
        server.kill()
        await asyncio.to_thread(server.start, tmp_path / "another")
        await until(lambda: server.leases("urgent"))
        await urgent.leave()
        await until(lambda: holder.lease._session._link is not None)
        assert holder.lease.state == "resting"
        assert server.leases("batch") == []
        await holder.work()
        assert holder.lease.state == "active"


async def test_busy_while_it_is_away(server: Any, handle: Handles) -> None:
    """What rests and is wanted again while nobody answers returns when the coordinator is back."""
    await asyncio.to_thread(server.start)
    async with Holder(handle(server.url, fallback="wait")) as holder:
        await holder.lease.idle()
        urgent = Urgent(handle(server.url, fallback="wait"))
        await urgent.granted.wait()
        await urgent.leave()
        server.kill()
        used = asyncio.create_task(holder.work())
        await until(lambda: _is_missed(holder.lease))
        await asyncio.to_thread(server.start)
        await used
        assert holder.lease.state == "active"


PARKED = """
import sys
from cf_orch.client import ResourceCoordinator, VRAMSlot
coordinator = ResourceCoordinator(fallback="wait", ttl_s=1)
slot = VRAMSlot("batch", "llm", 20, priority="batch")
def say(what):
    print(what, flush=True)
with coordinator.lease(slot, checkpoint=lambda: say("given up"), restore=lambda: say("restored")) as lease:
    say("held")
    input()
    with lease.use():
        say("used")
"""


def test_ended_while_its_process_slept(server: Any, handle: Handles, eventually: Eventually) -> None:
    """A process that was stopped for too long while it was parked asks for its memory anew, and goes on."""
    server.start()
    environ = {**os.environ, "CF_ORCH_URL": server.url}
    command = [sys.executable, "-c", PARKED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with handle(server.url).lease(URGENT):
            assert process.stdout.readline() == "given up\n"
            process.send_signal(signal.SIGSTOP)
            eventually(lambda: server.leases("batch") == [])
            process.send_signal(signal.SIGCONT)
            eventually(lambda: [one["state"] for one in server.leases("batch")] == ["queued"])
        assert process.stdout.readline() == "restored\n"
        rest, _ = process.communicate("\n")

    assert rest == "used\n"
    assert process.returncode == 0
    eventually(lambda: server.leases("batch") == [])


async def test_an_operators_eviction_outlives_the_coordinator(server: Any, handle: Handles) -> None:
    """What an operator evicted does not come back while nobody answers: it waits for him."""
    await asyncio.to_thread(server.start)
    async with Holder(handle(server.url)) as holder:
        await asyncio.to_thread(server.post, f"/leases/{holder.lease.id}/evict")
        await until(lambda: holder.lease.state == "resting")
        server.kill()
        used = asyncio.create_task(holder.work())
        await until(lambda: _is_missed(holder.lease))
        async with handle(server.url).lease(URGENT) as urgent:
            assert urgent.local
        assert not used.done()
        await asyncio.to_thread(server.start)
        await until(lambda: server.leases("batch"))
        await asyncio.to_thread(server.post, f"/leases/{holder.lease.id}/resume")
        await used


@pytest.mark.parametrize("fallback", ["wait", "fail"])
async def test_parked_for_longer_than_it_is_believed(server: Any, handle: Handles, fallback: str) -> None:
    """A parked lease has nothing to lose: it outlives the time after which one with memory is lost."""
    await asyncio.to_thread(server.start)
    held = handle(server.url, fallback=fallback, ttl_s=1)
    async with Holder(held) as holder:
        urgent = Urgent(handle(server.url, fallback="wait"))
        await urgent.granted.wait()
        server.kill()
        await until(lambda: holder.lease._session.belief.over)
        await urgent.leave()
        await asyncio.to_thread(server.start)
        await until(lambda: holder.lease.state == "active")
        await holder.work()


async def test_a_holder_in_doubt_goes_on_locally_while_it_is_asked(server: Any, handle: Handles) -> None:
    """Asked to leave, and then without a coordinator for too long: a local lease, which is adopted and asked again."""
    await asyncio.to_thread(server.start)
    async with Holder(handle(server.url, ttl_s=3)) as holder:
        async with holder.lease.use():
            urgent = Urgent(handle(server.url, fallback="wait"))
            await until(lambda: holder.lease.state == "evicting")
            server.kill()
            await until(lambda: holder.lease.local)
        await holder.work()
        assert (holder.lease.state, holder.model.story) == ("active", [])
        await asyncio.to_thread(server.start)
        await urgent.granted.wait()
        await urgent.leave()
        await holder.work()
        assert not holder.lease.local


# --- without a coordinator


async def test_idle_local_memory_makes_room(handle: Handles) -> None:
    """Idle for longer than the least residency, it is given up when another wants a turn, and taken back in turn."""
    async with Holder(handle(NOBODY)) as holder:
        assert holder.lease.local
        await holder.lease.idle()
        claim = holder.lease._claim
        async with handle(NOBODY).lease(URGENT) as other:
            assert other.local
            assert holder.model.story == []
            claim.idle_since = time.monotonic() - 10
            await until(lambda: holder.model.story == ["checkpoint"])
            await until(lambda: holder.lease.state == "resting")
            used = asyncio.create_task(holder.work())
            await asyncio.sleep(0)
        await used
        assert (holder.lease.state, holder.model.story) == ("active", ["checkpoint", "restore"])


async def test_idle_local_memory_stays_where_nobody_wants_it(handle: Handles) -> None:
    """While nobody waits for a turn, warm memory stays warm."""
    async with Holder(handle(NOBODY)) as holder:
        await holder.lease.idle()
        claim, session = holder.lease._claim, holder.lease._session
        claim.idle_since = time.monotonic() - 10
        session._without.make_room()
        assert holder.lease.state == "idle"
    assert holder.model.story == []


async def test_what_rests_locally_is_asked_for_when_it_is_wanted(server: Any, handle: Handles) -> None:
    """Given up in local mode, and not wanted when the coordinator is back: it is asked for when it is."""
    async with Holder(handle(server.url)) as holder:
        await holder.lease.idle()
        holder.lease._claim.idle_since = time.monotonic() - 10
        async with handle(server.url).lease(URGENT):
            await until(lambda: holder.lease.state == "resting")
        await asyncio.to_thread(server.start)
        await until(lambda: holder.lease._session._link is not None)
        assert server.leases("batch") == []
        await holder.work()
        assert not holder.lease.local
        assert [one["state"] for one in server.leases("batch")] == ["active"]


async def test_a_local_restore_that_raises(server: Any, handle: Handles) -> None:
    """It ends the lease as elsewhere, and its turn with it."""
    await asyncio.to_thread(server.start)

    def fail() -> None:
        raise ValueError("the file is gone")

    async def hold() -> None:
        async with handle(server.url).lease(BATCH, checkpoint=lambda: None, restore=fail):
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await until(lambda: server.leases("batch"))
    urgent = Urgent(handle(server.url))
    await urgent.granted.wait()
    server.kill()
    await urgent.leave()
    with pytest.raises(LeaseLost, match="the file is gone"):
        await task
    async with handle(NOBODY).lease(URGENT) as other:
        assert other.local
