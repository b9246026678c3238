"""A model that an ASGI application holds under a lease for as long as it runs.

    app = FastAPI()
    app.add_middleware(
        ModelLifespan, coordinator=coordinator, slot=VRAMSlot("forms", "asr", 4.0), load=load_whisper, always=["/forms"]
    )

    @app.post("/transcribe")
    async def transcribe(request: Request) -> str:
        state = request.app.state
        return await run_blocking(state.model.transcribe, await request.body(), lease=state.lease)

The application starts at once; the lease is waited for and the model loaded beside it.  Until ``app.state.model`` is
there, requests are answered 503 with the reason as problem+json (RFC 9457) and Retry-After, except for the paths that
do without it.  What goes wrong is tried again: a load that fails, a lease that is refused or lost.  At shutdown, and
when the lease is lost, requests that are running end before the model goes.  Any ASGI 3 application will do: as a
middleware, or around it by hand (``app = ModelLifespan(app, ...)``).
"""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from cf_orch.client.blocking import drain_blocking, run_blocking
from cf_orch.client.coordinator import ResourceCoordinator
from cf_orch.client.errors import LeaseError
from cf_orch.client.lease import AsyncLease
from cf_orch.client.slot import VRAMSlot
from cf_orch.protocol.errors import Problem

__all__ = ["ModelLifespan"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

RETRY_AFTER_S = 5
DRAIN_WITHIN_S = 30.0
TRY_AGAIN_LATER = 1013  # RFC 6455's registry of close codes
log = logging.getLogger("cf_orch.client")


class ModelLifespan:
    """ASGI middleware that binds a model and its lease to ``app.state`` while the application runs."""

    def __init__(
        self,
        app: Application,
        *,
        coordinator: ResourceCoordinator,
        slot: VRAMSlot,
        load: Callable[[AsyncLease], Any],
        unload: Callable[[Any], Any] | None = None,
        name: str = "model",
        always: Iterable[str] = (),
        retry_after_s: int = RETRY_AFTER_S,
        drain_within_s: float = DRAIN_WITHIN_S,
    ) -> None:
        """Hold nothing yet.

        ``load`` gets the lease and returns the model, ``unload`` gets the model; a coroutine function runs on the
        loop, a plain one in a thread.  ``always`` names paths that need no model, with all below them.  A failure is
        followed by a new attempt after ``retry_after_s``; requests get ``drain_within_s`` to end, and then the work
        that they run by ``run_blocking`` is told to stop.
        """
        self._app = app
        self._coordinator = coordinator
        self._slot = slot
        self._load = load
        self._unload = unload
        self._name = name
        self._always = tuple(path.rstrip("/") for path in always)
        self._retry_after_s = retry_after_s
        self._drain_within_s = drain_within_s
        self._reason = "the application has not started"
        self._since = time.monotonic()
        self._is_ready = False
        self._is_beginning = True  #: nothing would be lost if it ended now
        self._requests = _Running()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif self._needs_none(scope["path"]):
            await self._app(scope, receive, send)
        elif not self._is_ready:
            await self._answer_not_ready(scope, receive, send)
        else:
            with self._requests:
                await self._app(scope, receive, send)

    # --- the application's life

    async def _live(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        state = getattr(scope.get("app", self._app), "state", None)
        if state is None:
            await receive()
            message = f"ModelLifespan has no `state` to bind a model to: {self._app!r} is no application that has one"
            await send({"type": "lifespan.startup.failed", "message": message})
            return
        stop, keeper, was_heard = asyncio.Event(), None, False

        async def hear() -> Message:
            nonlocal keeper, was_heard
            message = await receive()
            was_heard = True
            if message["type"] == "lifespan.startup":
                keeper = asyncio.create_task(self._keep(state, stop), name="cf-orch model")
            elif keeper is not None:
                await self._end(keeper, stop)
            return message

        try:
            await self._app(scope, hear, send)
        except Exception:
            if was_heard:
                raise
            await _live_alone(hear, send)  # the application knows no lifespan
        finally:
            if keeper is not None:
                await self._end(keeper, stop)

    async def _end(self, keeper: asyncio.Task[None], stop: asyncio.Event) -> None:
        stop.set()
        self._say("the application is shutting down")
        if self._is_beginning:
            keeper.cancel()  # it waits, or loads: nobody needs that any more
        await asyncio.wait([keeper])

    # --- the model's life

    async def _keep(self, state: Any, stop: asyncio.Event) -> None:
        """Have the model there until ``stop``, however often that must be begun."""
        while not stop.is_set():
            self._is_beginning = True
            try:
                await self._hold(state, stop)
            except LeaseError as error:
                self._say(f"{type(error).__name__}: {error}")
            except Exception as error:
                log.exception("the model could not be loaded")
                self._say(f"loading failed: {type(error).__name__}: {error}")
            else:
                break
            log.warning("no model: %s; the next attempt is in %d s", self._reason, self._retry_after_s)
            await _passed(stop, self._retry_after_s)

    async def _hold(self, state: Any, stop: asyncio.Event) -> None:
        """Have the model there until ``stop``.  Raises LeaseError, and whatever ``load`` raises."""
        self._say(f"waiting for a lease on {_size(self._slot)} as {self._slot.service}/{self._slot.task_type}")
        async with self._coordinator.lease(self._slot) as lease:
            self._say("the lease is granted, the model is being loaded")
            model = await self._run(self._load, lease)
            if lease.state == "loading":
                await lease.loaded()
            setattr(state, self._name, model)
            state.lease = lease
            self._is_ready, self._is_beginning = True, False
            try:
                await stop.wait()
                await self._requests.ended(self._drain_within_s)
                await drain_blocking(lease, within_s=0)
            except asyncio.CancelledError:  # the lease is lost: its memory is not ours any more
                self._say("the lease was lost")
                await drain_blocking(lease, within_s=0)
                await self._requests.ended(self._drain_within_s)
                raise
            finally:
                del state.lease
                delattr(state, self._name)
                if self._unload is not None:
                    await self._run(self._unload, model)

    async def _run(self, function: Callable[..., Any], argument: Any) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(argument)
        return await run_blocking(function, argument)

    def _say(self, reason: str) -> None:
        """Not ready, and why."""
        self._is_ready, self._reason, self._since = False, reason, time.monotonic()

    # --- requests that came too early

    def _needs_none(self, path: str) -> bool:
        return any(path == always or path.startswith(f"{always}/") for always in self._always)

    async def _answer_not_ready(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        detail = f"the model is not there: {self._reason}, for {time.monotonic() - self._since:.0f} s"
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": detail[:120]})
            return
        problem = Problem(title="model not ready", status=503, detail=detail, code="model_not_ready")
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"retry-after", str(self._retry_after_s).encode()),
        ]
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": msgspec.json.encode(problem)})


class _Running:
    """How many requests are running, and when the last one ends."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> None:
        self._count += 1
        self._none.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if self._count == 0:
            self._none.set()

    async def ended(self, within_s: float) -> None:
        """Return when none is running, or after so many seconds."""
        if not await _passed(self._none, within_s):
            log.warning("%d requests still run after %g s", self._count, within_s)


async def _passed(event: asyncio.Event, within_s: float) -> bool:
    """Wait for an event; tell whether it came within so many seconds."""
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _live_alone(receive: Receive, send: Send) -> None:
    """Speak the lifespan protocol for an application that does not."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def _size(slot: VRAMSlot) -> str:
    return "memory of the size its task type has" if slot.vram_gb == "auto" else f"{slot.vram_gb:g} GB"
