"""What gives memory up and takes it back: functions of a product, and whoever stands in for one."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cf_orch.client import ResourceCoordinator, VRAMSlot
from cf_orch.client.claim import Claim, Phase
from cf_orch.client.gate import Gate
from cf_orch.client.hooks import Callbacks, NotGivenUp, is_inside_callback

BATCH = VRAMSlot("remote", "llm", 20, priority="batch")
URGENT = VRAMSlot("urgent", "asr", 20)
USER: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

Handles = Callable[..., ResourceCoordinator]
Eventually = Callable[..., None]


class Remote:
    """A product elsewhere, as a relay sees it: it is told, and answers when it has done so."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.answer: asyncio.Future[object] | None = None

    async def checkpoint(self) -> object:
        return await self._tell("evict")

    async def restore(self) -> object:
        return await self._tell("resume")

    async def _tell(self, what: str) -> object:
        self.answer = asyncio.get_running_loop().create_future()
        self.told.append(what)
        try:
            return await self.answer
        except asyncio.CancelledError:
            self.told.append(f"{what} cancelled")
            raise


class Relay:
    """Holds one claim for a remote product, and says on the I/O thread what that answers."""

    def __init__(self, coordinator: ResourceCoordinator) -> None:
        self.session, self.io = coordinator.session_for("remote")
        self.remote = Remote()
        self.claim = Claim(BATCH, evictable=True, within=(), hooks=self.remote)
        self.io.soon(self.session.ask, self.claim)
        self.claim.granted.result()

    def answers(self, result: object) -> None:
        """Let the product answer with a result, or with an error."""
        answer = self.remote.answer
        assert answer is not None
        if isinstance(result, Exception):
            self.io.soon(answer.set_exception, result)
        else:
            self.io.soon(answer.set_result, result)

    def leave(self) -> None:
        """Let the product give the lease back."""
        self.io.run(self.session.let_go(self.claim)).result()


@pytest.fixture
def coordinator(shared_server: Any, handle: Handles) -> ResourceCoordinator:
    return handle(shared_server.url)


def test_a_relay_stands_in_for_a_product(
    coordinator: ResourceCoordinator, shared_server: Any, eventually: Eventually
) -> None:
    """Evict and resume are passed on, and what the product answers goes up."""
    relay = Relay(coordinator)
    token = relay.claim.held.token
    opener = coordinator.lease(URGENT)
    urgent = threading.Thread(target=opener.__enter__)
    urgent.start()
    eventually(lambda: relay.remote.told == ["evict"])
    relay.answers(0.5)
    urgent.join()
    assert shared_server.leases("remote")[0]["residue_gb"] == 0.5
    assert relay.claim.state == "parked"
    opener.__exit__(None, None, None)
    eventually(lambda: relay.remote.told == ["evict", "resume"])
    assert shared_server.leases("remote")[0]["state"] == "loading"
    relay.answers(None)
    eventually(lambda: shared_server.leases("remote")[0]["state"] == "active")

    assert (relay.claim.held.token or 0) > (token or 0)
    relay.leave()
    assert shared_server.leases("remote") == []


def test_a_relay_whose_product_was_told_in_time(
    coordinator: ResourceCoordinator, shared_server: Any, eventually: Eventually
) -> None:
    """A withdrawn notice that reached the product before it began: nothing was given up, nothing is restored."""
    relay = Relay(coordinator)
    lease_id = relay.claim.held.id
    shared_server.post(f"/leases/{lease_id}/evict")
    eventually(lambda: relay.remote.told == ["evict"])
    shared_server.post(f"/leases/{lease_id}/resume")
    eventually(lambda: relay.claim.held.state == "active")
    relay.answers(NotGivenUp())

    eventually(lambda: relay.claim.eviction.is_open)
    assert relay.claim.eviction.is_in_place
    shared_server.post(f"/leases/{lease_id}/evict")
    eventually(lambda: relay.remote.told == ["evict", "evict"])
    relay.leave()
    assert relay.remote.told == ["evict", "evict", "evict cancelled"]
    assert relay.claim.phase is Phase.OVER
    assert shared_server.leases("remote") == []


def test_a_relay_whose_product_fails(
    coordinator: ResourceCoordinator, shared_server: Any, eventually: Eventually
) -> None:
    """What the product says of its failure goes up as it is."""
    relay = Relay(coordinator)
    shared_server.post(f"/leases/{relay.claim.held.id}/evict")
    eventually(lambda: relay.remote.told == ["evict"])
    relay.answers(OSError("no room on the disk"))

    eventually(lambda: shared_server.leases("remote")[0]["checkpoint_error"] == "OSError: no room on the disk")
    relay.leave()


