"""Opening the doors: ports and sockets that are taken, left over, or not permitted."""

import socket
import stat
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from cf_orch.coordinator.doors import make_app
from cf_orch.coordinator.engine import Engine
from cf_orch.doors import CannotListen, open_doors


async def test_a_port_in_use_is_one_line_that_names_it(engine: Engine, stack: AsyncExitStack) -> None:
    """Who starts a second coordinator reads which port is taken."""
    first = await stack.enter_async_context(open_doors(make_app(engine), host="127.0.0.1"))
    assert first.port is not None

    with pytest.raises(CannotListen) as refused:
        await stack.enter_async_context(open_doors(make_app(engine), host="127.0.0.1", port=first.port))

    assert f"port {first.port} of 127.0.0.1 is in use" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org"])
async def test_other_addresses_need_a_token(host: str, engine: Engine, stack: AsyncExitStack) -> None:
    """Without a token nobody but this machine is served."""
    with pytest.raises(CannotListen, match="CF_ORCH_TOKEN"):
        await stack.enter_async_context(open_doors(make_app(engine), host=host))


async def test_other_addresses_are_served_with_a_token(engine: Engine, stack: AsyncExitStack) -> None:
    """With a token any address is served."""
    doors = await stack.enter_async_context(open_doors(make_app(engine, token="t"), host="0.0.0.0"))

    assert doors.port


async def test_an_address_that_is_not_ours_is_refused(engine: Engine, stack: AsyncExitStack) -> None:
    """An address that no interface has is named."""
    with pytest.raises(CannotListen, match=r"cannot listen on 192\.0\.2\.1:0"):
        await stack.enter_async_context(open_doors(make_app(engine, token="t"), host="192.0.2.1"))


async def test_the_socket_is_for_owner_and_group(engine: Engine, tmp_path: Path) -> None:
    """The unix socket has mode 0660, and its name goes when the doors close."""
    path = tmp_path / "sock"

    async with open_doors(make_app(engine), unix_path=path):
        mode = stat.S_IMODE(path.stat().st_mode)

    assert mode == 0o660
    assert not path.exists()


async def test_a_socket_left_behind_is_taken_over(engine: Engine, stack: AsyncExitStack, tmp_path: Path) -> None:
    """A file that a killed coordinator left, and on which nobody answers, is replaced."""
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    await stack.enter_async_context(open_doors(make_app(engine), unix_path=path))
    connector = aiohttp.UnixConnector(str(path))
    session = await stack.enter_async_context(aiohttp.ClientSession("http://cf-orch", connector=connector))

    async with session.get("/healthz") as answer:
        assert answer.status == 200


async def test_a_socket_that_answers_is_left_alone(engine: Engine, stack: AsyncExitStack, tmp_path: Path) -> None:
    """Two coordinators never share a socket, and the second does not take the first one's name away."""
    path = tmp_path / "sock"
    await stack.enter_async_context(open_doors(make_app(engine), unix_path=path))

    with pytest.raises(CannotListen, match="in use by another coordinator"):
        await stack.enter_async_context(open_doors(make_app(engine), unix_path=path))

    assert path.is_socket()


async def test_a_file_is_no_socket(engine: Engine, stack: AsyncExitStack, tmp_path: Path) -> None:
    """What is not a socket is never removed."""
    path = tmp_path / "notes.txt"
    path.write_text("mine")

    with pytest.raises(CannotListen, match="no socket"):
        await stack.enter_async_context(open_doors(make_app(engine), unix_path=path))

    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["missing/sock", "x" * 120])
async def test_a_path_that_cannot_be_is_named(name: str, engine: Engine, stack: AsyncExitStack, tmp_path: Path) -> None:
    """A folder that is not there, or a path that is too long, is one line with the path in it."""
    with pytest.raises(CannotListen, match="cannot open the socket") as refused:
        await stack.enter_async_context(open_doors(make_app(engine), unix_path=tmp_path / name))

    assert name in str(refused.value)
