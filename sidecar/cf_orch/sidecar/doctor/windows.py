"""Checks of what a card can do under Windows: in WSL2, and with the display driver model WDDM."""

import re
from pathlib import PurePosixPath

from cf_orch.sidecar.doctor.finding import Finding
from cf_orch.sidecar.doctor.machine import Machine

__all__ = ["check_wddm", "check_wsl"]

_WSL_LIBRARIES = "/usr/lib/wsl/lib"
_LIBRARY_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")


def check_wsl(machine: Machine) -> list[Finding]:
    """Say what WSL takes away, and what must not be installed in it."""
    if not machine.is_wsl:
        return []
    release = (machine.text("/proc/sys/kernel/osrelease") or "").strip()
    if not machine.exists("/dev/dxg"):
        return [_no_gpu(release)]
    findings = [
        Finding(
            "wsl",
            "warning",
            f"this is WSL2 ({release}): the cards belong to Windows",
            "the driver names no process here and pages memory out to the RAM behind everybody's back: what a lease "
            "really uses is not seen, over-use is not noticed, and free memory is no hard bound",
            "ask for what is needed with some margin, and leave more to the desktop: [reserve_gb] in the configuration",
        )
    ]
    if not machine.exists(f"{_WSL_LIBRARIES}/libcuda.so.1"):
        why = "it is Windows' driver, made visible here: without it no program finds a card"
        do = "update the NVIDIA driver in Windows, then `wsl --update` and `wsl --shutdown`"
        findings.append(Finding("wsl.driver", "error", f"there is no {_WSL_LIBRARIES}/libcuda.so.1", why, do))
    findings += _linux_drivers(machine)
    return findings


def _no_gpu(release: str) -> Finding:
    is_first = re.search(r"-Microsoft$", release) is not None
    found = f"this is WSL{1 if is_first else 2} ({release}) without a card (no /dev/dxg)"
    do = "update Windows and its display driver, then `wsl --update`"
    if is_first:
        do = "convert it: `wsl --set-version NAME 2`"
    return Finding("wsl", "warning", found, "no program here can use a GPU", do)


def _linux_drivers(machine: Machine) -> list[Finding]:
    """A Linux driver, installed by mistake, hides the one that works."""
    return [
        Finding(
            "wsl.driver",
            "error",
            f"a Linux NVIDIA driver is installed in WSL: {folder}/libcuda.so.1",
            "it hides Windows' driver, and it has no kernel module to talk to: no CUDA program starts",
            "remove it (apt purge 'libnvidia-compute-*' 'nvidia-driver-*'); in WSL install CUDA toolkits only",
        )
        for folder in _LIBRARY_FOLDERS
        if machine.exists(f"{folder}/libcuda.so.1") and not _leads_to_wsl(machine, f"{folder}/libcuda.so.1")
    ]


def _leads_to_wsl(machine: Machine, library: str) -> bool:
    return "wsl" in PurePosixPath(machine.link(library) or "").parts


def check_wddm(machine: Machine) -> list[Finding]:
    """Say which cards are run by Windows' display driver model."""
    report = machine.driver()
    cards = [device.name for device in report.devices if device.is_wddm]
    if not cards:
        return []
    return [
        Finding(
            "wddm",
            "warning",
            f"run by WDDM, Windows' display driver model: {', '.join(cards)}",
            "Windows pages graphics memory out to the RAM when it is short (sysmem fallback): programs get slow "
            "instead of failing, free memory is no hard bound, and no process's share is known",
            'set "CUDA - Sysmem Fallback Policy" to "Prefer No Sysmem Fallback" in NVIDIA\'s control panel, or the '
            "driver model to TCC or MCDM where the card allows it (nvidia-smi -dm)",
        )
    ]
