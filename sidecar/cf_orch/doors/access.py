"""Who may come in: whoever knows the token, or, where there is none, whoever is on this machine.

Over the unix socket the file's permission says who may.  Without a token a web page must not reach the coordinator
through its visitor's browser: a page from elsewhere betrays itself by its Origin, one whose name was pointed at this
machine by the Host that it calls.
"""

import hmac
import ipaddress
import socket
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from cf_orch.ledger import Refusal

__all__ = ["OPEN_PATHS", "check_access", "is_loopback"]

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What a prober may ask without a token: nothing is said there but yes or no."""


def check_access(request: web.Request, token: str | None) -> None:
    """Raise Refusal not_authorized or foreign_origin for one who may not come in."""
    if _is_unix(request) or request.path in OPEN_PATHS:
        return
    if token is None:
        _check_browser(request)
    elif not _bears(request, token):
        raise Refusal(
            "not_authorized",
            "a token is wanted here: send 'Authorization: Bearer TOKEN' (CF_ORCH_TOKEN for our own programs)",
        )


def _is_unix(request: web.Request) -> bool:
    connection = request.get_extra_info("socket")
    return connection is not None and connection.family == socket.AF_UNIX


def _bears(request: web.Request, token: str) -> bool:
    scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), token.encode())
    return same and scheme.lower() == "bearer"


def _check_browser(request: web.Request) -> None:
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise Refusal("foreign_origin", f"a page from {origin!a} may not call this coordinator: set CF_ORCH_TOKEN")
    name = urlsplit(f"//{request.host}").hostname or ""
    if not is_loopback(name):
        raise Refusal(
            "foreign_origin",
            f"without a token this coordinator is called by localhost or 127.0.0.1, not by {name!a}: set CF_ORCH_TOKEN",
        )


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
