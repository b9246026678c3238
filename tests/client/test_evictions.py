"""Evictions over a real coordinator: asked, checkpointed, parked, resumed; and every way in which that can go wrong."""

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cf_orch.client import AsyncLease, Lease, LeaseLost, LeaseRefused, ResourceCoordinator, VRAMSlot

Handles = Callable[..., ResourceCoordinator]
Eventually = Callable[..., None]

BATCH = VRAMSlot("batch", "llm", 20, priority="batch", residue_gb=1.0)
URGENT = VRAMSlot("urgent", "asr", 20)


@pytest.fixture(name="server")
def _server(shared_server: Any) -> Any:
    return shared_server


@pytest.fixture
def coordinator(server: Any, handle: Handles) -> ResourceCoordinator:
    return handle(server.url, fallback="fail")


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for what another process does; the loop runs on meanwhile."""
    async with asyncio.timeout(15):
        while not (met := await asyncio.to_thread(condition)):  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.005)
    return met


class Model:
    """Memory that is there or not, and may be used only while it is; checkpoint() and restore() wait at its gates."""

    def __init__(self, *, residue_gb: object = None) -> None:
        self.residue_gb = residue_gb
        self.is_there = True
        self.users = 0
        self.story: list[str] = []
        self.may = {"checkpoint": asyncio.Event(), "restore": asyncio.Event()}
        self.began = {"checkpoint": asyncio.Event(), "restore": asyncio.Event()}
        self.error: Exception | None = None
        for gate in self.may.values():
            gate.set()

    async def checkpoint(self) -> object:
        await self._run("checkpoint", there=True)
        return self.residue_gb

    async def restore(self) -> None:
        await self._run("restore", there=False)

    async def _run(self, what: str, *, there: bool) -> None:
        assert self.users == 0
        assert self.is_there is there
        self.story.append(f"{what} begins")
        self.began[what].set()
        try:
            await self.may[what].wait()
            self._raise_error()
        except BaseException as error:
            self.story.append(f"{what} ends by {type(error).__name__}")
            raise
        self.is_there = not there
        self.story.append(f"{what} ends")

    def _raise_error(self) -> None:
        if self.error is not None:
            raise self.error

    async def work(self, lease: AsyncLease, during: Callable[[], Awaitable[object]]) -> None:
        async with lease.use():
            assert self.is_there
            self.users += 1
            try:
                await during()
            finally:
                self.users -= 1


async def pause() -> None:
    await asyncio.sleep(0)


async def urgently(coordinator: ResourceCoordinator, slot: VRAMSlot = URGENT) -> int:
    async with coordinator.lease(slot) as lease:
        return lease.token or 0


async def test_a_higher_class_passes_a_running_holder(coordinator: ResourceCoordinator, server: Any) -> None:
    """The work pauses between two uses, the other is served, and the work ends whole, under a new token."""
    model = Model(residue_gb=0.5)
    done: list[int] = []
    tokens: list[int] = []

    async def generate() -> None:
        async with coordinator.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as lease:
            for number in range(60):
                await model.work(lease, lambda: asyncio.sleep(0.005))
                done.append(number)
                tokens.append(lease.token or 0)

    task = asyncio.create_task(generate())
    await until(lambda: len(done) > 3)
    between = await urgently(coordinator)
    await task

    assert done == list(range(60))
    assert model.story == ["checkpoint begins", "checkpoint ends", "restore begins", "restore ends"]
    first, second = sorted(set(tokens))
    assert first < between < second
    assert server.leases("batch") == server.leases("urgent") == []


async def test_parked_reads_so(coordinator: ResourceCoordinator, server: Any) -> None:
    """While another has the memory, the lease says parked here and there, with the residue; use() waits."""
    model = Model(residue_gb=0.5)
    async with coordinator.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as lease:
        async with coordinator.lease(URGENT):
            used = asyncio.create_task(model.work(lease, pause))
            (shown,) = await until(lambda: server.leases("batch"))
            assert lease.state == shown["state"] == "parked"
            assert (shown["residue_gb"], shown["charge_gb"]) == (0.5, 0.5)
            assert not used.done()
        await used
        assert lease.state == "active"
        assert server.leases("batch")[0]["state"] == "active"


def test_a_blocking_holder(server: Any, handle: Handles, eventually: Eventually) -> None:
    """The same with threads and plain functions: never inside use(), never two at once, nothing lost."""
    coordinator = handle(server.url)
    inside, is_there = threading.Lock(), threading.Event()
    done: list[int | None] = []
    is_there.set()
    threads: set[str] = set()

    def checkpoint() -> None:
        threads.add(threading.current_thread().name)
        assert inside.acquire(blocking=False)
        is_there.clear()
        inside.release()

    def restore() -> None:
        assert inside.acquire(blocking=False)
        is_there.set()
        inside.release()

    def generate() -> None:
        with coordinator.lease(BATCH, checkpoint=checkpoint, restore=restore) as lease:
            while len(done) < 40 or not threads:
                with lease.use(), inside:
                    assert is_there.wait(0)
                    threading.Event().wait(0.005)
                    done.append(lease.token)

    worker = threading.Thread(target=generate)
    worker.start()
    eventually(lambda: len(done) > 3)
    with coordinator.lease(URGENT):
        assert not is_there.is_set()
    worker.join()

    assert len(set(done)) == 2
    assert threads == {"cf-orch callback"}
    assert server.leases("batch") == []


async def test_checkpoint_is_not_called_inside_use(coordinator: ResourceCoordinator, server: Any) -> None:
    """It waits for all who are inside; who is inside may go in again, who is not waits."""
    model, leave = Model(), asyncio.Event()
    async with coordinator.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as lease:
        async with lease.use():
            other = asyncio.create_task(model.work(lease, leave.wait))
            urgent = asyncio.create_task(urgently(coordinator))
            await until(lambda: lease.state == "evicting")
            late = asyncio.create_task(model.work(lease, pause), context=contextvars.Context())
            async with lease.use():
                await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert model.story == []
        assert not late.done()
        leave.set()
        await urgent
        await asyncio.gather(other, late)

    assert len(model.story) == 4
    assert server.leases("batch") == []


@pytest.mark.parametrize("face", ["async", "plain"])
async def test_a_checkpoint_that_raises(coordinator: ResourceCoordinator, server: Any, face: str) -> None:
    """The coordinator hears why, the lease goes on as if nothing had been, and is not asked again."""
    calls: list[str] = []

    async def refuse() -> None:
        refuse_plainly()

    def refuse_plainly() -> None:
        calls.append("checkpoint")
        raise ValueError("no room on the disk")

    async with coordinator.lease(BATCH, checkpoint=refuse if face == "async" else refuse_plainly) as lease:
        token = lease.token
        urgent = asyncio.create_task(urgently(coordinator))
        (shown,) = await until(lambda: [one for one in server.leases("batch") if one["checkpoint_error"]])
        async with lease.use():
            assert lease.token == token
        assert lease.state == shown["state"] == "active"
        assert shown["checkpoint_error"] == "ValueError: no room on the disk"
        again = asyncio.create_task(urgently(coordinator))
        await until(lambda: len(server.leases("urgent")) == 2)
    await asyncio.gather(urgent, again)

    assert calls == ["checkpoint"]


async def test_an_operator_may_ask_again_after_a_failure(coordinator: ResourceCoordinator, server: Any) -> None:
    """Another notice means another try."""
    model = Model()
    model.error = ValueError("not yet")
    async with coordinator.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as lease:
        await asyncio.to_thread(server.post, f"/leases/{lease.id}/evict")
        await until(lambda: server.leases("batch")[0]["checkpoint_error"])
        model.error = None
        await asyncio.to_thread(server.post, f"/leases/{lease.id}/evict")
        await until(lambda: lease.state == "resting")

    assert model.story[-1] == "checkpoint ends"


@pytest.mark.parametrize("face", ["async", "plain"])
async def test_a_restore_that_raises(coordinator: ResourceCoordinator, server: Any, face: str) -> None:
    """The lease is released, and an async body is interrupted by LeaseLost, with the error as its cause."""
    model = Model()

    async def fail() -> None:
        fail_plainly()

    def fail_plainly() -> None:
        raise ValueError("the file is gone")

    async def hold() -> None:
        restore = fail if face == "async" else fail_plainly
        async with coordinator.lease(BATCH, checkpoint=model.checkpoint, restore=restore):
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await until(lambda: server.leases("batch"))
    await urgently(coordinator)
    with pytest.raises(LeaseLost, match=r"restore\(\) failed.*ValueError: the file is gone") as lost:
        await task

    assert isinstance(lost.value.__cause__, ValueError)
    assert server.leases("batch") == []


def test_a_restore_that_raises_in_a_blocking_body(server: Any, handle: Handles) -> None:
    """A blocking body hears of it from use(), and at its end."""
    coordinator = handle(server.url)

    def fail() -> None:
        raise ValueError("the file is gone")

    opener = coordinator.lease(BATCH, checkpoint=lambda: None, restore=fail)
    lease = opener.__enter__()
    with coordinator.lease(URGENT):
        pass

    with pytest.raises(LeaseLost, match="the file is gone") as lost, lease.use():
        pytest.fail("its memory is not there")
    assert isinstance(lost.value.__cause__, ValueError)
    with pytest.raises(LeaseLost, match="the file is gone"):
        opener.__exit__(None, None, None)
    assert server.leases("batch") == []


async def test_withdrawn_before_checkpoint_began(coordinator: ResourceCoordinator) -> None:
    """Who asked goes while use() still runs: nothing happens, and use() goes on."""
    model = Model()
    async with coordinator.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as lease:
        token = lease.token
        async with lease.use():
            urgent = asyncio.create_task(urgently(coordinator))
            await until(lambda: lease.state == "evicting")
            urgent.cancel()
            await until(lambda: lease.state == "active")
        async with lease.use():
            assert lease.token == token

    assert model.story == []


async def test_withdrawn_while_checkpoint_runs(coordinator: ResourceCoordinator, server: Any) -> None:
    """It completes, the coordinator says that the lease is active, and restore() brings the memory back."""
    model = Model()
    model.may["checkpoint"].clear()
    async with coordinator.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as lease:
        token = lease.token
        urgent = asyncio.create_task(urgently(coordinator))
        await model.began["checkpoint"].wait()
        urgent.cancel()
        await until(lambda: server.leases("batch")[0]["state"] == "active")
        model.may["checkpoint"].set()
        await model.work(lease, pause)
        assert (lease.token, lease.state) == (token, "active")

    assert model.story == ["checkpoint begins", "checkpoint ends", "restore begins", "restore ends"]


async def test_withdrawn_while_parked(coordinator: ResourceCoordinator) -> None:
    """Who asked leaves the queue after one of two gave its memory up for it: that one comes back at once."""
    models, slot = [Model(), Model()], VRAMSlot("batch", "llm", 10, priority="batch")
    models[1].may["checkpoint"].clear()
    first, second = (
        coordinator.lease(slot, checkpoint=model.checkpoint, restore=model.restore) for model in models
    )  # fmt: skip
    async with first as one, second as two:
        urgent = asyncio.create_task(urgently(coordinator))
        await until(lambda: one.state == "parked")
        urgent.cancel()
        await models[0].work(one, pause)
        models[1].may["checkpoint"].set()
        await models[1].work(two, pause)

    assert [len(model.story) for model in models] == [4, 4]


PHASES = ["draining", "checkpoint", "parked", "restore"]


async def bring(model: Model, phase: str, lease: AsyncLease, coordinator: ResourceCoordinator) -> Any:
    """Let an eviction reach a phase, and stay there; returns what must be ended then."""
    if phase in model.may:
        model.may[phase].clear()
    urgent = asyncio.create_task(_hold_urgently(coordinator, leave := asyncio.Event()))
    match phase:
        case "draining":
            await until(lambda: lease.state == "evicting")
        case "checkpoint":
            await model.began["checkpoint"].wait()
        case "parked":
            await until(lambda: lease.state == "parked")
        case "restore":
            await until(lambda: lease.state == "parked")
            leave.set()
            await model.began["restore"].wait()

    async def finish() -> None:
        leave.set()
        await urgent

    return finish


async def _hold_urgently(coordinator: ResourceCoordinator, leave: asyncio.Event) -> None:
    async with coordinator.lease(URGENT):
        await leave.wait()


@pytest.mark.parametrize("way", ["leaves", "raises", "cancelled", "ended by an operator"])
@pytest.mark.parametrize("phase", PHASES)
async def test_a_body_that_ends_in_any_phase(
    coordinator: ResourceCoordinator, server: Any, phase: str, way: str
) -> None:
    """Nothing is left in the coordinator, nobody hangs, and a callback that ran was cancelled and awaited."""
    model, finish = Model(), None
    waiters: list[asyncio.Task[None]] = []
    users: list[asyncio.Task[None]] = []

    async def body() -> None:
        nonlocal finish
        async with coordinator.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as lease:
            if phase == "draining":
                users.append(asyncio.create_task(model.work(lease, asyncio.Event().wait)))
                await until(lambda: model.users)
            finish = await bring(model, phase, lease, coordinator)
            waiters.append(asyncio.create_task(model.work(lease, pause)))
            match way:
                case "raises":
                    raise ZeroDivisionError
                case "cancelled":
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                    await asyncio.Event().wait()
                case "ended by an operator":
                    await asyncio.to_thread(server.delete, f"/leases/{lease.id}")
                    await asyncio.Event().wait()

    expected = {
        "raises": ZeroDivisionError, "cancelled": asyncio.CancelledError, "ended by an operator": LeaseLost,
    }  # fmt: skip
    async with asyncio.timeout(20):
        task = asyncio.create_task(body())
        if way in expected:
            with pytest.raises(expected[way]):
                await task
        else:
            await task
        assert server.leases("batch") == []
        assert finish is not None
        await finish()
        ended = await asyncio.gather(*waiters, return_exceptions=True)
        for user in users:
            user.cancel()
        await asyncio.gather(*users, return_exceptions=True)

    assert [type(error) for error in ended] == [LeaseLost]
    if phase in model.may:
        assert model.story[-1] == f"{phase} ends by CancelledError"
    assert server.leases("urgent") == []


def test_a_blocking_body_that_ends_waits_for_its_checkpoint(server: Any, handle: Handles) -> None:
    """A plain checkpoint() cannot be stopped: the lease is released when it has ended."""
    coordinator = handle(server.url)
    began, may_end, has_ended = threading.Event(), threading.Event(), threading.Event()

    def checkpoint() -> None:
        began.set()
        may_end.wait()
        has_ended.set()

    urgent = threading.Thread(target=lambda: coordinator.lease(URGENT).__enter__())
    with coordinator.lease(BATCH, checkpoint=checkpoint):
        urgent.start()
        began.wait()
        threading.Timer(0.1, may_end.set).start()
    assert has_ended.is_set()
    urgent.join()
    assert server.leases("batch") == []


def test_a_handle_that_is_closed_waits_no_longer_than_a_moment(server: Any, handle: Handles) -> None:
    """A checkpoint() that hangs holds up neither close() nor the end of the process."""
    coordinator = handle(server.url, fallback="fail")
    began, never = threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        never.wait()

    opener = coordinator.lease(BATCH, checkpoint=hang)
    opener.__enter__()
    lease_id = server.leases("batch")[0]["id"]
    server.post(f"/leases/{lease_id}/evict")
    began.wait()

    coordinator.close()

    assert server.leases("batch") == []
    never.set()
    with pytest.raises(LeaseLost, match="closed"):
        opener.__exit__(None, None, None)


async def test_two_evictions_at_once(coordinator: ResourceCoordinator, server: Any) -> None:
    """Two holders leave for one that needs the memory of both, and both come back."""
    models = [Model(), Model()]

    async def generate(model: Model, leave: asyncio.Event) -> None:
        slot = VRAMSlot("batch", "llm", 10, priority="batch")
        async with coordinator.lease(slot, checkpoint=model.checkpoint, restore=model.restore) as lease:
            while not leave.is_set():
                await model.work(lease, lambda: asyncio.sleep(0.002))

    leave = asyncio.Event()
    tasks = [asyncio.create_task(generate(model, leave)) for model in models]
    await until(lambda: len(server.leases("batch")) == 2)
    await urgently(coordinator)
    await until(lambda: [one["state"] for one in server.leases("batch")] == ["active", "active"])
    leave.set()
    await asyncio.gather(*tasks)

    assert [len(model.story) for model in models] == [4, 4]


async def test_the_same_lease_again_and_again(coordinator: ResourceCoordinator) -> None:
    """A lease survives any number of evictions, with a greater token each time."""
    model = Model()
    tokens: list[int] = []
    async with coordinator.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as lease:
        for _ in range(5):
            await urgently(coordinator)
            await model.work(lease, pause)
            tokens.append(lease.token or 0)

    assert len(model.story) == 20
    assert tokens == sorted(set(tokens))


@pytest.mark.parametrize("by", ["use", "busy"])
async def test_idle_memory_rests_until_it_is_wanted(coordinator: ResourceCoordinator, server: Any, by: str) -> None:
    """Evicted while idle it stays away, though there is room, until use() or busy() says that it is wanted."""
    model = Model()
    async with coordinator.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as lease:
        await lease.idle()
        await urgently(coordinator)
        (shown,) = server.leases("batch")
        assert (lease.state, shown["state"], shown["rest"]) == ("resting", "resting", "idle")
        if by == "use":
            await model.work(lease, pause)
        else:
            await lease.busy()
            assert model.is_there
        assert lease.state == server.leases("batch")[0]["state"] == "active"


async def test_busy_while_evicted(coordinator: ResourceCoordinator) -> None:
    """Idle memory that is wanted again while its checkpoint runs comes back by itself."""
    model = Model()
    model.may["checkpoint"].clear()
    async with coordinator.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as lease:
        await lease.idle()
        urgent = asyncio.create_task(urgently(coordinator))
        await model.began["checkpoint"].wait()
        used = asyncio.create_task(model.work(lease, pause))
        busy = asyncio.create_task(lease.busy())
        await asyncio.sleep(0.05)
        model.may["checkpoint"].set()
        await asyncio.gather(urgent, used, busy)
        assert (lease.state, len(model.story)) == ("active", 4)


async def test_idle_while_parked(coordinator: ResourceCoordinator, server: Any) -> None:
    """What is said to be idle while it is parked comes back, and is idle then."""
    model = Model()
    async with coordinator.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as lease:
        async with coordinator.lease(URGENT):
            await until(lambda: lease.state == "parked")
            await lease.idle()
        await until(lambda: server.leases("batch")[0]["state"] == "idle")
        assert model.is_there


async def test_an_operator_evicts_and_resumes(coordinator: ResourceCoordinator, server: Any) -> None:
    """It rests until he resumes it, whatever its holder says meanwhile."""
    model = Model()
    async with coordinator.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as lease:
        before = lease.token
        await asyncio.to_thread(server.post, f"/leases/{lease.id}/evict")
        await until(lambda: lease.state == "resting")
        used = asyncio.create_task(model.work(lease, pause))
        busy = asyncio.create_task(lease.busy())
        await until(lambda: server.leases("batch")[0]["state"] == "resting")
        assert not used.done()
        await asyncio.to_thread(server.post, f"/leases/{lease.id}/resume")
        await asyncio.gather(used, busy)
        assert lease.token is not None
        assert before is not None
        assert lease.token > before


async def test_a_load_window_stays_the_holders(coordinator: ResourceCoordinator, server: Any) -> None:
    """With a peak, the first load ends by loaded(), and the return by the end of restore()."""
    model = Model()
    slot = VRAMSlot("batch", "llm", 16, priority="batch", peak_gb=20)
    async with coordinator.lease(slot, checkpoint=model.checkpoint, restore=model.restore) as lease:
        await model.work(lease, pause)
        assert lease.state == server.leases("batch")[0]["state"] == "loading"
        await lease.loaded()
        model.may["restore"].clear()
        await urgently(coordinator)
        await model.began["restore"].wait()
        assert lease.state == server.leases("batch")[0]["state"] == "loading"
        model.may["restore"].set()
        await model.work(lease, pause)
        assert lease.state == server.leases("batch")[0]["state"] == "active"


@pytest.mark.parametrize(
    ("returned", "reads"), [(0.5, 0.5), (0, 0), (None, 1), (True, 1), ("0.5", 1), (512, 1), (-1, 1), (float("nan"), 1)]
)
async def test_the_residue(coordinator: ResourceCoordinator, server: Any, returned: object, reads: float) -> None:
    """A number that checkpoint() returns is the residue in GB; anything else leaves it to the slot."""
    model = Model(residue_gb=returned)
    evictable = coordinator.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore)
    async with evictable, coordinator.lease(URGENT):
        assert server.leases("batch")[0]["residue_gb"] == reads


async def test_without_callbacks_nobody_is_asked(coordinator: ResourceCoordinator, server: Any) -> None:
    """A lease without a checkpoint is not evictable; one with a checkpoint alone is, and comes back."""
    async with coordinator.lease(BATCH) as lease:
        assert not server.leases("batch")[0]["evictable"]
        urgent = asyncio.create_task(urgently(coordinator))
        await until(lambda: server.leases("urgent"))
        assert lease.state == "active"
    await urgent
    async with coordinator.lease(BATCH, checkpoint=lambda: None) as lease:
        await urgently(coordinator)
        async with lease.use():
            assert lease.state == "active"


async def test_an_awaitable_from_a_plain_function(coordinator: ResourceCoordinator) -> None:
    """What a plain function returns to be awaited is awaited on the opener's loop."""
    loops: list[Any] = []

    async def note() -> None:
        loops.append(asyncio.get_running_loop())

    opener = coordinator.lease(BATCH, checkpoint=lambda: note(), restore=lambda: note())  # noqa: PLW0108 - plain ones
    async with opener as lease:
        await urgently(coordinator)
        async with lease.use():
            pass

    assert loops == [asyncio.get_running_loop()] * 2


