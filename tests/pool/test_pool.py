"""Slots: taken at once, given back once, never for two models at a time."""

import copy
import pickle
from functools import partial

import pytest
from tests.pool.conftest import warm_pool

from cf_orch.pool import ServerConfig, ServerPool


def test_a_server_says_what_it_is() -> None:
    """A new server is idle and has nothing; it is busy when all its slots are taken; its key is not printed."""
    server = ServerConfig("http://gpu0:1234", api_key="secret", server_type="ollama")

    assert (server.available_models, server.active_requests, server.max_concurrent) == ([], 0, 1)
    assert (server.current_model, server.last_refresh_error, server.is_busy) == (None, None, False)
    assert "secret" not in repr(server)
    server.active_requests = 1
    assert server.is_busy
    with pytest.raises(ValueError, match="max_concurrent is at least 1, not 0"):
        ServerConfig("http://gpu0:1234", max_concurrent=0)


def test_servers_by_url() -> None:
    """A pool has its servers by url, in the order in which they were given, once each."""
    pool = ServerPool(["http://a", ServerConfig("http://b", api_key="k")])

    assert list(pool.servers) == ["http://a", "http://b"]
    assert [pool.get_server_url_by_index(index) for index in (0, 1, 2, -1)] == ["http://a", "http://b", None, None]
    with pytest.raises(ValueError, match="http://a is given twice"):
        ServerPool(["http://a", "http://a"])


def test_acquire_and_release() -> None:
    """A slot is taken on a server that has the model, and it is free again after its release."""
    pool = warm_pool(["A"], ["B"])

    url = pool.find_and_acquire("B")

    assert url == "http://s1"
    server = pool.servers["http://s1"]
    assert (server.active_requests, server.current_model, server.is_busy) == (1, "B", True)
    assert pool.find_and_acquire("B") is None
    assert pool.find_and_acquire("C") is None
    pool.release_server(url)
    assert (server.active_requests, server.current_model, server.resident_model) == (0, None, "B")
    assert pool.get_all_available_models() == {"A", "B"}


def test_a_running_server_takes_no_other_model() -> None:
    """Beside a running request only the same model is let in, until the last one has ended."""
    pool = warm_pool(["A", "B"], max_concurrent=3)
    first, second = pool.find_and_acquire("A"), pool.find_and_acquire("A")
    assert first
    assert second

    assert pool.find_and_acquire("B") is None
    pool.release_server(first)
    assert pool.servers[first].current_model == "A"
    assert pool.find_and_acquire("B") is None
    pool.release_server(second)
    assert pool.find_and_acquire("B") == "http://s0"


def test_two_warm_servers_never_swap() -> None:
    """A,B,A,B over two servers: each goes to the server that has the model, 100 times."""
    pool = warm_pool(["A", "B"], ["A", "B"])
    resident, swaps = dict[str, str](), 0

    for number in range(100):
        model = "AB"[number % 2]
        url = pool.find_and_acquire(model)
        assert url
        swaps += resident.get(url, model) != model
        resident[url] = model
        pool.release_server(url)

    assert swaps == 0


def test_a_slot_is_given_back_once() -> None:
    """A second release frees nobody else's slot, nor does a copy of the string that was sent away."""
    pool = warm_pool(["A"], max_concurrent=2)
    mine, other = pool.find_and_acquire("A"), pool.find_and_acquire("A")
    assert mine
    assert other

    pool.release_server(mine)
    pool.release_server(mine)

    assert pool.servers["http://s0"].active_requests == 1
    assert type(pickle.loads(pickle.dumps(mine))) is str
    assert copy.copy(mine) == mine == "http://s0"


def test_a_plain_url_frees_the_oldest_slot() -> None:
    """Who kept only the text of a url can release by it; what is not taken is not freed."""
    pool = warm_pool(["A"])
    assert pool.find_and_acquire("A")

    pool.release_server("http://s0")
    pool.release_server("http://s0")
    pool.release_server("http://nobody")

    assert pool.servers["http://s0"].active_requests == 0
    assert pool.find_and_acquire("A") == "http://s0"


def test_a_reported_server_is_dead() -> None:
    """Its models are cleared, its slot is free, its error is kept; others stay as they are; a release is harmless."""
    pool = warm_pool(["A"], ["A"])
    url = pool.find_and_acquire("A")
    assert url == "http://s0"

    pool.report_server_error(url, "connection refused")
    pool.release_server(url)

    server = pool.servers[url]
    assert (server.available_models, server.active_requests, server.current_model) == ([], 0, None)
    assert server.last_refresh_error == "connection refused"
    assert pool.servers["http://s1"].available_models == ["A"]
    assert pool.find_and_acquire("A") == "http://s1"
    assert pool.find_and_acquire("A") is None
    pool.report_server_error("http://nobody", "ignored")


def test_a_late_release_leaves_the_next_holder_alone() -> None:
    """A server dies, returns and is acquired by another: the first holder's release, or report, is about the past."""
    pool = warm_pool(["A", "B"], max_concurrent=2)
    server = pool.servers["http://s0"]
    reporter, witness = pool.find_and_acquire("A"), pool.find_and_acquire("A")
    assert reporter
    assert witness
    pool.report_server_error(reporter, "it broke")
    pool._listed(server, ["A", "B"])  # as a probe does
    newcomer = pool.find_and_acquire("A")
    assert newcomer

    pool.release_server(reporter)
    assert server.active_requests == 2
    pool.report_server_error(witness, "it broke")
    assert server.active_requests == 1
    assert server.available_models == ["A", "B"]
    assert server.last_refresh_error is None
    pool.report_server_error(newcomer, "it broke anew")
    assert server.last_refresh_error == "it broke anew"
    assert server.active_requests == 0


def test_others_on_a_dead_server_keep_their_slots() -> None:
    """A report frees the reporter's slot only: others may still be running, and no other model comes beside them."""
    pool = warm_pool(["A", "B"], max_concurrent=2)
    server = pool.servers["http://s0"]
    reporter, other = pool.find_and_acquire("A"), pool.find_and_acquire("A")
    assert reporter
    assert other

    pool.report_server_error(reporter, "it broke")
    pool._listed(server, ["A", "B"])

    assert server.current_model == "A"
    assert pool.find_and_acquire("B") is None
    pool.release_server(other)
    assert pool.find_and_acquire("B") == "http://s0"


def test_set_max_concurrent() -> None:
    """All servers take so many requests at once, and one at least."""
    pool = warm_pool(["A"], ["A"])

    pool.set_max_concurrent(4)
    assert [server.max_concurrent for server in pool.servers.values()] == [4, 4]
    pool.set_max_concurrent(0)
    assert [server.max_concurrent for server in pool.servers.values()] == [1, 1]


async def test_resource_available_is_set() -> None:
    """The event is set when a slot became free, a server died, or models changed."""
    pool = warm_pool(["A"])
    url = pool.find_and_acquire("A")
    assert url
    happenings = [
        partial(pool.release_server, url),
        partial(pool.set_max_concurrent, 2),
        partial(pool.report_server_error, "http://s0", "it broke"),
    ]
    for happening in happenings:
        pool.resource_available.clear()
        happening()
        assert pool.resource_available.is_set()
    pool.close()
