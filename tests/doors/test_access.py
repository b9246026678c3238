"""Who may come in: the token, the machine itself, and no page from elsewhere."""

from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from cf_orch.coordinator.doors import make_app
from cf_orch.coordinator.engine import Engine
from cf_orch.doors import open_doors
from cf_orch.doors.access import is_loopback

TOKEN = "a shared secret"


@pytest.fixture
async def guarded(engine: Engine, stack: AsyncExitStack, tmp_path: Path) -> tuple[aiohttp.ClientSession, ...]:
    """Serve with a token; return clients by port and by unix socket."""
    path = tmp_path / "sock"
    app = make_app(engine, token=TOKEN)
    doors = await stack.enter_async_context(open_doors(app, host="127.0.0.1", unix_path=path))
    connector = aiohttp.UnixConnector(str(path))
    return (
        await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{doors.port}")),
        await stack.enter_async_context(aiohttp.ClientSession("http://cf-orch", connector=connector)),
    )


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (None, 401),
        ("Bearer", 401),
        ("Bearer another", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer \u00e9\udcff", 401),
    ],
)
async def test_the_port_wants_the_token(
    authorization: str | None, status: int, guarded: tuple[aiohttp.ClientSession, ...]
) -> None:
    """Who has the token comes in, nobody else does, and the answer says how to ask."""
    headers = {} if authorization is None else {"Authorization": authorization}

    async with guarded[0].get("/api/v1/devices", headers=headers) as answer:
        assert answer.status == status
        if status == 401:
            assert (await answer.json(content_type="application/problem+json"))["code"] == "not_authorized"
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/api/v1/connect", "/api/v1/events", "/openapi.json", "/no/such"])
async def test_nothing_else_is_said_without_the_token(path: str, guarded: tuple[aiohttp.ClientSession, ...]) -> None:
    """Streams, sockets and descriptions want the token too, and what is not there is not told apart."""
    async with guarded[0].get(path) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probers_need_no_token(path: str, guarded: tuple[aiohttp.ClientSession, ...]) -> None:
    """Whether it lives and serves is no secret."""
    async with guarded[0].get(path) as answer:
        assert answer.status == 200


async def test_the_unix_socket_needs_no_token(guarded: tuple[aiohttp.ClientSession, ...]) -> None:
    """Over the socket the file's permission says who may come in."""
    async with guarded[1].get("/api/v1/devices") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:7700"}, 200),
        ({"Host": "[::1]:7700"}, 200),
        ({"Host": "evil.example:7700"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost:7700", "Origin": "http://localhost:7700"}, 200),
        ({"Host": "localhost:7700", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost:7700", "Origin": "null"}, 403),
    ],
)
async def test_a_page_from_elsewhere_stays_out(
    headers: dict[str, str], status: int, session: aiohttp.ClientSession, engine: Engine
) -> None:
    """Without a token a browser's request from another site, or by another name, is refused."""
    before = engine.ledger.snapshot()

    async with session.post("/api/v1/devices/d0/undrain", headers=headers) as answer:
        assert answer.status == status
        if status == 403:
            assert (await answer.json(content_type="application/problem+json"))["code"] == "foreign_origin"

    assert engine.ledger.snapshot() == before


def test_what_is_loopback() -> None:
    """Names and addresses that only this machine reaches."""
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.evil", ""))
