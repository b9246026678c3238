"""The queue before a pool: order, time-outs, cancellation, and what its waiters are told."""

import asyncio
from typing import Any

import pytest
from tests.pool.conftest import StartEngine, eventually, taken, warm_pool

from cf_orch.pool import (
    ConcurrentDispatcher,
    DispatcherTimeoutError,
    ModelNotAvailableError,
    NoModelsAvailableError,
    ServerPool,
)
from cf_orch.pool import pool as pool_module


async def waiting(dispatcher: ConcurrentDispatcher, model: str, **how: Any) -> asyncio.Task[str]:
    """Submit, and return when it waits."""
    before = len(dispatcher._turns)
    task = asyncio.create_task(dispatcher.submit(model, **how))
    await eventually(lambda: len(dispatcher._turns) > before)
    return task


async def test_submit_returns_a_url_that_is_acquired() -> None:
    """Who submits gets the url of a server with the model, and gives it back to the pool."""
    pool = warm_pool(["A"], ["B"])
    dispatcher = ConcurrentDispatcher(pool)

    urls = await asyncio.gather(dispatcher.submit("A"), dispatcher.submit("B"))

    assert list(urls) == ["http://s0", "http://s1"]
    assert taken(pool) == 2
    for url in urls:
        pool.release_server(url)
    assert taken(pool) == 0


async def test_a_block_holds_a_slot() -> None:
    """The slot is taken inside of the block, and free after it, also when it raises."""
    pool = warm_pool(["A"])
    dispatcher = ConcurrentDispatcher(pool)

    async def fail() -> None:
        async with dispatcher.server("A") as url:
            assert url == "http://s0"
            assert taken(pool) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert taken(pool) == 0


async def test_waiters_are_served_in_order() -> None:
    """A busy server is waited for, in the order in which was asked."""
    pool = warm_pool(["A"])
    dispatcher = ConcurrentDispatcher(pool)
    order: list[int] = []

    async def work(number: int) -> None:
        async with dispatcher.server("A"):
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(work(number) for number in range(20)))

    assert order == list(range(20))


async def test_a_blocked_model_is_passed() -> None:
    """Who waits for a busy server does not hold up those behind it that another one can serve."""
    pool = warm_pool(["A"], ["B"])
    dispatcher = ConcurrentDispatcher(pool)
    held = await dispatcher.submit("A")
    blocked = await waiting(dispatcher, "A")

    assert await dispatcher.submit("B") == "http://s1"
    assert not blocked.done()
    pool.release_server(held)
    assert await blocked == "http://s0"


async def test_no_model_starves_under_another_s_steady_load() -> None:
    """A server that never drains by itself is held back for the other model before its patience ends."""
    pool = warm_pool(["A", "B"], max_concurrent=2, patience_s=0.1)
    dispatcher = ConcurrentDispatcher(pool)
    served = 0

    async def steady() -> None:
        nonlocal served
        while True:
            async with dispatcher.server("A"):
                served += 1
                await asyncio.sleep(0.01 + 0.003 * (served % 3))

    load = [asyncio.create_task(steady()) for _ in range(4)]
    await eventually(lambda: served > 4)

    async with dispatcher.server("B", timeout=5):
        assert pool.servers["http://s0"].current_model == "B"
    before = served
    await eventually(lambda: served > before)
    for task in load:
        task.cancel()
    await asyncio.gather(*load, return_exceptions=True)
    assert taken(pool) == 0


async def test_direct_acquires_do_not_pass_the_queue() -> None:
    """A slot that became free is the waiter's, even before the waiter has heard of it."""
    pool = warm_pool(["A"])
    dispatcher = ConcurrentDispatcher(pool)
    held = await dispatcher.submit("A")
    first = await waiting(dispatcher, "A")

    pool.release_server(held)
    assert pool.find_and_acquire("A") is None
    assert await first == "http://s0"


async def test_dispatchers_share_the_pool_s_queue() -> None:
    """Two dispatchers before one pool are one queue."""
    pool = warm_pool(["A"])
    one, other = ConcurrentDispatcher(pool), ConcurrentDispatcher(pool)
    held = await one.submit("A")
    first, second = await waiting(other, "A"), await waiting(one, "A")

    pool.release_server(held)
    pool.release_server(await first)
    assert await second == "http://s0"


