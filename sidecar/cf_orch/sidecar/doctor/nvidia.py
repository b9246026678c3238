"""Checks of the NVIDIA driver: is it there, is it one, and what do its cards say."""

import os
import re
from pathlib import Path, PurePosixPath

from cf_orch.sidecar.doctor.cuda_versions import shown_version
from cf_orch.sidecar.doctor.driver import DriverDevice, DriverReport
from cf_orch.sidecar.doctor.finding import Finding
from cf_orch.sidecar.doctor.machine import Machine

__all__ = ["check_amd", "check_driver", "check_mismatch", "has_nvidia", "kernel_driver", "nvidia_cards"]

_PCI_NVIDIA, _PCI_DISPLAY = "0x10de", "0x03"
_KERNEL_VERSION = re.compile(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s")


def nvidia_cards(machine: Machine) -> dict[str, str | None]:
    """The NVIDIA cards on the PCI bus, with the kernel driver that has each: the hardware, whatever is installed."""
    cards: dict[str, str | None] = {}
    for slot in machine.names("/sys/bus/pci/devices"):
        folder = f"/sys/bus/pci/devices/{slot}"
        is_nvidia = (machine.text(f"{folder}/vendor") or "").strip() == _PCI_NVIDIA
        if is_nvidia and (machine.text(f"{folder}/class") or "").startswith(_PCI_DISPLAY):
            driver = machine.link(f"{folder}/driver")
            cards[slot] = PurePosixPath(driver).name if driver else None
    return cards


def kernel_driver(machine: Machine) -> str | None:
    """The version of the NVIDIA module that runs in the kernel."""
    match = _KERNEL_VERSION.search(machine.text("/proc/driver/nvidia/version") or "")
    return match[1] if match else None


def has_nvidia(machine: Machine) -> bool:
    """Tell whether anything says that an NVIDIA card is meant to be used here."""
    return bool(
        nvidia_cards(machine)
        or kernel_driver(machine)
        or machine.exists("/dev/nvidiactl")
        or (machine.is_wsl and machine.exists("/usr/lib/wsl/lib/libnvidia-ml.so.1"))
    )


def check_driver(machine: Machine) -> list[Finding]:
    """Ask the driver, and say what each of its cards says."""
    report = machine.driver()
    if report.is_silent:
        why = "cf-orch would see no card, and whatever asks the driver waits as this did"
        do = "see the kernel log for Xid or NVRM lines, then reboot"
        return [Finding("driver", "error", report.error or "", why, do)]
    if report.error is not None:
        return [_no_driver(machine, report)]
    if not report.devices:
        found = f"NVIDIA driver {report.driver or '?'} runs, and shows no card"
        why = "there is nothing to share: a card may be off the bus, or not given to this container"
        return [Finding("driver", "warning", found, why, "look at `nvidia-smi -L` on the host and at `lspci`")]
    cuda = f", CUDA {report.cuda // 1000}.{report.cuda % 1000 // 10}" if report.cuda else ""
    driver = Finding("driver", "ok", f"NVIDIA driver {report.driver or '?'}{cuda}", "it answers")
    return [driver, *(_card(device) for device in report.devices)]


def _no_driver(machine: Machine, report: DriverReport) -> Finding:
    found = report.error or ""
    if not has_nvidia(machine):
        why = "cf-orch sees no NVIDIA card; it can share declared memory, or this host's RAM"
        do = "nothing, if that is right; else --device 'name=RTX 4090,vram_gb=24' or --device host,vram_gb=16"
        return Finding("driver", "info", f"no NVIDIA card here ({_first_clause(found)})", why, do)
    cards = nvidia_cards(machine)
    taken = next((driver for driver in cards.values() if driver and driver != "nvidia"), None)
    if taken is not None:
        why = f"the kernel's {taken} has the card, so NVIDIA's own driver cannot"
        do = f"install NVIDIA's driver and keep {taken} from loading (a blacklist in /etc/modprobe.d), then reboot"
        if taken == "vfio-pci":
            do = "the card is handed to a virtual machine: run cf-orch there"
        return Finding("driver", "error", f"an NVIDIA card without NVIDIA's driver: {_first_clause(found)}", why, do)
    message, _, advice = found.partition(": ")
    why = "an NVIDIA card is here, and without its driver's answer nothing is granted on it"
    return Finding("driver", "error", message, why, advice or "look at `nvidia-smi`")


def _first_clause(text: str) -> str:
    return text.partition(":")[0].partition(" (NVML")[0]


def _card(device: DriverDevice) -> Finding:
    who = f"{device.name} ({device.uuid or 'no UUID'})"
    if device.error is not None:
        message, _, advice = device.error.partition(": ")
        why = "nothing is granted on a device whose memory is unknown; leases on it are kept"
        return Finding("driver.card", "error", f"{who}: {message}", why, advice)
    size = f"{(device.total_bytes or 0) / 2**30:.4g} GB"
    capability = ""
    if device.compute_capability is not None:
        capability = f", compute capability {shown_version(device.compute_capability)}"
    programs = f"{device.processes} program{'s' if device.processes != 1 else ''}"
    return Finding("driver.card", "ok", f"{who}: {size}{capability}, {programs} on it", "its memory can be shared")


def check_mismatch(machine: Machine) -> list[Finding]:
    """Compare the module in the kernel with the library beside it: an upgrade replaces one, a reboot the other."""
    kernel = kernel_driver(machine)
    if kernel is None or machine.is_wsl:
        return []
    report = machine.driver()
    library = _library_version(report)
    if library is None or library == kernel:
        return []
    why = "the driver's library refuses a kernel module of another version, or worse, does not: no CUDA program starts"
    return [
        Finding(
            "mismatch",
            "error",
            f"NVIDIA kernel module {kernel}, but library {library} ({report.library})",
            why,
            "reboot, if the driver was upgraded; in a container or a Nix or Conda environment use the host's library",
        )
    ]


def _library_version(report: DriverReport) -> str | None:
    match = re.search(r"\.so\.(\d+\.\d+(?:\.\d+)?)$", report.library or "")
    return match[1] if match else report.driver


def check_amd(machine: Machine) -> list[Finding]:
    """Say which AMD cards the kernel shows, and whether programs may compute on them."""
    cards = [
        card
        for card in machine.names("/sys/class/drm")
        if re.fullmatch(r"card\d+", card) and machine.text(f"/sys/class/drm/{card}/device/mem_info_vram_total")
    ]
    if not cards:
        return []
    sizes = [int((machine.text(f"/sys/class/drm/{card}/device/mem_info_vram_total") or "0").strip()) for card in cards]
    shown = ", ".join(f"{card} {size / 2**30:.4g} GB" for card, size in zip(cards, sizes, strict=True))
    found = [Finding("amd", "info", f"AMD: {shown}", "the kernel's amdgpu driver shows its memory")]
    kfd = machine.path("/dev/kfd")
    if not kfd.exists():
        why = "programs that compute on it (ROCm) need it"
        do = "in a container: --device /dev/kfd --device /dev/dri; else load amdgpu with ROCm support"
        found.append(Finding("amd.kfd", "warning", "there is no /dev/kfd", why, do))
    elif not _may_use(kfd):
        do = "add the user to the groups render and video, then log in again"
        found.append(Finding("amd.kfd", "warning", "/dev/kfd may not be opened", "ROCm programs of this user fail", do))
    return found


def _may_use(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)
