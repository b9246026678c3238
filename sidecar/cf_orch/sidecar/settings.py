"""What ``cf-orch sidecar`` can be told, and every wrong setting named at once."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cf_orch.client.address import Address, find_addresses
from cf_orch.client.session import Fallback
from cf_orch.doors.access import is_loopback
from cf_orch.gpus import DeviceSpec, parse_device

__all__ = ["SidecarSettings", "WrongSettings", "configure", "read_settings"]

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 7701
LARGEST_PORT = 65535
FALLBACKS: tuple[Fallback, ...] = ("local", "wait", "fail")


class WrongSettings(Exception):  # noqa: N818 - it names what happened
    """Settings that are wrong; ``problems`` names every one, with what to do."""

    def __init__(self, problems: list[str]) -> None:
        """Collect the sentences, one a wrong setting."""
        super().__init__("\n".join(problems))
        self.problems = problems


class SidecarSettings(NamedTuple):
    """All that it can be told."""

    service: str
    addresses: tuple[Address, ...]
    token: str | None
    host: str
    port: int
    socket: Path | None
    fallback: Fallback
    devices: tuple[DeviceSpec, ...]
    observes: bool


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    parser.add_argument("--service", help="the product that it speaks for; it shows under this name")
    parser.add_argument(
        "--url", help="the coordinator: http://HOST:PORT or unix:///PATH, or several with commas (CF_ORCH_URL)"
    )
    parser.add_argument("--host", help=f"address to serve on ({DEFAULT_HOST}; others need CF_ORCH_TOKEN)")
    parser.add_argument("--port", help=f"port to serve on ({DEFAULT_PORT})")
    parser.add_argument("--socket", metavar="PATH", help="also serve on this unix socket")
    parser.add_argument(
        "--fallback", help="without a coordinator: take turns on this host (local, the default), wait, or fail"
    )
    parser.add_argument(
        "--device",
        dest="devices",
        action="append",
        metavar="SPEC",
        help="declare a device of this host: 'name=RTX 4090,vram_gb=24', or its RAM: 'host,vram_gb=16'",
    )
    parser.add_argument("--no-observe", action="store_true", help="do not look at this host's devices")


def read_settings(flags: Mapping[str, Any], environ: Mapping[str, str]) -> SidecarSettings:
    """Put the settings together: flags over CF_ORCH_URL and CF_ORCH_TOKEN.  Raises WrongSettings."""
    problems: list[str] = []
    service = flags.get("service") or ""
    if not service:
        problems.append("--service is missing: name the product that this sidecar speaks for")
    token = environ.get("CF_ORCH_TOKEN") or None
    socket = None if flags.get("socket") is None else Path(flags["socket"]).expanduser()
    host = flags.get("host") or DEFAULT_HOST
    port = _port(flags.get("port"), problems)
    if not is_loopback(host) and token is None:
        problems.append(
            f"--host {host} can be reached from other machines: set CF_ORCH_TOKEN to a shared secret, "
            f"or serve on {DEFAULT_HOST}"
        )
    addresses = _addresses(flags.get("url"), environ, problems)
    problems += [
        f"--url {address.url} is this sidecar's own address: name the coordinator's"
        for address in addresses
        if _is_own(address, host, port, socket)
    ]
    fallback = _fallback(flags.get("fallback"), problems)
    devices = _devices(flags.get("devices") or [], problems)
    observes = not flags.get("no_observe")
    if devices and not observes:
        problems.append("--device with --no-observe: whoever declares a device observes it; leave one of them out")
    if problems:
        raise WrongSettings(problems)
    return SidecarSettings(service, addresses, token, host, port, socket, fallback, devices, observes)


def _port(text: str | None, problems: list[str]) -> int:
    if text is None:
        return DEFAULT_PORT
    if text.isdecimal() and int(text) <= LARGEST_PORT:
        return int(text)
    problems.append(f"--port must be 0 to {LARGEST_PORT}, not {text}")
    return DEFAULT_PORT


def _fallback(text: str | None, problems: list[str]) -> Fallback:
    for fallback in FALLBACKS:
        if text in (None, fallback):
            return fallback
    problems.append(f"--fallback is local, wait or fail, not {text!r}")
    return "local"


def _addresses(url: str | None, environ: Mapping[str, str], problems: list[str]) -> tuple[Address, ...]:
    try:
        return find_addresses(url, environ)
    except ValueError as error:
        problems.append(f"--url or CF_ORCH_URL: {error}")
        return ()


def _is_own(address: Address, host: str, port: int, socket: Path | None) -> bool:
    if address.socket_path is not None:
        return socket is not None and Path(address.socket_path) == socket
    parts = urlsplit(address.url)
    is_here = is_loopback(parts.hostname or "") or parts.hostname == host
    return port != 0 and parts.port == port and is_here


def _devices(texts: list[str], problems: list[str]) -> tuple[DeviceSpec, ...]:
    found: list[DeviceSpec] = []
    for text in texts:
        try:
            found.append(parse_device(text))
        except ValueError as error:
            problems.append(f"--device: {error}")
    if sum(spec.kind == "host" for spec in found) > 1:
        problems.append("--device host is given more than once: this host has one RAM")
    return tuple(found)
