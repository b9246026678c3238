"""Opening a lease: `async with` for tasks, `with` for threads.

Whatever ends the block, or the wait before it, gives the lease back: leaving, an exception, a cancellation at any
await, Ctrl-C.  A checkpoint() or restore() that runs then ends before: an async one is cancelled, a plain one is
waited for.  A lease that is lost ends the block: an ``async with`` block is cancelled at its next await, and the
cancellation becomes LeaseLost on the way out (as ``asyncio.timeout`` does it); a ``with`` block hears of it from its
next call on the lease, and at its end.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cf_orch.client.claim import Claim
from cf_orch.client.errors import LeaseLost, LeaseRefused
from cf_orch.client.hooks import Callbacks, is_inside_callback
from cf_orch.client.io_thread import IoThread
from cf_orch.client.lease import AsyncLease, Lease, claims_in_use
from cf_orch.client.session import Session
from cf_orch.client.slot import VRAMSlot

if TYPE_CHECKING:
    from cf_orch.client.coordinator import ResourceCoordinator

__all__ = ["LeaseOpener"]

_open_claims: ContextVar[tuple[Claim, ...]] = ContextVar("open_claims", default=())
"""The claims whose blocks the running task or thread is inside of."""


class LeaseOpener:
    """Opens one lease at a time, with ``async with`` or with ``with``."""

    def __init__(
        self,
        coordinator: "ResourceCoordinator",
        slot: VRAMSlot,
        checkpoint: Callable[[], Any] | None,
        restore: Callable[[], Any] | None,
    ) -> None:
        """Use ``ResourceCoordinator.lease``."""
        self._coordinator = coordinator
        self._slot = slot
        self._checkpoint = checkpoint
        self._restore = restore
        self._open: _Open | None = None

    async def __aenter__(self) -> AsyncLease:
        opened = self._begin(asyncio.get_running_loop())
        interruption = _Interruption(opened.claim)
        opened.interruption = interruption
        try:
            await asyncio.wrap_future(opened.claim.granted)
            interruption.arm()
            opened.warn_if_local()
        except BaseException:
            interruption.disarm()
            self._open = None
            await _heard(opened.let_go())
            raise
        return AsyncLease(opened.claim, opened.session, opened.io)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        opened, self._open = self._open, None
        if opened is None or opened.interruption is None:
            raise RuntimeError("this lease is not open")
        was_ours = opened.interruption.disarm()
        await _heard(opened.let_go())
        opened.raise_loss(error, swallow=was_ours)

    def __enter__(self) -> Lease:
        if _runs_in_loop():
            raise RuntimeError(
                "`with coordinator.lease(...)` would block the running event loop and all its tasks: "
                "write `async with`, or call it in a thread (asyncio.to_thread)"
            )
        opened = self._begin(None)
        try:
            opened.claim.granted.result()
            opened.warn_if_local()
        except BaseException:
            self._open = None
            opened.let_go().result()
            raise
        return Lease(opened.claim, opened.session, opened.io)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        opened, self._open = self._open, None
        if opened is None:
            raise RuntimeError("this lease is not open")
        opened.let_go().result()
        opened.raise_loss(error, swallow=False)

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> "_Open":
        if self._open is not None:
            raise RuntimeError("this lease is open already: call coordinator.lease(slot) again for another one")
        session, io = self._coordinator.session_for(self._slot.service)
        self._check_waits_for_nothing_here()
        hooks = None if self._checkpoint is None else Callbacks(self._checkpoint, self._restore, loop)
        claim = Claim(self._slot, evictable=hooks is not None, within=_open_claims.get(), hooks=hooks)
        _open_claims.set((*_open_claims.get(), claim))
        if hooks is not None:
            hooks.run_in_this_context()
        self._open = _Open(claim, session, io)
        return self._open

    def _check_waits_for_nothing_here(self) -> None:
        """Whoever asks where he keeps a lease of his own from being evicted might wait for himself."""
        inside = [("use()", claim) for claim in claims_in_use.get() if claim.request.evictable]
        inside += [("a callback", claim) for claim in _open_claims.get() if is_inside_callback(claim.hooks)]
        for where, claim in inside:
            if claim.request.service == self._slot.service:
                raise LeaseRefused(
                    "waits_for_itself",
                    f"this is asked for inside {where} of lease {claim.held.id} of the same service, which could not "
                    f"be evicted meanwhile: it might wait for itself. Leave {where} first",
                )


class _Open:
    """One opening, from the asking to the giving back."""

    def __init__(self, claim: Claim, session: Session, io: IoThread) -> None:
        self.claim = claim
        self.session = session
        self.io = io
        self.interruption: _Interruption | None = None
        io.soon(session.ask, claim)

    def warn_if_local(self) -> None:
        """Say so, where the caller sees it."""
        if self.claim.is_local:
            self.session.warn_away(self.claim)

    def let_go(self) -> Future[None]:
        """Give the lease back; the future tells when the coordinator has heard of it, or cannot."""
        _open_claims.set(tuple(other for other in _open_claims.get() if other is not self.claim))
        if self.io.is_usable:
            with contextlib.suppress(RuntimeError):  # closed just now: then all is given back
                return self.io.run(self.session.let_go(self.claim))
        gone: Future[None] = Future()
        gone.set_result(None)
        return gone

    def raise_loss(self, error: BaseException | None, *, swallow: bool) -> None:
        """Turn a block that ended well, or by our own interruption, into LeaseLost if the lease was lost."""
        if self.claim.loss is not None and (error is None or (swallow and isinstance(error, asyncio.CancelledError))):
            raise LeaseLost(self.claim.loss) from (self.claim.loss_cause or error)


class _Interruption:
    """Cancels the opener's task when its lease is lost, while it is inside the block."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task else 0
        self._is_armed = False
        self._is_sent = False
        claim.on_loss = self._lost

    def arm(self) -> None:
        """The block begins.  Raises LeaseLost if the lease is lost already."""
        self._is_armed = True
        if self._claim.loss is not None:
            raise LeaseLost(self._claim.loss) from self._claim.loss_cause

    def disarm(self) -> bool:
        """The block has ended; tell whether the task was cancelled by this interruption, and by nothing else."""
        self._is_armed = False
        return self._is_sent and self._task is not None and self._task.uncancel() <= self._cancelling

    def _lost(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to interrupt
            self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        if self._is_armed and not self._is_sent and self._task is not None:
            self._is_sent = True
            self._task.cancel()


async def _heard(future: Future[None]) -> None:
    await asyncio.wrap_future(future)


def _runs_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