# --- functions of a product


async def test_functions_see_the_openers_context(coordinator: ResourceCoordinator) -> None:
    """Context variables are those of the task that opened the lease, in a thread as on the loop."""
    seen: list[str] = []

    async def restore() -> None:
        seen.append(USER.get())

    USER.set("ada")
    async with coordinator.lease(BATCH, checkpoint=lambda: seen.append(USER.get()), restore=restore) as lease:
        async with coordinator.lease(URGENT):
            pass
        async with lease.use():
            pass

    assert seen == ["ada", "ada"]


async def test_a_loop_that_is_closed() -> None:
    """An async function whose loop is gone fails, and nobody waits for it."""
    loop = asyncio.new_event_loop()

    async def checkpoint() -> None:
        raise AssertionError

    callbacks = Callbacks(checkpoint, None, loop)
    loop.close()

    with pytest.raises(RuntimeError, match="closed"):
        await callbacks.checkpoint()


async def test_what_ends_a_task_or_a_thread_ends_nobody_else() -> None:
    """SystemExit in a thread and a cancellation in a task are failures like others."""

    def leave() -> None:
        raise SystemExit

    async def cancelled() -> None:
        raise asyncio.CancelledError

    loop = asyncio.get_running_loop()
    with pytest.raises(RuntimeError, match="was ended by SystemExit"):
        await Callbacks(leave, None, loop).checkpoint()
    with pytest.raises(RuntimeError, match="was ended by CancelledError"):
        await Callbacks(cancelled, None, loop).checkpoint()


async def test_a_cancelled_hook_waits_for_its_thread_once() -> None:
    """The first cancellation waits for the function's end; a second one, where nobody can wait, does not."""
    began, may_end = threading.Event(), threading.Event()

    def checkpoint() -> None:
        began.set()
        may_end.wait()

    callbacks = Callbacks(checkpoint, None, asyncio.get_running_loop())
    patient, hasty = asyncio.create_task(callbacks.checkpoint()), asyncio.create_task(callbacks.checkpoint())
    await asyncio.to_thread(began.wait)
    patient.cancel()
    hasty.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    hasty.cancel()
    await asyncio.wait([hasty])
    assert not patient.done()
    may_end.set()
    await asyncio.wait([patient])

    assert patient.cancelled()
    assert hasty.cancelled()


async def test_who_is_inside_a_callback() -> None:
    """The function itself and what it calls is inside, until it ends; what it began is outside then."""
    inside: list[bool] = []
    later: list[asyncio.Task[None]] = []
    is_over = asyncio.Event()

    async def look_later() -> None:
        await is_over.wait()
        inside.append(is_inside_callback(callbacks))

    async def checkpoint() -> None:
        inside.append(is_inside_callback(callbacks))
        inside.append(await asyncio.to_thread(is_inside_callback, callbacks))
        later.append(asyncio.create_task(look_later()))

    callbacks = Callbacks(checkpoint, None, asyncio.get_running_loop())
    await callbacks.checkpoint()
    is_over.set()
    await later[0]

    assert inside == [True, True, False]
    assert not is_inside_callback(callbacks)
    assert not is_inside_callback(None)


# --- the gate


def test_a_closed_gate_lets_nobody_in_but_who_is_inside() -> None:
    """Nested use() passes while somebody is inside; the last one out is noticed, once."""
    emptied: list[int] = []
    gate = Gate()
    gate.on_empty = lambda: emptied.append(1)
    assert gate.enter(nested=False)
    assert not gate.close()
    assert not gate.enter(nested=False)
    assert gate.enter(nested=True)
    gate.leave()
    assert emptied == []
    gate.leave()

    assert emptied == [1]
    assert not gate.enter(nested=True)
    assert gate.close()
    gate.open()
    assert gate.enter(nested=False)
    gate.leave()
    assert emptied == [1]


def test_a_gate_under_threads() -> None:
    """Whoever closes the gate and finds it empty has it to himself."""
    gate, inside, stop = Gate(), threading.Semaphore(0), threading.Event()
    most_inside_closed = 0

    def use() -> None:
        while not stop.is_set():
            if gate.enter(nested=False):
                inside.release()
                inside.acquire()
                gate.leave()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        if gate.close() and inside.acquire(blocking=False):
            most_inside_closed += 1
            inside.release()
        gate.open()
    stop.set()
    for thread in threads:
        thread.join()

    assert most_inside_closed == 0
