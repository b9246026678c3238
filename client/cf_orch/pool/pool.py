"""Several OpenAI-compatible servers, and who has which slot on which of them.

A pool belongs to one event loop, or to one thread without any; ``BlockingDispatcher`` serves many threads.  It makes
no requests but for /v1/models: whoever acquires a server's url talks to the server, and releases the url afterwards.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import httpx

from cf_orch.pool.manifest import ANSWERS_WITHIN_S, ManifestError, fetch_models, manifest_client
from cf_orch.pool.order import Waiter, assign, next_change_s
from cf_orch.pool.probe import Prober
from cf_orch.pool.server import AcquiredUrl, ServerConfig

__all__ = ["ServerPool"]

PATIENCE_S = 2.0
FIRST_PROBE_AFTER_S = 0.5
log = logging.getLogger("cf_orch.pool")


class ServerPool:
    """The servers by url, and their slots.

    A server that is running requests takes no other model.  ``patience_s`` is how long a model keeps a server that
    another one waits for (order.py); about what loading a model takes is a good value.  Dead servers are asked again
    after ``probe_after_s``, then ever less often.  ``manifest_timeout_s`` bounds the wait for /v1/models.
    """

    def __init__(
        self,
        servers: Iterable[str | ServerConfig],
        *,
        patience_s: float = PATIENCE_S,
        probe_after_s: float = FIRST_PROBE_AFTER_S,
        manifest_timeout_s: float = ANSWERS_WITHIN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know the servers, and nothing of their models before ``refresh_all_manifests``."""
        self.servers: dict[str, ServerConfig] = {}
        for entry in servers:
            server = ServerConfig(entry) if isinstance(entry, str) else entry
            if server.url in self.servers:
                raise ValueError(f"{server.url} is given twice: write it once, with max_concurrent for its slots")
            self.servers[server.url] = server
        self.resource_available = asyncio.Event()  #: set when a slot became free or models changed; cleared by you
        self.patience_s = patience_s
        self.clock = clock
        self._manifest_timeout_s = manifest_timeout_s
        self._waiters: list[Waiter] = []
        self._hand_over: dict[Waiter, Callable[[AcquiredUrl], object]] = {}
        self._served_at: dict[str, float] = {}
        self._slots: dict[str, list[AcquiredUrl]] = {}
        self._lives: Counter[str] = Counter()
        self._deaths: Counter[str] = Counter()
        self._listeners: list[Callable[[], object]] = []
        self._prober = Prober(self.refresh_manifest, probe_after_s)

    # --- what the servers have

    async def refresh_all_manifests(self) -> None:
        """Ask every server for its models.  Raises nothing: what went wrong is in ``last_refresh_error``."""
        async with manifest_client(self._manifest_timeout_s) as client:
            await asyncio.gather(*(self._ask(client, server) for server in self.servers.values()))

    async def refresh_manifest(self, server: ServerConfig) -> None:
        """Ask one server for its models."""
        async with manifest_client(self._manifest_timeout_s) as client:
            await self._ask(client, server)

    def get_all_available_models(self) -> set[str]:
        """The models of all servers."""
        return {model for server in self.servers.values() for model in server.available_models}

    def get_server_url_by_index(self, idx: int) -> str | None:
        """The url of a server by its place, from 0, in the order in which they were given; None beyond the last."""
        urls = list(self.servers)
        return urls[idx] if 0 <= idx < len(urls) else None

    def set_max_concurrent(self, max_concurrent: int) -> None:
        """Let every server take so many requests at once; less than 1 counts as 1."""
        for server in self.servers.values():
            server.max_concurrent = max(1, max_concurrent)
        self._changed()

    # --- slots

    def find_and_acquire(self, model_id: str) -> str | None:
        """Take a slot for a model, and return its server's url; None if there is none now.

        Atomic, for it never awaits.  It comes behind all who wait at a dispatcher: they have what they can use now,
        and another model's server that they may yet use is left to them.  Give back the very string that was returned.
        """
        newcomer = Waiter(model_id, self.clock(), patience_s=0, is_direct=True)
        server = assign(self.servers.values(), [*self._waiters, newcomer], newcomer.came_at, self._served_at).get(
            newcomer
        )
        return None if server is None else self._take(server, model_id)

    def release_server(self, server_url: str) -> None:
        """Give a slot back.  Again, or after its server died, is harmless; a url of no server is ignored.

        The string that was acquired frees its own slot, once.  A copy of its text cannot tell whose slot it means: it
        frees the server's oldest one.
        """
        server = self.servers.get(server_url)
        if server is not None and self._free(server, server_url):
            if server.resident_model is not None and server.turn_began_at is None:
                server.turn_began_at = self.clock()
            self._prober.served(server)
            self._changed()

    def report_server_error(self, server_url: str, error: str) -> None:
        """Say that a server failed: its slot is free, and it has no models until a probe finds it well.

        A failure of a slot that was taken before the server last came back says nothing of its new life.
        """
        server = self.servers.get(server_url)
        if server is None:
            return
        self._free(server, server_url)
        if isinstance(server_url, AcquiredUrl) and server_url.life < self._lives[server.url]:
            self._changed()
            return
        log.warning("%s was reported: %s", server.url, error)
        self._died(server, error)

    # --- those who wait

    def join(self, waiter: Waiter, hand_over: Callable[[AcquiredUrl], object]) -> None:
        """Let somebody wait, behind all others; ``hand_over`` gets the url when it is their turn."""
        self._waiters.append(waiter)
        self._hand_over[waiter] = hand_over
        self._tell()

    def leave(self, waiter: Waiter) -> None:
        """Let somebody wait no more."""
        if self._hand_over.pop(waiter, None) is not None:
            self._waiters.remove(waiter)
            self._changed()

    def serve(self) -> None:
        """Give those who wait what they can have now."""
        if self._waiters:
            now = self.clock()
            for waiter, server in assign(self.servers.values(), self._waiters, now, self._served_at).items():
                hand_over = self._hand_over.pop(waiter)
                self._waiters.remove(waiter)
                hand_over(self._take(server, waiter.model))

    def next_change_s(self) -> float:
        """In how many seconds ``serve`` may do something though nothing happened; infinite if never."""
        return next_change_s(self.servers.values(), self._waiters, self.clock(), self._served_at)

    @contextmanager
    def telling(self, listener: Callable[[], object]) -> Iterator[None]:
        """Inside, call back whenever ``serve`` may have something to do."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    # --- the end

    def close(self) -> None:
        """Probe dead servers no more."""
        self._prober.stop()

    async def __aenter__(self) -> Self:
        await self.refresh_all_manifests()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- help

    async def _ask(self, client: httpx.AsyncClient, server: ServerConfig) -> None:
        deaths_before = self._deaths[server.url]
        try:
            models = await fetch_models(client, server)
        except ManifestError as error:
            log.warning("%s: %s", server.url, error)
            self._died(server, str(error))
            return
        if self._deaths[server.url] == deaths_before:  # else it was reported dead while it answered
            self._listed(server, models)

    def _listed(self, server: ServerConfig, models: list[str]) -> None:
        if server.last_refresh_error is not None:
            self._lives[server.url] += 1
            log.info("%s is back", server.url)
        server.available_models, server.last_refresh_error = models, None
        self._changed()

    def _take(self, server: ServerConfig, model: str) -> AcquiredUrl:
        now = self.clock()
        if server.resident_model != model:
            server.resident_model, server.turn_began_at = model, None
        server.current_model = model
        server.active_requests += 1
        server.last_acquired_at = self._served_at[model] = now
        url = AcquiredUrl(server.url, model, self._lives[server.url])
        self._slots.setdefault(server.url, []).append(url)
        return url

    def _free(self, server: ServerConfig, url: str) -> bool:
        """Free the slot that a url stands for; False if that was done before."""
        slots = self._slots.get(server.url, [])
        if isinstance(url, AcquiredUrl):
            if not any(slot is url for slot in slots):
                return False
            freed: AcquiredUrl | None = url
        else:
            freed = slots[0] if slots else None
        if freed is not None:
            self._slots[server.url] = [slot for slot in slots if slot is not freed]
        if server.active_requests == 0:
            return False
        server.active_requests -= 1
        if server.active_requests == 0:
            server.current_model = None
        if freed is not None and freed.on_release is not None:
            freed.on_release()
        return True

    def _died(self, server: ServerConfig, error: str) -> None:
        server.available_models, server.last_refresh_error = [], error
        server.resident_model = server.turn_began_at = None
        self._deaths[server.url] += 1
        self._prober.died(server)
        self._changed()

    def _changed(self) -> None:
        self.resource_available.set()
        self._tell()

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()
