"""The pool's promises under whatever is done to it, drawn and shrunk by Hypothesis."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cf_orch.pool.order import Waiter
from cf_orch.pool.pool import ServerPool
from cf_orch.pool.server import AcquiredUrl, ServerConfig

MODELS = st.sampled_from("ABC")
LISTS = st.lists(MODELS, unique=True, min_size=1)
PATIENCE_S = 2.0


class PoolMachine(RuleBasedStateMachine):
    """Three servers that die and return, waiters, direct acquires, and holders that release late, twice or never."""

    @initialize(lists=st.lists(LISTS, min_size=3, max_size=3), slots=st.integers(1, 3))
    def begin(self, lists: list[list[str]], slots: int) -> None:
        """Know three servers."""
        self.now = 0.0
        self.pool = ServerPool([f"http://s{index}" for index in range(3)], clock=lambda: self.now)
        self.pool.set_max_concurrent(slots)
        for server, models in zip(self.pool.servers.values(), lists, strict=True):
            server.available_models = models
        self.held: list[AcquiredUrl] = []  # slots that are taken
        self.over: list[AcquiredUrl] = []  # slots that were given back
        self.waiting: list[Waiter] = []

    def take(self, url: AcquiredUrl) -> None:
        """Somebody got a slot: it must have been there to get."""
        server = self.pool.servers[url]
        others = [held for held in self.held if held == url]
        assert url.model in server.available_models
        assert len(others) < server.max_concurrent
        assert all(held.model == url.model for held in others)
        self.held.append(url)

    def hand_over(self, waiter: Waiter, url: AcquiredUrl) -> None:
        """A waiter got its turn: nobody came before it for the same model, and it gets only one."""
        ahead = [other for other in self.waiting[: self.waiting.index(waiter)] if other.model == waiter.model]
        assert not ahead
        assert url.model == waiter.model
        self.waiting.remove(waiter)
        self.take(url)

    def pick(self, data: st.DataObject, urls: list[AcquiredUrl]) -> AcquiredUrl:
        """Choose one slot."""
        return urls[data.draw(st.integers(0, len(urls) - 1), label="slot")]

    @rule(model=MODELS, patience_s=st.sampled_from([0.0, 0.5, PATIENCE_S]))
    def wait(self, model: str, patience_s: float) -> None:
        """Somebody joins the queue."""
        waiter = Waiter(model, self.now, patience_s)
        self.waiting.append(waiter)
        self.pool.join(waiter, lambda url: self.hand_over(waiter, url))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Somebody waits no more."""
        waiter = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1), label="waiter"))
        self.pool.leave(waiter)

    @rule(model=MODELS)
    def acquire(self, model: str) -> None:
        """Somebody takes a slot past the queue: only one that nobody in the queue can have."""
        self.pool.serve()
        resident = {url: server.resident_model for url, server in self.pool.servers.items()}
        url = self.pool.find_and_acquire(model)
        if url is not None:
            assert isinstance(url, AcquiredUrl)
            assert model not in {waiter.model for waiter in self.waiting}
            if resident[url] not in (None, model):
                assert not {waiter.model for waiter in self.waiting} & set(self.pool.servers[url].available_models)
            self.take(url)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """A slot is given back."""
        url = self.pick(data, self.held)
        self.held = [held for held in self.held if held is not url]
        self.over.append(url)
        self.pool.release_server(url)

    @precondition(lambda self: self.over)
    @rule(data=st.data())
    def release_again(self, data: st.DataObject) -> None:
        """A slot is given back a second time, or after its server was reported."""
        self.pool.release_server(self.pick(data, self.over))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        """A request failed; its server is dead, unless it died and returned since."""
        url = self.pick(data, self.held)
        server = self.pool.servers[url]
        is_stale = url.life < self.pool._lives[url]
        models = list(server.available_models)
        self.held = [held for held in self.held if held is not url]
        self.over.append(url)
        self.pool.report_server_error(url, "it broke")
        assert server.available_models == (models if is_stale else [])

    @rule(data=st.data(), models=LISTS)
    def answer(self, data: st.DataObject, models: list[str]) -> None:
        """A server lists its models; one that was dead is back."""
        server = data.draw(st.sampled_from(list(self.pool.servers.values())), label="server")
        self.pool._listed(server, models)
        assert server.last_refresh_error is None

    @rule(slots=st.integers(0, 3))
    def resize(self, slots: int) -> None:
        """Servers take more, or fewer, requests at once."""
        self.pool.set_max_concurrent(slots)

    @rule(seconds=st.sampled_from([0.3, 1.0, 3.0]))
    def pass_time(self, seconds: float) -> None:
        """Time passes; whenever the pool says that it matters, it is served."""
        until = self.now + seconds
        while (due := self.now + self.pool.next_change_s()) <= until:
            assert due > self.now
            self.now = due
            self.pool.serve()
        self.now = until

    @rule()
    def serve(self) -> None:
        """All get what they can have now; a second look finds nothing more, and no server idle in vain."""
        self.pool.serve()
        waiting = list(self.waiting)
        self.pool.serve()
        assert self.waiting == waiting
        for waiter in self.waiting:
            able = [server for server in self.pool.servers.values() if waiter.model in server.available_models]
            assert not any(server.active_requests == 0 and server.resident_model is None for server in able)
            if not any(server.resident_model == waiter.model for server in able):
                homeless_but_idle = [server for server in able if server.active_requests == 0]
                assert all(self.is_kept(server) for server in homeless_but_idle)

    def is_kept(self, server: ServerConfig) -> bool:
        """Tell whether an idle server is left to a starved model: one that waits for longer than its patience."""
        return any(
            waiter.model in server.available_models and self.now - waiter.came_at >= waiter.patience_s
            for waiter in self.waiting
        )

    @invariant()
    def slots_are_counted(self) -> None:
        """Each slot that is taken counts once, and no other does; a server runs one model, or none."""
        for url, server in getattr(self, "pool", ServerPool([])).servers.items():
            held = [slot for slot in self.held if slot == url]
            assert server.active_requests == len(held)
            assert {slot.model for slot in held} == ({server.current_model} if held else set())
            assert (server.current_model is None) == (not held)
            assert server.last_refresh_error is None or not server.available_models

    def teardown(self) -> None:
        """When every request ends, everybody who has a server is served, however it was before."""
        if not hasattr(self, "pool"):
            return
        for _ in range(200):
            for url in list(self.held):
                self.held = [held for held in self.held if held is not url]
                self.pool.release_server(url)
            self.pool.serve()
            self.now += 1.0
        served = self.pool.get_all_available_models()
        assert not [waiter for waiter in self.waiting if waiter.model in served]


