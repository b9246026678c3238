"""Opening the doors: the port and the unix socket on which one application is served."""

import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from cf_orch.doors.access import is_loopback
from cf_orch.doors.http import TOKEN

__all__ = ["CannotListen", "Doors", "open_doors"]

BACKLOG = 512
UNIX_MODE = 0o660
SHUTDOWN_WITHIN_S = 2.0


class CannotListen(Exception):  # noqa: N818 - it names what happened
    """A door cannot be opened; the message is one line, and says which and what to do."""


class Doors(NamedTuple):
    """Where the application is served; ``port`` is the one that was found where 0 was asked for."""

    host: str | None
    port: int | None
    unix_path: Path | None


@asynccontextmanager
async def open_doors(
    app: web.Application, *, host: str | None = None, port: int = 0, unix_path: Path | None = None
) -> AsyncIterator[Doors]:
    """Serve an application on a TCP port, on a unix socket, or on both, until the context ends.

    Raises CannotListen: in use, not permitted, or open to others without a token.
    """
    if host is not None and not is_loopback(host) and app.get(TOKEN) is None:
        raise CannotListen(
            f"refused to serve {host}:{port} without a token, for anybody could take the memory: "
            "set CF_ORCH_TOKEN, or serve 127.0.0.1"
        )
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_WITHIN_S)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        found_port = None if host is None else await _open_port(runner, host, port)
        if unix_path is not None:
            await web.SockSite(runner, _bound(unix_path), backlog=BACKLOG).start()
            stack.callback(_remover(unix_path))
        yield Doors(host, found_port, unix_path)


async def _open_port(runner: web.AppRunner, host: str, port: int) -> int:
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(
                f"port {port} of {host} is in use by another program: stop that one, or choose another port"
            ) from error
        raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    found: int = runner.addresses[0][1]
    return found


# --- the unix socket


def _bound(path: Path) -> socket.socket:
    """Bind a socket that only its owner and group may use; nobody can reach it before it listens."""
    _remove_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(UNIX_MODE)
    except OSError as error:
        bound.close()
        raise CannotListen(f"cannot open the socket {path}: {error.strerror or error}") from error
    return bound


def _remove_stale(path: Path) -> None:
    """Remove what a coordinator that was killed left behind; one that answers stays."""
    if not path.exists():
        return
    if not path.is_socket():
        raise CannotListen(f"cannot open the socket {path}: a file that is no socket is there; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # somebody listens, and has much to do
        except OSError as error:
            raise CannotListen(f"cannot open the socket {path}: {error.strerror or error}") from error
    raise CannotListen(f"the socket {path} is in use by another coordinator: stop that one, or choose another path")


def _remover(path: Path) -> Callable[[], None]:
    """Return what takes the socket's name away, if it is still our own."""
    inode = path.stat().st_ino

    def remove() -> None:
        if path.exists() and path.stat().st_ino == inode:
            path.unlink()

    return remove