async def test_timeout() -> None:
    """A wait ends in time and says what the servers were busy with; the slot stays its holder's."""
    pool = warm_pool(["A"], ["A"])
    dispatcher = ConcurrentDispatcher(pool)
    held = await dispatcher.submit("A")
    pool.report_server_error("http://s1", "HTTP 502")

    says = r"no slot for 'A' within 0.05 s.*http://s0 runs 1 of at most 1 requests of 'A'; http://s1 is dead: HTTP 502"
    with pytest.raises(DispatcherTimeoutError, match=says) as caught:
        await dispatcher.submit("A", timeout=0.05)

    assert isinstance(caught.value, TimeoutError)
    assert taken(pool) == 1
    forever = await waiting(dispatcher, "A", timeout=None)
    pool.release_server(held)
    assert await forever == "http://s0"
    with pytest.raises(DispatcherTimeoutError):
        await dispatcher.submit("A", timeout=0)


async def test_what_no_server_can_serve_fails_at_once() -> None:
    """Without any model, or without this one, the answer comes at once, with the servers' errors."""
    pool = ServerPool(["http://s0", "http://s1"])
    dispatcher = ConcurrentDispatcher(pool)

    with pytest.raises(NoModelsAvailableError, match="refresh_all_manifests") as nothing:
        await dispatcher.submit("A")
    assert isinstance(nothing.value, RuntimeError)
    pool.servers["http://s0"].last_refresh_error = "HTTP 401"
    with pytest.raises(NoModelsAvailableError, match="http://s0 is dead: HTTP 401"):
        await dispatcher.submit("A")
    pool.servers["http://s1"].available_models = ["B"]
    with pytest.raises(
        ModelNotAvailableError, match="no server has 'A', they have B; http://s0 is dead: HTTP 401"
    ) as no:
        await dispatcher.submit("A")
    assert isinstance(no.value, ValueError)


async def test_waiters_hear_when_their_last_server_dies() -> None:
    """Who waits for a model that has just lost its last server is told with that server's error; others wait on."""
    pool = warm_pool(["A"], ["B"])
    dispatcher = ConcurrentDispatcher(pool)
    held = [await dispatcher.submit(model) for model in "AB"]
    lost, waits = await waiting(dispatcher, "A"), await waiting(dispatcher, "B")

    pool.report_server_error(held[0], "CUDA error: out of memory")
    with pytest.raises(ModelNotAvailableError, match="http://s0 is dead: CUDA error: out of memory"):
        await asyncio.wait_for(lost, 1)
    assert not waits.done()
    pool.report_server_error(held[1], "connection refused")
    with pytest.raises(NoModelsAvailableError, match="connection refused"):
        await asyncio.wait_for(waits, 1)
    assert taken(pool) == 0
    pool.close()


async def test_a_server_that_returns_serves(engine: StartEngine) -> None:
    """After its last server died and came back by its probe, a model is served again."""
    server = await engine("A")
    async with ServerPool([server.url], probe_after_s=0.02) as pool:
        dispatcher = ConcurrentDispatcher(pool)
        pool.report_server_error(await dispatcher.submit("A"), "it broke")
        with pytest.raises(NoModelsAvailableError, match="it broke"):
            await dispatcher.submit("A")
        await eventually(pool.get_all_available_models)

        assert await dispatcher.submit("A") == server.url


@pytest.mark.parametrize("steps", range(6))
async def test_a_cancelled_wait_leaves_no_slot_taken(steps: int) -> None:
    """However a cancellation meets the handing over, before, in the same moment or after, the slot is free again."""
    pool = warm_pool(["A"])
    dispatcher = ConcurrentDispatcher(pool)
    held = await dispatcher.submit("A")
    task = await waiting(dispatcher, "A")

    pool.release_server(held)
    for _ in range(steps):
        await asyncio.sleep(0)
    is_late = task.done()
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)

    assert isinstance(outcome, str) == is_late
    if isinstance(outcome, str):
        pool.release_server(outcome)
    assert taken(pool) == 0
    assert await dispatcher.submit("A") == "http://s0"


