"""A small blocking caller of the HTTP API, for commands: one question, one answer."""

import argparse
import http.client
import os
import socket
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from cf_orch.client.address import Address, find_addresses
from cf_orch.protocol.errors import Problem
from cf_orch.sidecar.commands.failures import EXIT_WRONG_USAGE, CommandFailed

__all__ = ["Api", "Unreachable"]

T = TypeVar("T")

TIMEOUT_S = 10.0


class Unreachable(CommandFailed):
    """Nobody answers there."""


class Api:
    """The coordinators that may be asked, in order, and the token to show them."""

    def __init__(self, addresses: tuple[Address, ...], token: str | None = None) -> None:
        """Ask the first of these that answers."""
        self._addresses = addresses
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    @classmethod
    def named(cls, arguments: argparse.Namespace) -> "Api":
        """Find the coordinator by ``--url``, by CF_ORCH_URL, or where it is by default."""
        try:
            return cls(find_addresses(arguments.url), os.environ.get("CF_ORCH_TOKEN"))
        except ValueError as error:
            raise CommandFailed(str(error), EXIT_WRONG_USAGE) from None

    def get(self, answer: type[T], path: str, **query: str | float | None) -> T:
        """Ask for an answer of a type; what is None stays out of the query."""
        return _decode(self.get_text(path, **query), answer)

    def get_text(self, path: str, **query: str | float | None) -> str:
        """Ask for an answer as it comes."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._call("GET", path + ("?" + urlencode(given) if given else ""), None)

    def post(self, answer: type[T], path: str, body: msgspec.Struct | None = None) -> T:
        """Tell the coordinator to do something."""
        return _decode(self._call("POST", path, body), answer)

    def _call(self, method: str, path: str, body: msgspec.Struct | None) -> str:
        silent: list[str] = []
        for address in self._addresses:
            connection = _connection(address)
            try:
                return self._call_on(connection, address, method, path, body)
            except (OSError, http.client.HTTPException) as error:
                silent.append(f"{address.url} ({_reason(error)})")
            finally:
                connection.close()
        raise Unreachable(
            f"no coordinator answers at {' or '.join(silent)}: start one with `cf-orch serve`, or set CF_ORCH_URL"
        )

    def _call_on(
        self,
        connection: http.client.HTTPConnection,
        address: Address,
        method: str,
        path: str,
        body: msgspec.Struct | None,
    ) -> str:
        prefix = urlsplit(address.connect_url).path.removesuffix("/connect")
        content = None if body is None else msgspec.json.encode(body)
        headers = self._headers | ({} if body is None else {"Content-Type": "application/json"})
        connection.request(method, prefix + path, content, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status >= http.client.BAD_REQUEST:
            raise _refusal(address, response, answer)
        return answer.decode(errors="replace")


def _connection(address: Address) -> http.client.HTTPConnection:
    if address.socket_path is not None:
        return _UnixConnection(address.socket_path)
    parts = urlsplit(address.connect_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.netloc, timeout=TIMEOUT_S)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


def _refusal(address: Address, response: http.client.HTTPResponse, answer: bytes) -> CommandFailed:
    try:
        problem = msgspec.json.decode(answer, type=Problem)
    except msgspec.MsgspecError:
        said = f"{address.url} answered {response.status} {response.reason}"
        return CommandFailed(f"{said}, as no coordinator does: is CF_ORCH_URL (or --url) right?")
    return CommandFailed(_printable(problem.detail))


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {TIMEOUT_S:g} s"
    text = error.strerror if isinstance(error, OSError) else None
    return (text or str(error) or type(error).__name__).lower()


def _decode(text: str, kind: type[T]) -> T:
    try:
        return msgspec.convert(_printable(msgspec.json.decode(text)), kind)
    except msgspec.MsgspecError as error:
        raise CommandFailed(f"the answer is no coordinator's ({error}): is CF_ORCH_URL (or --url) right?") from None


def _printable(value: Any) -> Any:
    """Take out what could steer a terminal: a process may have any name."""
    match value:
        case str():
            return "".join(letter if letter.isprintable() else "?" for letter in value)
        case list():
            return [_printable(item) for item in value]
        case Mapping():
            return {_printable(key): _printable(item) for key, item in value.items()}
        case _:
            return value