class SteadyLoad(RuleBasedStateMachine):
    """One model never stops coming: whatever else is done, a waiter for another one is served within a bound."""

    BOUND_S = 30.0

    @initialize(slots=st.integers(1, 4), servers=st.integers(1, 2), service_s=st.sampled_from([0.1, 0.5, 1.5]))
    def begin(self, slots: int, servers: int, service_s: float) -> None:
        """Fill all servers with A."""
        self.now, self.service_s = 0.0, service_s
        self.pool = ServerPool([f"http://s{index}" for index in range(servers)], clock=lambda: self.now)
        self.pool.set_max_concurrent(slots)
        for server in self.pool.servers.values():
            server.available_models = ["A", "B", "C"]
        self.running: list[tuple[float, AcquiredUrl]] = []
        self.waiting: dict[Waiter, float] = {}
        for number in range(2 * slots * servers):
            self.ask("A", number / 100)

    def ask(self, model: str, jitter_s: float) -> None:
        """Join the queue; a request for A is followed by another one."""
        waiter = Waiter(model, self.now, PATIENCE_S)
        self.waiting[waiter] = self.now

        def begin(url: AcquiredUrl) -> None:
            del self.waiting[waiter]
            self.running.append((self.now + self.service_s + jitter_s, url))

        self.pool.join(waiter, begin)

    @rule(model=st.sampled_from("BC"), jitter_s=st.sampled_from([0.0, 0.07]))
    def other(self, model: str, jitter_s: float) -> None:
        """Somebody wants another model."""
        self.ask(model, jitter_s)

    @rule(steps=st.integers(1, 40))
    def run(self, steps: int) -> None:
        """Let requests end, and others begin."""
        for _ in range(steps):
            self.pool.serve()
            ends_at = min((at for at, _ in self.running), default=self.now)
            self.now = max(self.now, min(ends_at, self.now + self.pool.next_change_s()))
            for ended in [each for each in self.running if each[0] <= self.now]:
                self.running.remove(ended)
                self.pool.release_server(ended[1])
                if ended[1].model == "A":
                    self.ask("A", 0.03)

    @invariant()
    def nobody_starves(self) -> None:
        """The bound holds for every waiter."""
        for waiter in getattr(self, "waiting", {}):
            assert self.now - waiter.came_at < self.BOUND_S


QUICK: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
PoolMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, **QUICK)
SteadyLoad.TestCase.settings = settings(max_examples=25, stateful_step_count=30, **QUICK)
TestPool = PoolMachine.TestCase
TestSteadyLoad = SteadyLoad.TestCase
