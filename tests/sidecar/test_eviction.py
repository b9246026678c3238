"""An eviction end to end: coordinator, sidecar, and the product's own checkpoint() and restore()."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.sidecar.conftest import InProcess, until

from cf_orch.client import ResourceCoordinator, VRAMSlot
from cf_orch.coordinator.engine import Engine

BATCH = VRAMSlot("kiwi", "llm", 16, priority="batch")
URGENT = VRAMSlot("peach", "asr", 16, priority="realtime")


@pytest.fixture
async def product(running: InProcess) -> AsyncIterator[ResourceCoordinator]:
    """A process of the product: a client of the sidecar."""
    coordinator = ResourceCoordinator(running.url)
    yield coordinator
    await asyncio.to_thread(coordinator.close)  # it says goodbye to a sidecar that lives on this loop


class Model:
    """What a product does with its memory, and a record of it."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.may_leave = asyncio.Event()
        self.may_leave.set()
        self.error: str | None = None

    async def checkpoint(self) -> float:
        self.story.append("asked")
        await self.may_leave.wait()
        if self.error is not None:
            raise RuntimeError(self.error)
        self.story.append("left")
        return 0.5

    async def restore(self) -> None:
        self.story.append("back")


async def test_a_higher_class_gets_the_memory_and_gives_it_back(product: ResourceCoordinator, engine: Engine) -> None:
    """The batch is asked, leaves, and comes back to the same lease under a new token when the urgent one is through."""
    model = Model()
    async with product.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as batch:
        before = batch.id, batch.token
        async with product.lease(URGENT) as urgent:
            assert model.story == ["asked", "left"]
            assert engine.ledger.leases[batch.id].residue_bytes == 2**29
            urgent_token = urgent.token
        async with batch.use():
            assert model.story == ["asked", "left", "back"]
        await until(lambda: engine.ledger.leases[batch.id].state == "active")

        assert batch.id == before[0]
        assert (batch.token or 0) > (urgent_token or 0) > (before[1] or 0) > 0
    assert not engine.ledger.leases


async def test_it_is_not_asked_any_more(product: ResourceCoordinator, engine: Engine) -> None:
    """Whoever wanted the memory goes while the holder works: the eviction is withdrawn, and nothing was given up."""
    model = Model()
    async with product.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as batch:
        async with batch.use():
            waiting = asyncio.create_task(_enter(product, URGENT))
            await until(lambda: engine.ledger.leases[batch.id].state == "evicting")
            waiting.cancel()
            await until(lambda: engine.ledger.leases[batch.id].state == "active")
        async with batch.use():
            pass

        assert model.story == []
        assert batch.state == "active"


async def test_it_cannot_leave(product: ResourceCoordinator, engine: Engine) -> None:
    """checkpoint() fails: the coordinator is told why, and the holder keeps its memory."""
    model = Model()
    model.error = "the disk is full"
    async with product.lease(BATCH, checkpoint=model.checkpoint, restore=model.restore) as batch:
        waiting = asyncio.create_task(_enter(product, URGENT))
        await until(lambda: engine.ledger.leases[batch.id].checkpoint_error)

        assert "the disk is full" in (engine.ledger.leases[batch.id].checkpoint_error or "")
        assert engine.ledger.leases[batch.id].state == "active"
        async with batch.use():
            pass
        waiting.cancel()


async def _enter(product: ResourceCoordinator, slot: VRAMSlot) -> None:
    async with product.lease(slot):
        pass
