"""With a coordinator, each slot is a lease: it is opened before a url is handed out, and closed when it is released."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from cf_orch.client import LeaseLost, ResourceCoordinator, VRAMSlot
from cf_orch.pool.server import AcquiredUrl

__all__ = ["SlotFor", "SlotLeases"]

SlotFor = Callable[[str, str], VRAMSlot]
"""From a server's url and a model: what a request for it there asks of the coordinator."""

log = logging.getLogger("cf_orch.pool")


class SlotLeases:
    """Opens and closes the leases of a dispatcher's slots."""

    def __init__(self, coordinator: ResourceCoordinator, slot: VRAMSlot | SlotFor) -> None:
        """A plain ``slot`` is asked for with each request's model, unless it names one itself."""
        self._coordinator = coordinator
        self._slot = slot
        self._keepers: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def inside(self, url: AcquiredUrl, within_s: float | None) -> AsyncIterator[None]:
        """Hold the slot's lease in the caller's own block.

        Raises TimeoutError when it was not granted within so many seconds, and LeaseError as ``coordinator.lease``.
        """
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(within_s):
                await stack.enter_async_context(self._coordinator.lease(self._slot_of(url)))
            yield

    async def open(self, url: AcquiredUrl, within_s: float | None) -> None:
        """Open the slot's lease; it is closed when the slot is released.  Raises as ``inside``."""
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        keeper = asyncio.create_task(self._keep(url, opened, within_s), name=f"lease of {url}")
        self._keepers.add(keeper)
        keeper.add_done_callback(self._keepers.discard)
        try:
            await opened
        except BaseException:
            keeper.cancel()
            raise

    async def _keep(self, url: AcquiredUrl, opened: asyncio.Future[None], within_s: float | None) -> None:
        released = asyncio.Event()
        try:
            async with self.inside(url, within_s):
                url.on_release = released.set
                if not opened.done():
                    opened.set_result(None)
                    await released.wait()
        except LeaseLost as lost:
            if not opened.done():
                opened.set_exception(lost)
            else:
                log.warning("a request for %r still runs on %s, and its lease is lost: %s", url.model, url, lost)
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)

    def _slot_of(self, url: AcquiredUrl) -> VRAMSlot:
        if not isinstance(self._slot, VRAMSlot):
            return self._slot(str(url), url.model)
        return self._slot if self._slot.model else replace(self._slot, model=url.model)
