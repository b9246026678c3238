"""Where a coordinator may be found: http://HOST:PORT, or unix:///PATH."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from cf_orch.protocol.operations import API_PREFIX

__all__ = ["Address", "find_addresses"]

DEFAULT_SOCKET = Path("/run/cf-orch/sock")
DEFAULT_URL = "http://127.0.0.1:7700"


class Address(msgspec.Struct, frozen=True):
    """One place to try: the URL as it was given, where to connect, and over which socket file, if over one."""

    url: str
    connect_url: str
    socket_path: str | None = None

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read a URL; raises ValueError that says what one looks like."""
        parts = urlsplit(url)
        if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
            return cls(url, f"http://localhost{API_PREFIX}/connect", parts.path)
        if parts.scheme in ("http", "https") and parts.hostname:
            return cls(url, f"{url.rstrip('/')}{API_PREFIX}/connect")
        raise ValueError(f"{url!r} is no address of a coordinator: write http://HOST:7700 or unix:///run/cf-orch/sock")


def find_addresses(url: str | None, environ: Mapping[str, str] = os.environ) -> tuple[Address, ...]:
    """The addresses to try in turn: the argument's, else CF_ORCH_URL's, else the unix socket, else TCP here."""
    given = url or environ.get("CF_ORCH_URL") or _default_url()
    return tuple(Address.parse(part.strip()) for part in given.split(",") if part.strip())


def _default_url() -> str:
    try:
        is_socket = stat.S_ISSOCK(DEFAULT_SOCKET.stat().st_mode)
    except OSError:
        is_socket = False
    return f"unix://{DEFAULT_SOCKET}" if is_socket else DEFAULT_URL
