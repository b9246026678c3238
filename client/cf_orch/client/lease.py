"""A held lease: what it is, and what its holder says of it.  Two faces, asyncio and blocking, over one claim."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

from cf_orch.client.claim import Claim
from cf_orch.client.errors import LeaseLost
from cf_orch.client.hooks import is_inside_callback
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
        """Where it stands: ``loading``, ``active``, ``idle``, ``evicting``, ``parked`` or ``resting``.

        It is ``evicting`` while it is asked to leave, ``parked`` while it waits to come back, and ``resting`` while it
        does not: it was evicted while idle, or by an operator.
        """
        return self._claim.state

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

    def _enter(self) -> bool:
        """Go into use(), if that may begin now.  Raises LeaseLost."""
        claim = self._claim
        if is_inside_callback(claim.hooks):
            raise RuntimeError(
                f"use() inside checkpoint() or restore() of lease {claim.held.id} would wait for itself: they have the "
                "memory to themselves"
            )
        is_unsure = not claim.held.local and self._session.belief.in_doubt
        return not claim.is_idle and not is_unsure and claim.gate.enter(nested=self._is_inside)

    async def _usable(self) -> None:
        """Wait until use() may begin."""
        if self._claim.is_idle:
            await self._session.busy(self._claim)
        await self._session.until_usable(self._claim)

    async def _busy(self) -> None:
        await self._session.busy(self._claim)
        await self._session.until_usable(self._claim)

    def _say_busy(self) -> Future[None]:
        """Who is inside, or gives the memory up just now, must not wait for what waits for him."""
        waits = not self._is_inside and not is_inside_callback(self._claim.hooks)
        return self._run(self._busy() if waits else self._session.busy(self._claim))

    @property
    def _is_inside(self) -> bool:
        return self._claim in claims_in_use.get()


class AsyncLease(_HeldLease):
    """A lease that an ``async with`` block holds.  Every method raises LeaseLost once it is lost."""

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[None]:
        """Do GPU work inside, which no checkpoint() interrupts.

        Waits while the memory is given up to others, and while it is uncertain whether the lease still stands.
        """
        while not self._enter():
            await asyncio.wrap_future(self._run(self._usable()))
        with _inside(self._claim):
            yield

    async def loaded(self) -> None:
        """Say that the engine is up: the peak is over."""
        await asyncio.wrap_future(self._run(self._session.loaded(self._claim)))

    async def idle(self) -> None:
        """Say that the memory is kept warm, unused."""
        await asyncio.wrap_future(self._run(self._session.idle(self._claim)))

    async def busy(self) -> None:
        """Say that the memory is used again; waits for it where it was given up meanwhile."""
        await asyncio.wrap_future(self._say_busy())

    async def attach(self, pid: int) -> None:
        """Name another process that uses the memory."""
        await asyncio.wrap_future(self._attach(pid))


class Lease(_HeldLease):
    """A lease that a ``with`` block holds.  Every method blocks, and raises LeaseLost once it is lost."""

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """Do GPU work inside, which no checkpoint() interrupts; waits as AsyncLease.use() does."""
        while not self._enter():
            self._run(self._usable()).result()
        with _inside(self._claim):
            yield

    def loaded(self) -> None:
        """Say that the engine is up: the peak is over."""
        self._run(self._session.loaded(self._claim)).result()

    def idle(self) -> None:
        """Say that the memory is kept warm, unused."""
        self._run(self._session.idle(self._claim)).result()

    def busy(self) -> None:
        """Say that the memory is used again; waits for it where it was given up meanwhile."""
        self._say_busy().result()

    def attach(self, pid: int) -> None:
        """Name another process that uses the memory."""
        self._attach(pid).result()


@contextlib.contextmanager
def _inside(claim: Claim) -> Iterator[None]:
    """Be inside use(), which was entered."""
    claims_in_use.set((*claims_in_use.get(), claim))
    try:
        yield
    finally:
        left = list(claims_in_use.get())
        if claim in left:  # not where another task closes the block than opened it
            left.remove(claim)
            claims_in_use.set(tuple(left))
        claim.gate.leave()
