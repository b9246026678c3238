"""With a coordinator each slot is a lease, over a real one."""

import asyncio
import json
import urllib.request
from typing import Any

import pytest
from tests.pool.conftest import eventually, taken, warm_pool

from cf_orch.client import LeaseLost, LeaseRefused, ResourceCoordinator, VRAMSlot
from cf_orch.pool import BlockingDispatcher, ConcurrentDispatcher, DispatcherTimeoutError


@pytest.fixture
def leases(coordinator_url: str) -> Any:
    """Read the live leases of a service."""

    def read(service: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{coordinator_url}/api/v1/leases?service={service}", timeout=10) as answer:
            return [lease for lease in json.load(answer)["leases"] if lease["state"] in ("active", "queued")]

    return read


async def test_each_slot_is_a_lease(coordinator: ResourceCoordinator, leases: Any) -> None:
    """The lease is there, with the model, when submit returns, and ends with the slot, also when the server failed."""
    pool = warm_pool(["A"], max_concurrent=2)
    dispatcher = ConcurrentDispatcher(pool, coordinator=coordinator, slot=VRAMSlot("pool-each", "llm", 4))

    first, second = await dispatcher.submit("A"), await dispatcher.submit("A")

    assert [(lease["model"], lease["vram_gb"]) for lease in leases("pool-each")] == [("A", 4.0)] * 2
    pool.release_server(first)
    await eventually(lambda: len(leases("pool-each")) == 1)
    pool.report_server_error(second, "it broke")
    await eventually(lambda: leases("pool-each") == [])
    pool.close()


async def test_a_block_holds_a_lease(coordinator: ResourceCoordinator, leases: Any) -> None:
    """Inside the block there is a lease of the size that a function gave; when the block has ended, it has too."""
    pool = warm_pool(["A", "B"])

    def slot_for(url: str, model: str) -> VRAMSlot:
        assert url == "http://s0"
        return VRAMSlot("pool-block", "llm", {"A": 4.0, "B": 8.0}[model])

    dispatcher = ConcurrentDispatcher(pool, coordinator=coordinator, slot=slot_for)

    async with dispatcher.server("B"):
        assert [lease["vram_gb"] for lease in leases("pool-block")] == [8.0]

    assert leases("pool-block") == []
    assert taken(pool) == 0


@pytest.mark.parametrize("face", ["submit", "server"])
async def test_no_lease_no_slot(coordinator: ResourceCoordinator, leases: Any, face: str) -> None:
    """A lease that is refused, or not granted in time, leaves neither a slot taken nor a request queued."""
    pool = warm_pool(["A"])
    impossible = ConcurrentDispatcher(pool, coordinator=coordinator, slot=VRAMSlot("pool-none", "llm", 48))
    crowded = ConcurrentDispatcher(pool, coordinator=coordinator, slot=VRAMSlot("pool-none", "llm", 20))

    async def get(dispatcher: ConcurrentDispatcher, timeout_s: float) -> None:
        if face == "submit":
            await dispatcher.submit("A", timeout_s)
        else:
            async with dispatcher.server("A", timeout_s):
                pytest.fail("it was granted")

    with pytest.raises(LeaseRefused, match="the largest possible is 24 GB"):
        await get(impossible, 10)
    assert taken(pool) == 0
    async with coordinator.lease(VRAMSlot("pool-holder", "llm", 20)):
        with pytest.raises(DispatcherTimeoutError, match=r"granted no lease for it within 0\.2 s"):
            await get(crowded, 0.2)
        task = asyncio.create_task(get(crowded, 10))
        await eventually(lambda: leases("pool-none"))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert taken(pool) == 0
        await eventually(lambda: leases("pool-none") == [])


async def test_a_lost_lease_interrupts_the_block(coordinator_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A block whose lease is lost ends with LeaseLost; whoever only has a url is warned of in the log."""
    pool = warm_pool(["A"], max_concurrent=2)
    coordinator = ResourceCoordinator(coordinator_url, fallback="fail")
    dispatcher = ConcurrentDispatcher(pool, coordinator=coordinator, slot=VRAMSlot("pool-lost", "llm", 4))
    url = await dispatcher.submit("A")
    begun = asyncio.Event()

    async def block() -> None:
        async with dispatcher.server("A"):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await begun.wait()
    await asyncio.to_thread(coordinator.close)  # it gives back all that is held

    with pytest.raises(LeaseLost):
        await asyncio.wait_for(task, 5)
    await eventually(lambda: "still runs on http://s0, and its lease is lost" in caplog.text)
    assert taken(pool) == 1
    pool.release_server(url)
    assert taken(pool) == 0


def test_threads_too(coordinator: ResourceCoordinator, leases: Any) -> None:
    """The blocking face takes a lease for each slot."""
    pool = warm_pool(["A"])
    slot = VRAMSlot("pool-threads", "llm", 4)
    dispatcher = BlockingDispatcher(pool, coordinator=coordinator, slot=slot)
    with dispatcher.server("A"):
        assert len(leases("pool-threads")) == 1
    dispatcher.close()

    asyncio.run(eventually(lambda: leases("pool-threads") == []))


def test_both_or_neither(coordinator: ResourceCoordinator) -> None:
    """A coordinator without a slot would not know what to ask for."""
    with pytest.raises(ValueError, match="give both"):
        ConcurrentDispatcher(warm_pool(["A"]), coordinator=coordinator)
