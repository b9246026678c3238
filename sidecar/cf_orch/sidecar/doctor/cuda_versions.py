"""Which driver a CUDA version needs, and which CUDA an installed package brings.

Source of the numbers: NVIDIA, CUDA Toolkit Release Notes, tables "CUDA Toolkit and Minimum Required Driver Version for
CUDA Minor Version Compatibility" and "CUDA Toolkit and Corresponding Driver Versions".  A program runs with any driver
of its toolkit's family (same major version) or newer; only what the toolkit brought new, and code that the driver must
translate (PTX), needs the toolkit's own driver.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cf_orch.sidecar.doctor.machine import Distribution

__all__ = [
    "OLDEST_CARD_OF_CUDA_13",
    "CudaNeed",
    "Version",
    "family_floor",
    "needs_of",
    "parse_version",
    "shown_version",
    "toolkit_driver",
    "windows_driver",
]

Version = tuple[int, ...]

_FAMILIES: dict[int, tuple[str, str]] = {
    11: ("450.80.02", "452.39"),
    12: ("525.60.13", "527.41"),
    13: ("580.65.06", "580.65"),
}
"""The oldest driver of a family, on Linux and on Windows."""

_TOOLKITS: dict[Version, tuple[str, str | None]] = {
    (11, 8): ("520.61.05", "520.06"),
    (12, 0): ("525.60.13", "527.41"),
    (12, 1): ("530.30.02", "531.14"),
    (12, 2): ("535.54.03", "536.25"),
    (12, 3): ("545.23.06", "545.84"),
    (12, 4): ("550.54.14", "551.61"),
    (12, 5): ("555.42.02", "555.85"),
    (12, 6): ("560.28.03", "560.76"),
    (12, 8): ("570.26", "570.65"),
    (12, 9): ("575.51.03", "576.02"),
    (13, 0): ("580.65.06", None),
    (13, 1): ("590.44.01", None),
    (13, 2): ("595.45.04", None),
    (13, 3): ("610.43.02", None),
}
"""The driver that came with a toolkit, on Linux and on Windows (from 13.0 on Windows has none of its own)."""

OLDEST_CARD_OF_CUDA_13 = (7, 5)
"""CUDA 13 left out Maxwell, Pascal and Volta."""


class CudaNeed(NamedTuple):
    """Something installed or running that needs a CUDA: the family, the toolkit if it is known, and what needs it."""

    family: int
    toolkit: Version | None
    what: str


def parse_version(text: str) -> Version:
    """Read the numbers at the front of a version: 570.124.06 as (570, 124, 6), 2.7.1+cu128 as (2, 7, 1)."""
    match = re.match(r"\d+(?:\.\d+)*", text.strip())
    return tuple(int(part[:9]) for part in match[0].split(".")) if match else ()


def shown_version(version: Version) -> str:
    """A version as people write it."""
    return ".".join(str(part) for part in version)


def windows_driver(text: str) -> str:
    """The driver's version as NVIDIA writes it, from Windows' four-part one: 31.0.15.5123 is 551.23."""
    parts = text.split(".")
    if len(parts) != 4:  # noqa: PLR2004 - see above
        return text
    digits = (parts[2] + parts[3].rjust(4, "0"))[-5:]
    return f"{digits[:3]}.{digits[3:]}"


def family_floor(family: int, *, windows: bool) -> str | None:
    """The oldest driver that runs any CUDA of this family, None for a family that is not known here."""
    floors = _FAMILIES.get(family)
    return floors[windows] if floors else None


def toolkit_driver(toolkit: Version, *, windows: bool) -> str | None:
    """The driver that came with a toolkit, None if it is not known here or there is none."""
    drivers = _TOOLKITS.get(toolkit[:2])
    return drivers[windows] if drivers else None


_SUFFIX = re.compile(r"-(?:cu|cuda)(11|12|13|14)x?(?:-|$)")
_LOCAL = re.compile(r"\+.*?cu(\d{2})(\d{1,2})?(?:\D|$)")
_TORCH_CUDA = re.compile(r"^cuda(?:: *[\w\[\]. ]+)? *= *['\"](\d+)\.(\d+)", re.MULTILINE)
_CTRANSLATE2_FOR_CUDA_12 = (4,)
"""Seen in the wheels: to 3.24 they load libcublas.so.11, from 4.0 libcublas.so.12."""


def needs_of(distributions: Iterable[Distribution]) -> list[CudaNeed]:
    """What the installed packages need, each family's most exact first."""
    needs = [need for distribution in distributions for need in _needs(distribution)]
    return sorted(needs, key=lambda need: (need.family, need.toolkit is None, need.what))


def _needs(distribution: Distribution) -> Iterator[CudaNeed]:
    """Read one package's need from its name, its version, its requirements or its files, whichever tells."""
    name = re.sub(r"[-_.]+", "-", distribution.name).lower()
    toolkit = _toolkit(name, distribution)
    family = toolkit[0] if toolkit else _family(name, distribution)
    if family is not None:
        yield CudaNeed(family, toolkit if toolkit and len(toolkit) > 1 else None, f"{name} {distribution.version}")


def _toolkit(name: str, distribution: Distribution) -> Version | None:
    """The CUDA that a package is, or was built for: (12, 8), or (12,) if it tells no more."""
    if re.fullmatch(r"nvidia-cuda-runtime(?:-cu\d\d)?", name):
        return parse_version(distribution.version)[:2] or None
    if name == "torch" and (toolkit := _torch_toolkit(distribution)) is not None:
        return toolkit
    match = _LOCAL.search(distribution.version)
    return tuple(int(number) for number in match.groups() if number) if match else None


def _family(name: str, distribution: Distribution) -> int | None:
    version = parse_version(distribution.version)
    if name == "ctranslate2" and version:
        return 12 if version >= _CTRANSLATE2_FOR_CUDA_12 else 11
    match = _SUFFIX.search(name)
    return int(match[1]) if match else _required_family(distribution.requires)


def _torch_toolkit(distribution: Distribution) -> Version | None:
    """What torch was built for stands in its version.py; it is read, not imported."""
    try:
        text = (Path(distribution.folder) / "torch/version.py").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = _TORCH_CUDA.search(text)
    return (int(match[1]), int(match[2])) if match else None


def _required_family(requires: list[str]) -> int | None:
    """The one family whose libraries a package requires, by itself or as an extra; None if it leaves a choice."""
    found = {
        int(match[1])
        for requirement in requires
        if (match := re.match(r"nvidia-(?:cuda-runtime|cublas)-cu(\d\d)\b", requirement.lower().replace("_", "-")))
    }
    return found.pop() if len(found) == 1 else None