@pytest.mark.parametrize("steps", range(4))
async def test_a_cancelled_submit_leaves_no_slot_taken(steps: int) -> None:
    """A submit that could be served at once is cancelled as safely: it returns a url, or takes no slot."""
    pool = warm_pool(["A"])
    task = asyncio.create_task(ConcurrentDispatcher(pool).submit("A"))
    for _ in range(steps):
        await asyncio.sleep(0)

    is_late = task.done()
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)

    assert isinstance(outcome, str) == is_late
    assert taken(pool) == is_late
    assert steps > 1 or not is_late


@pytest.mark.parametrize("order", ["cancel first", "release first"])
async def test_a_cancel_that_races_with_an_acquire(order: str) -> None:
    """Both in the same step of the loop: the turn is set, and the task that waits for it is cancelled."""
    pool = warm_pool(["A"])
    dispatcher = ConcurrentDispatcher(pool)
    held = await dispatcher.submit("A")
    task = await waiting(dispatcher, "A")

    if order == "cancel first":
        task.cancel()
        pool.release_server(held)
        pool.serve()
    else:
        pool.release_server(held)
        pool.serve()
        task.cancel()
    assert taken(pool) == (0 if order == "cancel first" else 1)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert taken(pool) == 0


async def test_time_limits_around_submit_leave_no_slot_taken() -> None:
    """The event loop's own limits, which differ between Python versions, cancel many waits: none leaks."""
    pool = warm_pool(["A"], max_concurrent=2)
    dispatcher = ConcurrentDispatcher(pool)
    served = 0

    async def work(number: int) -> None:
        nonlocal served
        url = None
        try:
            if number % 2:
                url = await asyncio.wait_for(dispatcher.submit("A"), 0.01 * (number % 7))
            else:
                async with asyncio.timeout(0.01 * (number % 7)):
                    url = await dispatcher.submit("A")
            served += 1
            await asyncio.sleep(0.001)
        except TimeoutError:
            pass
        finally:
            if url is not None:
                pool.release_server(url)

    await asyncio.gather(*(work(number) for number in range(300)))

    assert served > 0
    assert taken(pool) == 0


async def test_waiters_are_told_when_the_loop_stops() -> None:
    """Closed, or cancelled with all the event loop's tasks: its waiters hear it, and the next submit starts anew."""
    pool = warm_pool(["A"])
    dispatcher = ConcurrentDispatcher(pool)
    held = await dispatcher.submit("A")
    task = await waiting(dispatcher, "A")

    dispatcher.close()

    with pytest.raises(RuntimeError, match=r"Dispatcher loop stopped .* before there was a server for 'A'"):
        await asyncio.wait_for(task, 1)
    again = await waiting(dispatcher, "A")
    pool.release_server(held)
    assert await again == "http://s0"


async def test_waiters_are_told_of_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the loop's own reaches every waiter as the cause."""
    pool = warm_pool(["A"])
    dispatcher = ConcurrentDispatcher(pool)
    held = await dispatcher.submit("A")
    tasks = [await waiting(dispatcher, "A") for _ in range(3)]

    def broken(*_: object) -> dict[Any, Any]:
        raise ZeroDivisionError

    monkeypatch.setattr(pool_module, "assign", broken)
    pool.release_server(held)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [RuntimeError] * 3
    assert all(
        isinstance(outcome.__cause__, ZeroDivisionError) for outcome in outcomes if isinstance(outcome, Exception)
    )


def test_one_event_loop_after_the_other() -> None:
    """A dispatcher that outlives its event loop works in the next one."""
    pool = warm_pool(["A"])
    dispatcher = ConcurrentDispatcher(pool)

    async def contend() -> None:
        held = await dispatcher.submit("A")
        task = await waiting(dispatcher, "A")
        pool.release_server(held)
        pool.release_server(await task)

    asyncio.run(contend())
    asyncio.run(contend())

    assert taken(pool) == 0
