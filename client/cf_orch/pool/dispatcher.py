"""A queue before a pool: tasks wait for a server, in an order that neither swaps models in vain nor starves one."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import isinf

from cf_orch.client import ResourceCoordinator, VRAMSlot
from cf_orch.pool.errors import DispatcherTimeoutError, ModelNotAvailableError, NoModelsAvailableError
from cf_orch.pool.leases import SlotFor, SlotLeases
from cf_orch.pool.order import Waiter
from cf_orch.pool.pool import ServerPool
from cf_orch.pool.server import AcquiredUrl

__all__ = ["ConcurrentDispatcher"]

TIMEOUT_S = 60.0
PATIENCES_IN_A_TIMEOUT = 4
log = logging.getLogger("cf_orch.pool")

_Turn = asyncio.Future[AcquiredUrl]


class ConcurrentDispatcher:
    """Gives tasks their turns at a pool's servers (order.py says in which order).

    With a ``coordinator`` each slot is a lease for ``slot``: a VRAMSlot, or a function of url and model that makes
    one.  Dispatchers of the same pool share one queue.
    """

    def __init__(
        self,
        pool: ServerPool,
        *,
        coordinator: ResourceCoordinator | None = None,
        slot: VRAMSlot | SlotFor | None = None,
    ) -> None:
        """Raises ValueError for a coordinator without a slot, or a slot without a coordinator."""
        if (coordinator is None) != (slot is None):
            raise ValueError("coordinator and slot go together: give both, so that each slot is a lease, or neither")
        self.pool = pool
        self._leases = SlotLeases(coordinator, slot) if coordinator is not None and slot is not None else None
        self._turns: dict[Waiter, _Turn] = {}
        self._dispatcher_task: asyncio.Task[None] | None = None

    async def submit(self, model_id: str, timeout: float | None = TIMEOUT_S) -> str:  # noqa: ASYNC109 - the interface
        """Wait for a slot on a server that has the model; returns the server's url.

        Give it back by ``pool.release_server(url)``, or ``pool.report_server_error(url, error)``.  ``timeout`` is in
        seconds, None for ever.  Raises NoModelsAvailableError or ModelNotAvailableError at once when no server can
        serve it, also when the last one dies meanwhile; DispatcherTimeoutError; RuntimeError when the dispatcher
        stops; with a coordinator LeaseError.  Whatever it raises, a cancellation too, no slot is taken.
        """
        ends_at = None if timeout is None else self.pool.clock() + timeout
        url = await self._turn(model_id, timeout)
        if self._leases is not None:
            try:
                await self._leases.open(url, self._left_s(ends_at))
            except BaseException as error:
                self.pool.release_server(url)
                if isinstance(error, TimeoutError):
                    raise self._late_lease(url, timeout) from None
                raise
        return url

    @asynccontextmanager
    async def server(self, model_id: str, timeout: float | None = TIMEOUT_S) -> AsyncIterator[str]:  # noqa: ASYNC109
        """Hold a slot for the block, and its lease; raises as ``submit``, and LeaseLost from a block that lost it."""
        ends_at = None if timeout is None else self.pool.clock() + timeout
        url = await self._turn(model_id, timeout)
        is_open = False
        try:
            if self._leases is None:
                yield url
                return
            async with self._leases.inside(url, self._left_s(ends_at)):
                is_open = True
                yield url
        except TimeoutError:
            if self._leases is None or is_open:
                raise
            raise self._late_lease(url, timeout) from None
        finally:
            self.pool.release_server(url)

    def close(self) -> None:
        """Let nobody wait any more; what was handed out stays with its holders."""
        if self._dispatcher_task is not None:
            self._dispatcher_task.cancel()

    # --- one wait

    async def _turn(self, model: str, timeout_s: float | None) -> AcquiredUrl:
        self._refuse_hopeless(model)
        loop = asyncio.get_running_loop()
        turn: _Turn = loop.create_future()
        patience_s = self.pool.patience_s
        if timeout_s is not None:  # who has little time has little patience
            patience_s = min(patience_s, timeout_s / PATIENCES_IN_A_TIMEOUT)
        waiter = Waiter(model, self.pool.clock(), max(0.0, patience_s))
        timer = None
        try:
            self._turns[waiter] = turn
            self.pool.join(waiter, lambda url: self._hand_over(turn, url))
            if timeout_s is not None:
                timer = loop.call_later(timeout_s, self._expire, turn, model, timeout_s)
            self._keep_dispatching()
            return await turn
        except BaseException:
            # a cancellation may come between the handing over and the moment in which this task goes on
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.pool.release_server(turn.result())
            raise
        finally:
            del self._turns[waiter]
            self.pool.leave(waiter)
            if timer is not None:
                timer.cancel()

    def _hand_over(self, turn: _Turn, url: AcquiredUrl) -> None:
        if turn.done():  # cancelled or out of time, and about to leave
            self.pool.release_server(url)
        else:
            turn.set_result(url)

    def _expire(self, turn: _Turn, model: str, timeout_s: float) -> None:
        if not turn.done():
            doing = "; ".join(
                server.describe()
                for server in self.pool.servers.values()
                if model in server.available_models or server.last_refresh_error is not None
            )
            waiting = len(self._turns) - 1
            turn.set_exception(
                DispatcherTimeoutError(
                    f"no slot for {model!r} within {timeout_s:g} s, beside {waiting} others who wait: {doing}"
                )
            )

    def _late_lease(self, url: AcquiredUrl, timeout_s: float | None) -> DispatcherTimeoutError:
        return DispatcherTimeoutError(
            f"{url} has a slot for {url.model!r}, but the coordinator granted no lease for it within {timeout_s:g} s"
        )

    def _left_s(self, ends_at: float | None) -> float | None:
        return None if ends_at is None else max(0.0, ends_at - self.pool.clock())

    # --- whom no server can serve

    def _refuse_hopeless(self, model: str) -> None:
        hopeless = self._hopeless(model)
        if hopeless is not None:
            raise hopeless

    def _hopeless(self, model: str) -> Exception | None:
        servers = self.pool.servers.values()
        if any(model in server.available_models for server in servers):
            return None
        dead = "; ".join(server.describe() for server in servers if server.last_refresh_error is not None)
        models = self.pool.get_all_available_models()
        if models:
            text = f"no server has {model!r}, they have {', '.join(sorted(models))}"
            return ModelNotAvailableError(f"{text}; {dead}" if dead else text)
        hint = "none was asked yet: call `await pool.refresh_all_manifests()` first, or none has a model"
        return NoModelsAvailableError(f"no server has any model ({dead or hint})")

    # --- the loop

    def _keep_dispatching(self) -> None:
        task = self._dispatcher_task
        loop = asyncio.get_running_loop()
        if task is None or task.done() or task.get_loop() is not loop:
            self._dispatcher_task = loop.create_task(self._dispatch(), name="cf-orch dispatcher")

    async def _dispatch(self) -> None:
        """Serve as long as somebody waits; those who still do when this ends are told why."""
        reason: BaseException | None = None
        try:
            changed = asyncio.Event()
            with self.pool.telling(changed.set):
                while self._turns:
                    changed.clear()
                    self.pool.serve()
                    self._tell_hopeless()
                    await self._wait_for_change(changed)
        except asyncio.CancelledError as cancelled:
            reason = cancelled
            raise
        except Exception as error:
            log.exception("the dispatcher's loop has a fault")
            reason = error
        finally:
            self._dispatcher_task = None
            for waiter, turn in self._turns.items():
                if not turn.done():
                    stopped = f"Dispatcher loop stopped ({reason!r}) before there was a server for {waiter.model!r}"
                    turn.set_exception(_caused(RuntimeError(stopped), reason))

    def _tell_hopeless(self) -> None:
        for waiter, turn in self._turns.items():
            hopeless = None if turn.done() else self._hopeless(waiter.model)
            if hopeless is not None:
                turn.set_exception(hopeless)

    async def _wait_for_change(self, changed: asyncio.Event) -> None:
        delay_s = self.pool.next_change_s()
        timer = None if isinf(delay_s) else asyncio.get_running_loop().call_later(delay_s, changed.set)
        try:
            await changed.wait()
        finally:
            if timer is not None:
                timer.cancel()


def _caused(error: Exception, cause: BaseException | None) -> Exception:
    error.__cause__ = cause
    return error
