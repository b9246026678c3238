"""Checks of what cf-orch itself stands on: Python, its packages, the kernel."""

import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from cf_orch.sidecar.doctor.cuda_versions import Version, parse_version, shown_version
from cf_orch.sidecar.doctor.finding import Finding
from cf_orch.sidecar.doctor.machine import Machine

__all__ = ["check_packages", "check_pynvml", "check_settings", "check_versions"]

OLDEST_KERNEL: Version = (5, 3)
"""From here on a program can wait for another by its handle (pidfd_open)."""
_PYNVML_IS_A_SHELL = (12,)


def check_versions(machine: Machine) -> list[Finding]:
    """Say what runs here."""
    kernel = (machine.text("/proc/sys/kernel/osrelease") or platform.release()).strip()
    found = f"cf-orch {version('cf-orch')}, Python {platform.python_version()}, Linux {kernel}"
    if parse_version(kernel) < OLDEST_KERNEL:
        why = "before 5.3 a process cannot be watched: that a holder died is noticed late, by its time to live"
        return [Finding("versions", "warning", found, why, "update the kernel")]
    return [Finding("versions", "ok", found, f"from {sys.prefix}")]


def check_settings(machine: Machine) -> list[Finding]:
    """Tell whether the coordinator's settings can be read."""
    if machine.settings.problem is None:
        return []
    why = "`cf-orch serve` does not start with it; what follows was judged by the defaults"
    return [Finding("settings", "error", machine.settings.problem, why, "mend the file, or what CF_ORCH_* says")]


def check_packages(_machine: Machine) -> list[Finding]:
    """Tell whether every package is there that cf-orch needs, and new enough."""
    wrong = list(_wrong(requires("cf-orch") or []))
    if wrong:
        why = "cf-orch was built and tested with these or later"
        return [Finding("packages", "error", "; ".join(wrong), why, "pip install --upgrade cf-orch")]
    return []


def _wrong(requirements: list[str]) -> Iterator[str]:
    for requirement in requirements:
        match = re.match(r"([A-Za-z0-9._-]+)\s*(?:>=\s*([\d.]+))?[^;]*(;.*)?$", requirement)
        if match is None or match[3]:  # an extra's, or another platform's
            continue
        name, least = match[1], parse_version(match[2] or "0")
        try:
            installed = version(name)
        except PackageNotFoundError:
            yield f"{name} is not installed"
            continue
        if parse_version(installed) < least:
            yield f"{name} {installed} is older than {shown_version(least)}"


def check_pynvml(machine: Machine) -> list[Finding]:
    """Tell whether the module pynvml is NVIDIA's own."""
    named = (one.version for one in machine.distributions() if one.name.lower() == "pynvml")
    old = next((version for version in named if parse_version(version) < _PYNVML_IS_A_SHELL), None)
    if old is None:
        return []
    found = f"the package pynvml {old} is installed in {machine.python}"
    why = "it overwrites the module of nvidia-ml-py with an old one of its own, and newer drivers' answers are misread"
    do = "pip uninstall pynvml; pip install --force-reinstall nvidia-ml-py"
    return [Finding("pynvml", "warning", found, why, do)]
