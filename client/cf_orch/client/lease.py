"""A held lease: what it is, and what its holder says of it.  Two faces, asyncio and blocking, over one claim."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

from cf_orch.client.claim import Claim
from cf_orch.client.errors import LeaseLost
from cf_orch.client.io_thread import IoThread
from cf_orch.client.session import Session
from cf_orch.gpus import ProcFs
from cf_orch.protocol.messages import DeviceRef

__all__ = ["AsyncLease", "Lease", "claims_in_use"]

claims_in_use: ContextVar[tuple[Claim, ...]] = ContextVar("claims_in_use", default=())
"""The claims whose ``use()`` the running task or thread is inside of."""


class _HeldLease:
    """What both faces share."""

    def __init__(self, claim: Claim, session: Session, io: IoThread) -> None:
        """Use ``ResourceCoordinator.lease``."""
        self._claim = claim
        self._session = session
        self._io = io

    @property
    def id(self) -> str:
        """Its id; another one after an outage in which the coordinator forgot it."""
        return self._claim.held.id

    @property
    def token(self) -> int | None:
        """The fencing token, greater than that of every earlier lease; a local lease has none."""
        return self._claim.held.token

    @property
    def devices(self) -> list[DeviceRef]:
        """The devices that the memory is on."""
        return self._claim.held.devices

    @property
    def vram_gb(self) -> float:
        """The memory, on each of its devices."""
        return self._claim.held.vram_gb

    @property
    def state(self) -> str:
        """``loading``, ``active`` or ``idle``."""
        if self._claim.is_local:
            return "idle" if self._claim.is_idle else "active"
        return self._claim.held.state

    @property
    def local(self) -> bool:
        """True while no coordinator answers and the lease is a turn on this host."""
        return self._claim.held.local

    @property
    def env(self) -> dict[str, str]:
        """What to set in the environment of a process that is to use the lease's devices, and no other."""
        return self._claim.held.env

    def __repr__(self) -> str:
        info = self._claim.info
        return f"<{type(self).__name__} {info.id if info else '?'} {self._claim.phase.name.lower()}>"

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> Future[None]:
        if self._io.is_usable:
            return self._io.run(coroutine)
        coroutine.close()
        raise LeaseLost("the lease is of another process, or its ResourceCoordinator was closed")

    def _attach(self, pid: int) -> Future[None]:
        return self._run(self._session.attach(self._claim, pid, ProcFs().start_ticks(pid)))

    def _must_wait(self) -> bool:
        return self._claim.is_idle or (not self._claim.held.local and self._session.belief.in_doubt)

    async def _ready(self) -> None:
        if self._claim.is_idle:
            await self._session.busy(self._claim)
        await self._session.until_sure(self._claim)


class AsyncLease(_HeldLease):
    """A lease that an ``async with`` block holds.  Every method raises LeaseLost once it is lost."""

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[None]:
        """Do GPU work inside; waits while it is uncertain whether the lease still stands."""
        if self._must_wait():
            await asyncio.wrap_future(self._run(self._ready()))
        with _inside(self._claim):
            yield

    async def loaded(self) -> None:
        """Say that the engine is up: the peak is over."""
        await asyncio.wrap_future(self._run(self._session.loaded(self._claim)))

    async def idle(self) -> None:
        """Say that the memory is kept warm, unused."""
        await asyncio.wrap_future(self._run(self._session.idle(self._claim)))

    async def busy(self) -> None:
        """Say that the memory is used again."""
        await asyncio.wrap_future(self._run(self._session.busy(self._claim)))

    async def attach(self, pid: int) -> None:
        """Name another process that uses the memory."""
        await asyncio.wrap_future(self._attach(pid))


class Lease(_HeldLease):
    """A lease that a ``with`` block holds.  Every method blocks, and raises LeaseLost once it is lost."""

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """Do GPU work inside; waits while it is uncertain whether the lease still stands."""
        if self._must_wait():
            self._run(self._ready()).result()
        with _inside(self._claim):
            yield

    def loaded(self) -> None:
        """Say that the engine is up: the peak is over."""
        self._run(self._session.loaded(self._claim)).result()

    def idle(self) -> None:
        """Say that the memory is kept warm, unused."""
        self._run(self._session.idle(self._claim)).result()

    def busy(self) -> None:
        """Say that the memory is used again."""
        self._run(self._session.busy(self._claim)).result()

    def attach(self, pid: int) -> None:
        """Name another process that uses the memory."""
        self._attach(pid).result()


@contextlib.contextmanager
def _inside(claim: Claim) -> Iterator[None]:
    claims_in_use.set((*claims_in_use.get(), claim))
    try:
        yield
    finally:
        claims_in_use.set(tuple(other for other in claims_in_use.get() if other is not claim))
