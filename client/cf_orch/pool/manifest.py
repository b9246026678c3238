"""What models a server has: its answer to GET /v1/models."""

import functools
import ssl
from http import HTTPStatus

import httpx
import msgspec

from cf_orch.pool.server import ServerConfig

__all__ = ["ANSWERS_WITHIN_S", "ManifestError", "fetch_models", "manifest_client"]

ANSWERS_WITHIN_S = 10.0


class ManifestError(Exception):
    """The server did not say what models it has; the text says what it did instead."""


class _Model(msgspec.Struct):
    id: str


class _ModelList(msgspec.Struct):
    data: list[_Model] | None  # Ollama says null when it has none


def manifest_client(within_s: float) -> httpx.AsyncClient:
    """A client for one round of questions, each of which is given up after so many seconds."""
    return httpx.AsyncClient(timeout=within_s, verify=_trusted(), follow_redirects=True)


async def fetch_models(client: httpx.AsyncClient, server: ServerConfig) -> list[str]:
    """Ask a server for its models, in its own order.  Raises ManifestError."""
    headers = {"Authorization": f"Bearer {server.api_key}"} if server.api_key else {}
    url = f"{server.url.rstrip('/').removesuffix('/v1')}/v1/models"
    try:
        response = await client.get(url, headers=headers)
    except httpx.TimeoutException:
        raise ManifestError(f"no answer within {client.timeout.read:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ManifestError(str(error) or type(error).__name__) from None
    if response.status_code != HTTPStatus.OK:
        raise ManifestError(f"HTTP {response.status_code}")
    try:
        listed = msgspec.json.decode(response.content, type=_ModelList)
    except msgspec.MsgspecError as error:
        raise ManifestError(f"its /v1/models is no list of models: {error}") from None
    return [model.id for model in listed.data or ()]


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The certificates that httpx trusts by default, read once: it takes long enough to hold up an event loop."""
    return httpx.create_ssl_context()
