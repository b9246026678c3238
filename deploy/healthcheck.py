#!/usr/bin/env python3
"""Ask a coordinator or a sidecar whether it lives; exit status 0 if it does, else 1 and a sentence that says why not.

    cf-orch-healthcheck unix:///run/cf-orch/sock
    cf-orch-healthcheck http://127.0.0.1:7700

Nothing but the standard library, and little of that: it runs every few seconds.
"""

import http.client
import socket
import sys
from urllib.parse import urlsplit

WITHIN_S = 4.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def main(url: str) -> int | str:
    """Ask once; what is returned is for ``sys.exit``."""
    parts = urlsplit(url)
    if parts.scheme == "unix" and parts.path:
        connection: http.client.HTTPConnection = _UnixConnection(parts.path, WITHIN_S)
    elif parts.scheme == "http" and parts.hostname:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=WITHIN_S)
    else:
        return f"{url!r} cannot be asked: write unix:///run/cf-orch/sock or http://127.0.0.1:7700"
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{url} does not answer: {error}"
    finally:
        connection.close()
    return 0 if status == http.client.OK else f"{url} answers {status} where 200 means that all is well"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) if sys.argv[1:] else "usage: cf-orch-healthcheck URL")
