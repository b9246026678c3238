"""A pool under simulated time: clients that ask again as soon as they are served, and what it cost them.

``NaivePool`` is the usual policy to be measured against: whoever waits longest takes the server with the fewest
requests that is not running another model, whatever it has in its memory.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import inf
from random import Random
from typing import NamedTuple

from cf_orch.pool.order import Waiter
from cf_orch.pool.pool import ServerPool
from cf_orch.pool.server import AcquiredUrl

__all__ = ["Client", "NaivePool", "Outcome", "simulate"]


class NaivePool(ServerPool):
    """First come, first served, on the server with the fewest requests; no memory of what is loaded where."""

    def serve(self) -> None:
        """Walk the queue once; those who are blocked are passed."""
        for waiter in list(self._waiters):
            able = [
                server
                for server in self.servers.values()
                if waiter.model in server.available_models
                and not server.is_busy
                and server.current_model in (None, waiter.model)
            ]
            if able:
                self._waiters.remove(waiter)
                hand_over = self._hand_over.pop(waiter)
                hand_over(self._take(min(able, key=lambda server: server.active_requests), waiter.model))

    def next_change_s(self) -> float:
        """Time alone changes nothing here."""
        return inf


class Client(NamedTuple):
    """Asks for its models in turn, ``requests`` times in all, each time ``think_s`` after it was served."""

    models: str
    requests: int
    think_s: float = 0.0


@dataclass
class Outcome:
    """What a run came to; times in seconds."""

    swaps: int = 0
    served: int = 0
    took_s: float = 0.0
    longest_wait_s: dict[str, float] = field(default_factory=dict)


def simulate(  # noqa: C901 - one event loop
    make_pool: type[ServerPool],
    clients: Sequence[Client],
    *,
    servers: int,
    slots: int = 1,
    load_s: float = 8.0,
    patience_s: float = 2.0,
) -> Outcome:
    """Run clients to their ends; every server has every model, loads one in ``load_s``, and answers in about 1 s."""
    rng = Random(0)
    now, order, events = 0.0, count(), list[tuple[float, int, Callable[[], None]]]()
    pool = make_pool([f"s{index}" for index in range(servers)], patience_s=patience_s, clock=lambda: now)
    pool.set_max_concurrent(slots)
    models = sorted(set("".join(client.models for client in clients)))
    for server in pool.servers.values():
        server.available_models = models
    outcome, loaded, ready_at = Outcome(), dict[str, str](), dict[str, float]()

    def at(when: float, event: Callable[[], None]) -> None:
        heapq.heappush(events, (when, next(order), event))

    def ask(client: Client, number: int) -> None:
        if number < client.requests:
            model, came_at = client.models[number % len(client.models)], now
            waiter = Waiter(model, came_at, patience_s)
            pool.join(waiter, lambda url: begin(client, number, model, came_at, url))

    def begin(client: Client, number: int, model: str, came_at: float, url: AcquiredUrl) -> None:
        waited_s = now - came_at
        outcome.longest_wait_s[model] = max(waited_s, outcome.longest_wait_s.get(model, 0.0))
        if loaded.get(url, model) != model:
            outcome.swaps += 1
        if loaded.get(url) != model:
            loaded[url], ready_at[url] = model, now + load_s
        at(max(now, ready_at[url]) + rng.uniform(0.5, 1.5), lambda: end(client, number, url))

    def end(client: Client, number: int, url: AcquiredUrl) -> None:
        outcome.served += 1
        outcome.took_s = now
        pool.release_server(url)
        at(now + client.think_s, lambda: ask(client, number + 1))

    for client in clients:
        at(0.0, lambda client=client: ask(client, 0))  # type: ignore[misc]  # mypy takes the default for a str
    while events:
        now = max(now, events[0][0])
        while events and events[0][0] <= now:
            heapq.heappop(events)[2]()
        pool.serve()
        due = now + pool.next_change_s()
        if due < (events[0][0] if events else inf):
            at(due, lambda: None)
    return outcome
