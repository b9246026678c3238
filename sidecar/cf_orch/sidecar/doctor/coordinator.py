"""Checks of the coordinator that a client of this machine would use."""

import asyncio
import contextlib
import email.utils
import os
import socket
import time
from threading import Thread
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
import msgspec

from cf_orch.client.address import Address
from cf_orch.client.connection import connect
from cf_orch.client.errors import CoordinatorUnreachable, NotAuthorized
from cf_orch.protocol.operations import API_PREFIX
from cf_orch.sidecar.doctor.cuda_versions import parse_version, shown_version
from cf_orch.sidecar.doctor.finding import Finding
from cf_orch.sidecar.doctor.machine import Machine

__all__ = ["check_coordinator"]

FAR_APART_S = 5.0
"""HTTP tells the time in whole seconds, and an answer takes its time."""
_MINORS_APART = 2


class _Status(msgspec.Struct):
    """What is needed here of GET /status."""

    version: str
    devices: list[msgspec.Raw]
    queued: int


class _Answer(NamedTuple):
    """What one address answered: an HTTP status, its body, how far its clock is ahead, None if it does not tell."""

    status: int
    body: bytes
    ahead_s: float | None


class _Silent(Exception):  # noqa: N818 - it names what happened
    """Nobody answers there; ``str()`` says why."""


def check_coordinator(machine: Machine) -> list[Finding]:
    """Ask each address that a client would try, as a client does."""
    try:
        addresses = machine.addresses()
    except ValueError as error:
        return [Finding("coordinator", "error", str(error), "no client finds its coordinator", "set CF_ORCH_URL right")]
    unresolved = _unresolved({_host(address) for address in addresses} - {None}, machine.answer_within_s)
    return asyncio.run(_ask_all(addresses, unresolved, machine))


def _host(address: Address) -> str | None:
    return None if address.socket_path is not None else urlsplit(address.connect_url).hostname


def _unresolved(hosts: set[str | None], within_s: float) -> set[str | None]:
    """The hosts whose name servers are silent: asked in threads that keep nobody, as asyncio's own would."""
    threads = {host: Thread(target=_resolve, args=(host,), daemon=True) for host in hosts}
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + within_s
    for thread in threads.values():
        thread.join(max(0.0, deadline - time.monotonic()))
    return {host for host, thread in threads.items() if thread.is_alive()}


def _resolve(host: str) -> None:
    with contextlib.suppress(OSError, UnicodeError):  # a wrong name is told of by the call itself
        socket.getaddrinfo(host, None)


async def _ask_all(addresses: tuple[Address, ...], unresolved: set[str | None], machine: Machine) -> list[Finding]:
    answers = await asyncio.gather(
        *(_examine(address, machine, is_resolved=_host(address) not in unresolved) for address in addresses)
    )
    if len(addresses) == 1 or all(not reached for reached, _ in answers):
        return [finding for _, findings in answers for finding in findings]
    # One of several is enough: a client tries them in turn.
    return [
        msgspec.structs.replace(finding, level="warning") if finding.level == "error" and not reached else finding
        for reached, findings in answers
        for finding in findings
    ]


async def _examine(address: Address, machine: Machine, *, is_resolved: bool) -> tuple[bool, list[Finding]]:
    """Tell whether somebody answers there, and what is to be said of it."""
    token = machine.token
    if not is_resolved:
        silence = f"the name server did not answer within {machine.answer_within_s:g} s"
        return False, [_unreachable(address, silence, is_named=machine.names_coordinator)]
    try:
        answer = await _get_status(address, token, machine.answer_within_s)
    except _Silent as silent:
        return False, [_unreachable(address, str(silent), is_named=machine.names_coordinator)]
    if answer.status in (401, 403):
        return True, [_token_refused(address, token)]
    try:
        status = msgspec.json.decode(answer.body, type=_Status)
    except msgspec.MsgspecError:
        found = f"what answers at {address.url} is no coordinator (HTTP {answer.status})"
        why = "no lease can be had there, and cf-orch serve cannot take its place"
        return True, [Finding("coordinator", "error", found, why, "set CF_ORCH_URL, or serve on another port")]
    findings = [_reached(address, status)]
    findings += _version(address, status) + _clock(address, answer.ahead_s)
    return True, findings + await _handshake(address, token, machine.answer_within_s)


