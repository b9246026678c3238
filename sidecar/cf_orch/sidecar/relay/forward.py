"""What only the coordinator can answer goes to it as it is, and its answer comes back as it is."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
import msgspec
from aiohttp import hdrs, web

from cf_orch.client.address import Address
from cf_orch.doors.asked import SESSION_HEADER, Answer, Asked, Caller
from cf_orch.doors.problems import Stopping
from cf_orch.protocol.operations import API_PREFIX, Operation

__all__ = ["Forward"]

ANSWERS_WITHIN_S = 65.0
"""Longer than any call is held back."""
CONNECTS_WITHIN_S = 1.0
LOOK_EVERY_S = 0.2
_NOT_PASSED_ON = frozenset(
    {
        "connection", "content-length", "host", "keep-alive", "proxy-authorization", "te", "trailer",
        "transfer-encoding", "upgrade", "authorization", "content-encoding",
    }
)  # fmt: skip
"""What belongs to one connection, not to the message; and the secret between a product and its sidecar."""


class Forward:
    """Calls the coordinator by HTTP, under the first of its addresses that answers."""

    def __init__(self, addresses: tuple[Address, ...], token: str | None, is_away: Callable[[], bool]) -> None:
        """Connect to nobody yet; ``is_away`` tells whether the coordinator is known not to answer."""
        self._addresses = addresses
        self._is_away = is_away
        self._headers = {hdrs.AUTHORIZATION: f"Bearer {token}"} if token else {}
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def call(self, operation: Operation, who: Caller, asked: Asked[Any, Any]) -> Answer:
        """Make a call of the table.  Raises Stopping when nobody answers."""
        subject = operation.subject
        path = API_PREFIX + operation.path
        if subject is not None:
            path = path.replace(f"{{{subject}}}", asked.subject)
        query = {} if asked.query is None or operation.query is None else _said(asked.query, operation.query)
        body = None if asked.body is None or operation.body is None else _encoded(asked.body, operation.body)
        headers: dict[str, str] = {hdrs.CONTENT_TYPE: "application/json"} if body else {}
        if who.session_id is not None:
            headers[SESSION_HEADER] = who.session_id
        async with await self._send(operation.method, path, params=query, data=body, headers=headers) as response:
            content = await response.read()
            return Answer(response.status, msgspec.Raw(content) if content else None)

    async def relay(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on, and the answer back, as it comes."""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_PASSED_ON}
        body = await request.read() or None
        async with await self._send(request.method, request.path_qs, data=body, headers=headers) as response:
            kept = {name: value for name, value in response.headers.items() if name.lower() not in _NOT_PASSED_ON}
            answer = web.StreamResponse(status=response.status, headers=kept)
            await answer.prepare(request)
            async for chunk in response.content.iter_any():
                await answer.write(chunk)
            await answer.write_eof()
        return answer

    async def close(self) -> None:
        """Let go of all connections."""
        for session in self._sessions.values():
            await session.close()

    async def _send(self, method: str, path: str, **what: Any) -> aiohttp.ClientResponse:
        reasons: list[str] = []
        for address in self._addresses:
            try:
                return await self._unless_away(self._session(address).request(method, path, **what))
            except (aiohttp.ClientConnectionError, TimeoutError, OSError) as error:
                reasons.append(f"{address.url}: {error or type(error).__name__}")
        raise Stopping(f"no coordinator answers, and this is its to tell ({'; '.join(reasons)}): try again later")

    async def _unless_away(self, request: Coroutine[Any, Any, aiohttp.ClientResponse]) -> aiohttp.ClientResponse:
        """Make a request for as long as there is somebody to answer it."""
        asking = asyncio.create_task(request)
        try:
            for _ in range(int(ANSWERS_WITHIN_S / LOOK_EVERY_S)):
                if (await asyncio.wait([asking], timeout=LOOK_EVERY_S))[0]:
                    return asking.result()
                if self._is_away():
                    break
            raise TimeoutError("no answer")
        finally:
            asking.cancel()

    def _session(self, address: Address) -> aiohttp.ClientSession:
        if address.url not in self._sessions:
            connector = aiohttp.UnixConnector(address.socket_path) if address.socket_path else aiohttp.TCPConnector()
            base = address.connect_url.removesuffix(f"{API_PREFIX}/connect")
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECTS_WITHIN_S)
            self._sessions[address.url] = aiohttp.ClientSession(
                base, connector=connector, headers=self._headers, timeout=timeout, auto_decompress=False
            )
        return self._sessions[address.url]


def _said(message: msgspec.Struct, kind: type[msgspec.Struct]) -> dict[str, str]:
    """The fields of a query that say something; a frame of the WebSocket has others beside."""
    values = {name: getattr(message, name) for name in kind.__struct_fields__}
    return {name: f"{value}" for name, value in values.items() if value is not None}


def _encoded(message: msgspec.Struct, kind: type[msgspec.Struct]) -> bytes:
    return msgspec.json.encode({name: getattr(message, name) for name in kind.__struct_fields__})
