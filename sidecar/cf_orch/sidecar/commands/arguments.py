"""What a person writes on the command line: durations, sizes, priorities, devices."""

import argparse
import math
import re
from collections.abc import Iterable
from typing import Literal

from cf_orch.protocol.messages import DeviceInfo
from cf_orch.protocol.priorities import Priority
from cf_orch.sidecar.commands.failures import CommandFailed
from cf_orch.sidecar.commands.wording import device_name

__all__ = [
    "add_json",
    "add_url",
    "duration_s",
    "find_device",
    "priority",
    "size_gb",
    "size_gb_or_all",
    "size_gb_or_auto",
]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PER_GB = {"": 1, "g": 1, "m": 1024}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([gm])(?:i?b)?)?", re.IGNORECASE)


def add_url(parser: argparse.ArgumentParser) -> None:
    """Let the coordinator be named."""
    parser.add_argument(
        "--url",
        help="the coordinator, as http://HOST:PORT or unix:///PATH (CF_ORCH_URL, else the unix socket, "
        "else http://127.0.0.1:7700)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Let a program read the answer."""
    parser.add_argument("--json", action="store_true", help="print the answer as JSON, for programs")


def duration_s(text: str) -> float:
    """Read ``90s``, ``15m``, ``2h``, ``1d`` or ``1h30m`` as seconds; a bare number has no unit and is refused."""
    parts = re.findall(r"([\d.]+)([smhd])", text) if _DURATION.fullmatch(text) else []
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write it as 90s, 15m, 2h or 1d")
    return seconds


def size_gb(text: str) -> float:
    """Read ``6``, ``6GB`` or ``6144MB`` as GB (GiB)."""
    match = _SIZE.fullmatch(text.strip())
    gb = float(match[1]) / _PER_GB[(match[2] or "").lower()] if match else 0.0
    if not 0 < gb < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write it as 6, 6GB or 6144MB")
    return gb


def size_gb_or_auto(text: str) -> float | Literal["auto"]:
    """Read a size, or ``auto``: the one that the coordinator knows for the task type."""
    return "auto" if text == "auto" else size_gb(text)


def size_gb_or_all(text: str) -> float | Literal["all"]:
    """Read a size, or ``all``: everything that a device can give."""
    return "all" if text == "all" else size_gb(text)


def priority(text: str) -> int:
    """Read a class by name or number."""
    try:
        return Priority.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def find_device(devices: Iterable[DeviceInfo], text: str) -> DeviceInfo:
    """Find a device by UUID, by name with or without the maker's, or by index; it must be one and only one."""
    known = list(devices)
    found = [device for device in known if _is_called(device, text)]
    if len(found) == 1:
        return found[0]
    listed = "; ".join(f"{d.index} = {device_name(d.name)} on {d.host} ({d.uuid})" for d in found or known)
    if found:
        raise CommandFailed(f"{len(found)} devices are called {text!r}, name one by its UUID: {listed}")
    raise CommandFailed(f"no device is called {text!r}; known: {listed or 'none yet'}")


def _is_called(device: DeviceInfo, text: str) -> bool:
    if text.isdecimal():
        return int(text) == device.index
    return text.casefold() in (device.uuid.casefold(), device.name.casefold(), device_name(device.name).casefold())
