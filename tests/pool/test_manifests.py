"""What servers have, asked of real ones: slow, dead, flapping, unauthorised."""

import asyncio
import subprocess
import sys

import pytest
from tests.pool.conftest import Engine, StartEngine, eventually

from cf_orch.pool import ConcurrentDispatcher, NoModelsAvailableError, ServerConfig, ServerPool


async def test_models_are_listed(engine: StartEngine) -> None:
    """Each server's models are asked with its own key; a url may end in /v1 or a slash."""
    open_, closed = await engine("A"), await engine("A", "B", api_key="k")
    servers: list[str | ServerConfig] = [f"{open_.url}/", ServerConfig(f"{closed.url}/v1", api_key="k")]

    async with ServerPool(servers) as pool:
        assert pool.get_all_available_models() == {"A", "B"}
        assert pool.servers[f"{closed.url}/v1"].available_models == ["A", "B"]
        assert pool.find_and_acquire("B") == f"{closed.url}/v1"


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, "", "HTTP 401"),
        (503, "", "HTTP 503"),
        (200, "<html>", "its /v1/models is no list of models"),
        (200, '{"data": [{"name": "A"}]}', "its /v1/models is no list of models"),
    ],
)
async def test_bad_answers(engine: StartEngine, status: int, body: str, says: str) -> None:
    """Whatever a server answers but a list of models is kept as its error, and it has no models any more."""
    server = await engine("A")
    async with ServerPool([server.url]) as pool:
        server.status, server.body = status, body

        await pool.refresh_all_manifests()

        assert (pool.servers[server.url].last_refresh_error or "").startswith(says)
        assert pool.servers[server.url].available_models == []
        with pytest.raises(NoModelsAvailableError, match=says):
            await ConcurrentDispatcher(pool).submit("A")


async def test_no_models_yet(engine: StartEngine) -> None:
    """An engine that lists nothing, or null, is well and empty."""
    server = await engine()
    server.body = '{"object": "list", "data": null}'

    async with ServerPool([server.url]) as pool:
        assert pool.servers[server.url].available_models == []
        assert pool.servers[server.url].last_refresh_error is None


async def test_one_dead_server_does_not_hold_up_the_others(engine: StartEngine) -> None:
    """The slow and the dead have their errors, and the models of the others are there."""
    slow, well = await engine("A"), await engine("A")
    slow.answers.clear()
    gone = Engine(["A"])

    async with ServerPool([slow.url, gone.url, well.url], manifest_timeout_s=0.3) as pool:
        assert pool.servers[slow.url].last_refresh_error == "no answer within 0.3 s"
        assert "failed" in (pool.servers[gone.url].last_refresh_error or "")
        assert pool.find_and_acquire("A") == well.url


async def test_a_dead_server_comes_back() -> None:
    """A server that was dead from the start, or was reported, is asked until it answers, and then serves."""
    server = Engine(["A"])
    async with ServerPool([server.url], probe_after_s=0.02) as pool:
        assert pool.servers[server.url].last_refresh_error is not None
        await server.start()
        await eventually(lambda: pool.servers[server.url].available_models == ["A"])

        url = pool.find_and_acquire("A")
        assert url
        pool.report_server_error(url, "connection reset")
        assert pool.find_and_acquire("A") is None
        await eventually(lambda: pool.find_and_acquire("A") == server.url)
    await server.stop()


async def test_a_flapping_server_is_asked_ever_less_often(engine: StartEngine) -> None:
    """One that answers /v1/models and fails every request is tried again after longer and longer; success forgives."""
    server = await engine("A")
    delays = []
    async with ServerPool([server.url], probe_after_s=0.01) as pool:
        config = pool.servers[server.url]
        for _ in range(4):
            url = pool.find_and_acquire("A")
            assert url
            pool.report_server_error(url, "HTTP 500")
            delays.append(pool._prober.delay_s(config))
            await eventually(lambda: config.available_models == ["A"])
        url = pool.find_and_acquire("A")
        assert url
        pool.release_server(url)

        assert delays == [0.01, 0.02, 0.04, 0.08]
        assert pool._prober.delay_s(config) == 0.01


async def test_an_answer_from_before_the_death_is_not_believed(engine: StartEngine) -> None:
    """A list that was asked for before the server was reported does not bring it back."""
    server = await engine("A")
    async with ServerPool([server.url], probe_after_s=60) as pool:
        server.answers.clear()
        refresh = asyncio.create_task(pool.refresh_all_manifests())
        await eventually(lambda: server.asked == 2)

        pool.report_server_error(server.url, "connection reset")
        server.answers.set()
        await refresh

        assert pool.servers[server.url].last_refresh_error == "connection reset"
        assert pool.get_all_available_models() == set()


async def test_a_closed_pool_asks_nobody() -> None:
    """After the block no probe is left."""
    async with ServerPool([Engine(["A"]).url], probe_after_s=60) as pool:
        assert len(pool._prober._tasks) == 1
    assert not pool._prober._tasks


def test_the_client_does_not_load_httpx() -> None:
    """Only the pool pays for httpx."""
    code = "import sys, {}; print('httpx' in sys.modules)"
    shown = [
        subprocess.run([sys.executable, "-c", code.format(module)], capture_output=True, text=True, check=True).stdout
        for module in ("cf_orch.client, cf_orch.client.blocking, cf_orch.client.lifespan", "cf_orch.pool")
    ]

    assert [line.strip() for line in shown] == ["False", "True"]