def test_an_async_checkpoint_needs_a_loop(server: Any, handle: Handles) -> None:
    """A blocking opening refuses it, before anything is asked for."""
    coordinator = handle(server.url)

    async def checkpoint() -> None:
        pass

    with pytest.raises(TypeError, match="`with` has no event loop"):
        coordinator.lease(BATCH, checkpoint=checkpoint).__enter__()
    assert server.leases("batch") == []


async def test_use_and_requests_inside_callbacks_are_refused(coordinator: ResourceCoordinator) -> None:
    """They would wait for themselves; what a callback began and outlives it does not."""
    refusals: list[Exception] = []
    is_over = asyncio.Event()
    begun: list[asyncio.Task[None]] = []
    leases: list[AsyncLease | Lease] = []

    async def use_later(lease: AsyncLease) -> None:
        await is_over.wait()
        async with lease.use():
            pass

    async def restore() -> None:
        (lease,) = leases
        assert isinstance(lease, AsyncLease)
        begun.append(asyncio.create_task(use_later(lease)))
        await lease.busy()
        try:
            async with lease.use():
                pass
        except RuntimeError as error:
            refusals.append(error)
        try:
            async with coordinator.lease(BATCH):
                pass
        except LeaseRefused as error:
            refusals.append(error)

    async with coordinator.lease(BATCH, checkpoint=lambda: None, restore=restore) as lease:
        leases.append(lease)
        await urgently(coordinator)
        async with lease.use():
            is_over.set()
        await begun[0]

    assert [type(error) for error in refusals] == [RuntimeError, LeaseRefused]
    assert "would wait for itself" in str(refusals[0])
