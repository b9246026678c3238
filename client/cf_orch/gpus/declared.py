"""Devices that a person declares: `--device 'name=RTX 4090,vram_gb=24'`, `--device host,vram_gb=16`."""

import math
import uuid
from collections import Counter
from collections.abc import Iterable
from typing import Literal

import msgspec

from cf_orch.gpus.profiles import UnknownGpuError, get_gpu_profile
from cf_orch.gpus.samples import DeviceSample

__all__ = ["DeclaredReader", "DeviceSpec", "parse_device"]

_EXAMPLES = "write 'name=RTX 4090,vram_gb=24' for a device, or 'host,vram_gb=16' for this host's RAM"
_KEYS = ("name", "vram_gb", "reserve_gb")
_PLAINLY_MB = 4096  # no device has 4 TiB; a 4 GiB card has 4096 MiB


class DeviceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What one `--device` says: a device that no driver shows, or a budget of this host's RAM."""

    kind: Literal["declared", "host"]
    #: None for the host
    name: str | None
    vram_bytes: int
    #: None if not given: then the coordinator's own default holds
    reserve_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    capabilities: tuple[str, ...] = ()


def parse_device(text: str) -> DeviceSpec:
    """The device that this text declares.

    Without `vram_gb` a named device has its profile's memory. What it computes in is the profile's too, or unknown.
    ValueError says what is wrong with the text, with an example.
    """
    try:
        return _parse(text)
    except ValueError as error:
        raise ValueError(f"--device {text!r}: {error}; {_EXAMPLES}") from error


class DeclaredReader:
    """Samples declared devices: a total, and no driver that could tell what is used."""

    def __init__(self, specs: Iterable[DeviceSpec], host_id: str) -> None:
        self._samples: list[DeviceSample] = []
        seen: Counter[str] = Counter()
        for spec in specs:
            if spec.name is not None:
                self._samples.append(_sample(spec, spec.name, _key(host_id, spec.name, seen[spec.name])))
                seen[spec.name] += 1

    def read(self) -> list[DeviceSample]:
        """The same samples at every call, in the order of declaration."""
        return list(self._samples)


def _key(host_id: str, name: str, ordinal: int) -> str:
    """The same for the same host, name and place among its namesakes, whatever else is declared."""
    return f"DECL-{uuid.uuid5(uuid.NAMESPACE_OID, f'{host_id}/{name}/{ordinal}')}"


def _sample(spec: DeviceSpec, name: str, key: str) -> DeviceSample:
    return DeviceSample(
        uuid=key,
        name=name,
        kind="declared",
        total_bytes=spec.vram_bytes,
        capabilities=spec.capabilities,
        compute_capability=spec.compute_capability,
    )


def _parse(text: str) -> DeviceSpec:
    words = [word.strip() for word in text.split(",")]
    is_host = words[0] == "host"
    values = _values(words[1:] if is_host else words)
    given = _bytes("vram_gb", values["vram_gb"]) if "vram_gb" in values else None
    reserve = _bytes("reserve_gb", values["reserve_gb"], or_zero=True) if "reserve_gb" in values else None
    spec = _host(values, given) if is_host else _declared(values, given)
    if reserve is not None and reserve >= spec.vram_bytes:
        raise ValueError(f"reserve_gb={reserve / 2**30:g} leaves nothing of {spec.vram_bytes / 2**30:g} GB")
    return msgspec.structs.replace(spec, reserve_bytes=reserve)


def _host(values: dict[str, str], vram_bytes: int | None) -> DeviceSpec:
    if "name" in values:
        raise ValueError("the host has no name to give")
    if vram_bytes is None:
        raise ValueError("vram_gb is missing: how much of this host's RAM may be leased?")
    return DeviceSpec(kind="host", name=None, vram_bytes=vram_bytes)


def _declared(values: dict[str, str], vram_bytes: int | None) -> DeviceSpec:
    name = values.get("name")
    if name is None:
        raise ValueError("name is missing")
    try:
        profile = get_gpu_profile(name)
    except UnknownGpuError as error:
        if vram_bytes is None:
            raise ValueError(f"vram_gb is missing, and {error}") from error
        return DeviceSpec(kind="declared", name=name, vram_bytes=vram_bytes)
    if vram_bytes is None:
        vram_bytes = int(profile.vram_gb * 2**30)
    return DeviceSpec(
        kind="declared",
        name=name,
        vram_bytes=vram_bytes,
        compute_capability=profile.compute_capability,
        capabilities=tuple(sorted(profile.capabilities)),
    )


def _values(words: list[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        if not equals or not value:
            raise ValueError(f"{word!r} is not key=value")
        if key not in _KEYS:
            raise ValueError(f"unknown key {key!r}, known are {', '.join(_KEYS)}")
        if key in values:
            raise ValueError(f"{key} is given twice")
        values[key] = value
    return values


def _bytes(key: str, text: str, *, or_zero: bool = False) -> int:
    try:
        gb = float(text)
    except ValueError:
        raise ValueError(f"{key}={text} is not a number of GB") from None
    if not math.isfinite(gb) or gb < 0 or (gb == 0 and not or_zero):
        raise ValueError(f"{key}={text} is not a {'possible' if or_zero else 'positive'} number of GB")
    if gb >= _PLAINLY_MB:
        raise ValueError(f"{key}={text} GB: did you mean MB? {key}={gb / 1024:g}")
    return round(gb * 2**30)
