"""Who gets which server next: the pure order."""

from math import inf

import pytest
from tests.pool.conftest import warm_pool

from cf_orch.pool.order import Waiter, assign, next_change_s
from cf_orch.pool.server import ServerConfig

PATIENCE_S = 2.0


def server(url: str, *models: str, runs: str | None = None, requests: int = 0, slots: int = 1) -> ServerConfig:
    """A server that has had one model for long."""
    return ServerConfig(
        url,
        available_models=list(models),
        active_requests=requests,
        max_concurrent=slots,
        current_model=runs if requests else None,
        resident_model=runs,
        turn_began_at=0.0 if runs else None,
    )


def waits(model: str, came_at: float = 100.0) -> Waiter:
    """Somebody who waits."""
    return Waiter(model, came_at, PATIENCE_S)


def places(
    servers: list[ServerConfig], waiters: list[Waiter], now: float = 100.0, served_at: dict[str, float] | None = None
) -> list[str | None]:
    """Where each waiter goes."""
    found = assign(servers, waiters, now, served_at or {})
    return [found[waiter].url if waiter in found else None for waiter in waiters]


def test_the_server_with_the_model_is_taken() -> None:
    """A waiter goes where its model is, whatever the servers' order."""
    servers = [server("s0", "A", "B", runs="A"), server("s1", "A", "B", runs="B")]

    assert places(servers, [waits("B"), waits("A")]) == ["s1", "s0"]


def test_an_empty_server_is_taken_before_another_model_is_thrown_out() -> None:
    """A model that is nowhere is loaded where nothing is lost by it."""
    servers = [server("s0", "A", "B", runs="A"), server("s1", "A", "B")]

    assert places(servers, [waits("B")]) == ["s1"]


def test_few_requests_first() -> None:
    """Among those that need no swap, the one with the fewest requests is taken."""
    servers = [server("s0", "A", runs="A", requests=1, slots=4), server("s1", "A", slots=4)]

    assert places(servers, [waits("A"), waits("A"), waits("A")]) == ["s1", "s0", "s1"]


def test_a_running_server_takes_no_other_model() -> None:
    """However long the other waits, while one request runs the server keeps its model."""
    servers = [server("s0", "A", "B", runs="A", requests=1, slots=4)]

    assert places(servers, [waits("B", came_at=0.0)]) == [None]


def test_the_least_recently_used_is_thrown_out() -> None:
    """A model that is nowhere is loaded at once, where the longest unused one was."""
    servers = [server("s0", "A", "C", runs="A"), server("s1", "B", "C", runs="B")]
    servers[0].last_acquired_at, servers[1].last_acquired_at = 9.0, 5.0

    assert places(servers, [waits("C")]) == ["s1"]


def test_who_has_a_server_waits_for_it_a_while() -> None:
    """A model whose server is running does not throw out another one's before its patience ends."""
    servers = [server("s0", "A", "B", runs="A", requests=1), server("s1", "A", "B", runs="B")]
    waiter = waits("A", came_at=100.0)

    assert places(servers, [waiter], now=101.9) == [None]
    assert next_change_s(servers, [waiter], 101.9, {}) == pytest.approx(0.1)
    assert places(servers, [waiter], now=102.0) == ["s1"]


def test_blocked_models_are_passed() -> None:
    """Who cannot be served lets those behind it go first, elsewhere or with another model."""
    servers = [server("s0", "A", runs="A", requests=1), server("s1", "B")]

    assert places(servers, [waits("A"), waits("B")]) == [None, "s1"]


def test_a_starved_model_holds_a_server_back() -> None:
    """After its patience no more requests are let in before it, and it is served when the last one has ended."""
    servers = [server("s0", "A", "B", runs="A", requests=2, slots=4)]
    starved, later = waits("B", came_at=100.0), waits("A", came_at=101.0)

    assert places(servers, [starved, later], now=101.5) == [None, "s0"]
    assert places(servers, [starved, later], now=102.0) == [None, None]
    servers[0].active_requests, servers[0].current_model = 0, None
    assert places(servers, [starved, later], now=102.0) == ["s0", None]


def test_who_came_before_the_starved_goes_first_where_its_model_is() -> None:
    """A turn ends with those who came before the one that takes over: they cost no swap."""
    servers = [server("s0", "A", "B", runs="A")]
    older, starved, younger = waits("A", 90.0), waits("B", 91.0), waits("A", 92.0)

    assert places(servers, [older, starved, younger]) == ["s0", None, None]
    assert places(servers, [starved, younger]) == ["s0", None]


def test_one_more_server_is_held_back_for_each_patience() -> None:
    """A server whose request never ends does not starve a model: after another patience the next one is drained too."""
    servers = [
        server("s0", "A", "B", runs="A", requests=1, slots=4),
        server("s1", "A", "B", runs="A", requests=2, slots=4),
    ]
    starved, later = waits("B", came_at=100.0), waits("A", came_at=101.0)

    assert places(servers, [starved, later], now=102.0) == [None, "s1"]
    assert next_change_s(servers, [starved], 102.0, {}) == pytest.approx(2.0)
    assert places(servers, [starved, later], now=104.0) == [None, None]


def test_a_model_that_is_loading_is_not_thrown_out() -> None:
    """A turn begins with the first answer: before it the loading would have been in vain."""
    loading = server("s0", "A", "B", runs="A", requests=1, slots=4)
    loading.turn_began_at = None

    assert places([loading], [waits("B", came_at=0.0), waits("A")]) == [None, "s0"]
    assert next_change_s([loading], [waits("B")], 100.0, {}) == inf


def test_a_model_that_is_being_served_is_not_starved() -> None:
    """Who waits behind others of its own model, which is served elsewhere, takes no server from another model."""
    servers = [server("s0", "A", "B", runs="A", requests=1), server("s1", "A", "B", runs="B")]
    patient, later = waits("A", came_at=95.0), waits("B", came_at=99.0)

    assert places(servers, [patient, later], served_at={"A": 97.0}) == [None, "s1"]


def test_direct_acquires_take_what_nobody_who_waits_can_use() -> None:
    """Who does not wait comes last, and swaps an idle server at once."""
    servers = [server("s0", "A", "B", runs="A", requests=1), server("s1", "A", "B", runs="B")]
    direct = Waiter("A", 100.0, 0.0, is_direct=True)

    assert places(servers, [direct]) == ["s1"]
    assert places(servers, [waits("B"), direct]) == ["s1", None]
    assert places(servers, [waits("A"), direct]) == [None, None]  # the first waits for s0, and may come to s1


def test_a_dead_server_is_given_to_nobody() -> None:
    """A server without models takes nobody; one that has none of the model neither."""
    assert places([server("s0"), server("s1", "B")], [waits("A")]) == [None]


def test_assignments_fit_together() -> None:
    """No answer puts more on a server than it takes, also when many wait."""
    pool = warm_pool(["A", "B"], ["A", "B"], max_concurrent=2)
    waiters = [waits(model) for model in "ABABABAB"]

    assert places(list(pool.servers.values()), waiters) == ["http://s0", "http://s1"] * 2 + [None] * 4