async def _get_status(address: Address, token: str | None, within_s: float) -> _Answer:
    connector = aiohttp.UnixConnector(address.socket_path) if address.socket_path else aiohttp.TCPConnector()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    parts = urlsplit(address.connect_url)
    url = f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix('/connect')}/status"
    timeout = aiohttp.ClientTimeout(total=within_s)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as http,
            http.get(url, allow_redirects=False) as response,
        ):
            return _Answer(response.status, await response.read(), _ahead_s(response.headers.get("Date")))
    except TimeoutError:
        raise _Silent(f"no answer within {within_s:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _Silent(_reason(error)) from error


def _reason(error: Exception) -> str:
    cause = getattr(error, "os_error", error)
    number = getattr(cause, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else str(cause) or type(cause).__name__


def _ahead_s(date: str | None) -> float | None:
    if date is None:
        return None
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() + 0.5 - time.time()
    except ValueError:
        return None


def _unreachable(address: Address, reason: str, *, is_named: bool) -> Finding:
    found = f"no coordinator answers at {address.url}: {reason}"
    why = "programs wait, or go on uncoordinated if they may (fallback)"
    do = "start one with `cf-orch serve`, or set CF_ORCH_URL to where it is"
    if address.socket_path is not None:
        do += "; a socket file that is left over may be removed; one that may not be opened needs its group"
    elif urlsplit(address.connect_url).hostname not in ("127.0.0.1", "localhost", "::1"):
        do += "; one on another machine must serve on an address of its own (--host) with CF_ORCH_TOKEN"
    return Finding("coordinator", "error" if is_named else "warning", found, why, do)


def _token_refused(address: Address, token: str | None) -> Finding:
    said = "does not take this CF_ORCH_TOKEN" if token else "wants a token, and CF_ORCH_TOKEN is not set"
    why = "it serves other machines too, so it asks everybody for the shared secret"
    return Finding("coordinator.token", "error", f"{address.url} {said}", why, "set CF_ORCH_TOKEN as it is set there")


def _reached(address: Address, status: _Status) -> Finding:
    devices = f"{len(status.devices)} device{'s' if len(status.devices) != 1 else ''}"
    found = f"a coordinator answers at {address.url}: cf-orch {status.version}, {devices}, {status.queued} waiting"
    if not status.devices:
        do = "look at this report on its machine, or declare a device: --device 'name=RTX 4090,vram_gb=24'"
        return Finding("coordinator", "warning", found, "without a device every request waits", do)
    return Finding("coordinator", "ok", found, "leases can be had")


def _version(address: Address, status: _Status) -> list[Finding]:
    from importlib.metadata import version  # noqa: PLC0415 - slow, and needed only here

    ours, theirs = parse_version(version("cf-orch"))[:2], parse_version(status.version)[:2]
    if len(ours) < 2 or len(theirs) < 2:  # noqa: PLR2004 - a major and a minor
        return []
    served = theirs[0] == ours[0] and 0 <= theirs[1] - ours[1] <= _MINORS_APART
    if served:
        return []
    found = f"the coordinator at {address.url} is {shown_version(theirs)}, cf-orch here is {shown_version(ours)}"
    why = "a coordinator serves clients of its own minor version and of the two before"
    return [Finding("coordinator.version", "warning", found, why, "update the older of the two")]


def _clock(address: Address, ahead_s: float | None) -> list[Finding]:
    if ahead_s is None or abs(ahead_s) < FAR_APART_S:
        return []
    found = f"the clock at {address.url} is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this one"
    why = "leases do not depend on it, but the times in `status`, `history` and logs do not fit together"
    return [Finding("coordinator.clock", "warning", found, why, "let both keep the time (chrony, systemd-timesyncd)")]


async def _handshake(address: Address, token: str | None, within_s: float) -> list[Finding]:
    """Connect as the client does: a proxy may let HTTP through and no WebSocket."""
    try:
        connection = await connect((address,), token, lambda _notice: None, within_s=within_s)
    except (CoordinatorUnreachable, NotAuthorized) as error:
        found = f"{address.url} answers HTTP, but no client can connect ({API_PREFIX}/connect): {error}"
        why = "clients and sidecars keep one WebSocket to it, on which grants come down"
        do = "let the proxy between pass WebSockets (Upgrade, Connection), or update the older of the two"
        return [Finding("coordinator.connect", "error", found, why, do)]
    await connection.close()
    return []
