"""Who is at the other end of a unix socket, by the kernel's account.

A process in a container says the pid that it has there; the driver and we know it by another.  The kernel tells a
socket's peer as *we* know it (SO_PEERCRED, unix(7)), or says 0 for one that our pid namespace does not show.
"""

import os
import socket
import struct
from typing import NamedTuple

from aiohttp import web

from cf_orch.gpus import ProcFs

__all__ = ["Peer", "peer_of"]

_CREDENTIALS = struct.Struct("3i")


class Peer(NamedTuple):
    """A process as this host's own pid namespace knows it."""

    pid: int
    pid_start: int | None


def peer_of(request: web.Request) -> Peer | None:
    """Return the process that opened the request's connection; None over TCP, and for one that cannot be seen."""
    connection = request.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    with socket.socket(fileno=os.dup(connection.fileno())) as copy:
        pid, _uid, _gid = _CREDENTIALS.unpack(copy.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Peer(pid, ProcFs().start_ticks(pid)) if pid > 0 else None
