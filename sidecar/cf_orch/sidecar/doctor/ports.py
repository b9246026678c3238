"""Checks of the ports where the coordinator and the sidecar would listen."""

import http.client
from urllib.parse import urlsplit

from cf_orch.sidecar.doctor.finding import Finding, Level
from cf_orch.sidecar.doctor.machine import Machine

__all__ = ["check_ports"]

_LISTENING = "0A"


def check_ports(machine: Machine) -> list[Finding]:
    """Tell whether they are free, or ours."""
    return [
        *_check(machine, machine.settings.coordinator_port, "coordinator", "cf-orch serve --port N (CF_ORCH_PORT)"),
        *_check(machine, machine.settings.sidecar_port, "sidecar", "another port for the sidecar"),
    ]


def _check(machine: Machine, port: int, whose: str, other: str) -> list[Finding]:
    id_ = f"ports.{whose}"
    state = _state(port, machine.answer_within_s)
    if state == "free":
        return [Finding(id_, "ok", f"port {port} is free", f"the {whose} can listen there")]
    if state == "ours":
        return [Finding(id_, "ok", f"port {port} is cf-orch's", f"the {whose} is running")]
    who = _listener(machine, port) or "another program (of another user, or outside this container)"
    level: Level = "error" if whose == "coordinator" and _is_meant(machine, port) else "warning"
    why = f"the {whose} cannot listen there" + (", and clients ask that program for leases" if level == "error" else "")
    return [Finding(id_, level, f"port {port} is taken by {who}", why, f"stop it, or use {other}")]


def _state(port: int, within_s: float) -> str:
    """Tell whether nobody listens, or one of ours, or another."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=within_s)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return "free"
    except OSError:
        return "other"
    try:
        connection.request("GET", "/api/v1/status")
        response = connection.getresponse()
        body = response.read(2**16)
    except (OSError, http.client.HTTPException):
        return "other"
    finally:
        connection.close()
    is_ours = b'"ledger_id"' in body or (response.status in (401, 403) and b'"not_authorized"' in body)
    return "ours" if is_ours else "other"


def _is_meant(machine: Machine, port: int) -> bool:
    """Tell whether clients of this machine look for their coordinator at this port."""
    try:
        urls = [urlsplit(address.connect_url) for address in machine.addresses() if address.socket_path is None]
        return any(url.hostname in ("127.0.0.1", "localhost", "::1") and url.port == port for url in urls)
    except ValueError:
        return False


def _listener(machine: Machine, port: int) -> str | None:
    """Name the process that listens, if this user may know."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(machine, port)}
    for pid in (name for name in machine.names("/proc") if name.isdecimal()):
        for number in machine.names(f"/proc/{pid}/fd"):
            if machine.link(f"/proc/{pid}/fd/{number}") in sockets:
                return f"{machine.procfs.name(int(pid))} (pid {pid})"
    return None


def _listening_inodes(machine: Machine, port: int) -> set[str]:
    """Read /proc/net/tcp, whose second column is ADDRESS:PORT in hex, fourth the state, tenth the socket's inode."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        for line in (machine.text(f"/proc/net/{table}") or "").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes
