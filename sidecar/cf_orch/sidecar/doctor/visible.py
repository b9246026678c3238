"""Checks of which GPUs this environment lets through: a container, a device's file, a variable."""

import os
import re

from cf_orch.sidecar.doctor.driver import DriverReport
from cf_orch.sidecar.doctor.finding import Finding
from cf_orch.sidecar.doctor.machine import Machine
from cf_orch.sidecar.doctor.nvidia import has_nvidia

__all__ = ["check_container", "check_cuda_visible", "check_device_files", "container_kind"]

_NEEDED = ("nvidiactl", "nvidia-uvm")
_CARD = re.compile(r"nvidia\d+")
_NOBODY = ("", "-1", "none", "void", "NoDevFiles")


def container_kind(machine: Machine) -> str | None:
    """What kind of container this is, None if it looks like none."""
    if machine.exists("/.dockerenv"):
        return "docker"
    if machine.exists("/run/.containerenv"):
        return "podman"
    if "KUBERNETES_SERVICE_HOST" in machine.environ:
        return "kubernetes"
    return machine.environ.get("container") or None


def check_container(machine: Machine) -> list[Finding]:
    """Say which GPUs the container was given."""
    kind = container_kind(machine)
    if kind is None:
        return []
    wanted = machine.environ.get("NVIDIA_VISIBLE_DEVICES")
    files = [name for name in machine.names("/dev") if _CARD.fullmatch(name)]
    shown = f"a {kind} container, NVIDIA_VISIBLE_DEVICES {'not set' if wanted is None else repr(wanted)}"
    if files:
        found = f"{shown}, {len(files)} card{'s' if len(files) > 1 else ''} given to it"
        return [Finding("container", "ok", found, "the coordinator can share only the cards that it is given")]
    if machine.is_wsl and machine.exists("/dev/dxg"):
        return [Finding("container", "ok", f"{shown}, with Windows' /dev/dxg", "the cards come through Windows")]
    why = "no card can be seen from in here, whatever the host has"
    do = (
        "start it with --gpus all (Docker and the NVIDIA Container Toolkit), --device nvidia.com/gpu=all (CDI), or "
        "a resource nvidia.com/gpu (Kubernetes)"
    )
    if wanted is not None and wanted not in _NOBODY:
        found = f"{shown}, but no /dev/nvidia0"
        why = "the variable asks for cards, and no container runtime acted on it"
        return [Finding("container", "error", found, why, f"{do}; `docker info` must list the runtime nvidia")]
    return [Finding("container", "info", f"{shown}, no card given to it", why, f"if it is to use one: {do}")]


def check_device_files(machine: Machine) -> list[Finding]:
    """Tell whether this user can open the cards' files."""
    names = machine.names("/dev")
    cards = [name for name in names if _CARD.fullmatch(name)]
    if not cards or machine.is_wsl:
        return []
    findings = []
    closed = [name for name in (*cards, *_NEEDED) if name in names and not _may_use(machine, name)]
    if closed:
        why = "CUDA programs of this user see no card"
        do = "see `ls -l /dev/nvidia*`: add the user to their group (often video), or give the container the devices"
        found = f"may not be opened by this user: {', '.join(f'/dev/{name}' for name in closed)}"
        findings.append(Finding("device_files", "error", found, why, do))
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        found = f"missing beside /dev/{cards[0]}: {', '.join(f'/dev/{name}' for name in missing)}"
        why = 'NVML may answer, and yet every CUDA program ends with "unknown error"'
        do = "run `nvidia-modprobe -u -c 0` on the host (nvidia-persistenced does it at boot); start a container anew"
        findings.append(Finding("device_files", "error", found, why, do))
    if not findings:
        found = ", ".join(f"/dev/{name}" for name in cards)
        findings.append(Finding("device_files", "ok", f"{found} may be opened", "CUDA programs of this user can start"))
    return findings


def _may_use(machine: Machine, name: str) -> bool:
    return os.access(machine.path(f"/dev/{name}"), os.R_OK | os.W_OK)


def check_cuda_visible(machine: Machine) -> list[Finding]:
    """Tell whether CUDA_VISIBLE_DEVICES, as it is set here, names cards that are here."""
    value = machine.environ.get("CUDA_VISIBLE_DEVICES")
    if value is None or not has_nvidia(machine):
        return []
    found = f"CUDA_VISIBLE_DEVICES={value}"
    if value.strip() in _NOBODY:
        why = "every CUDA program that is started from here sees no card"
        return [Finding("cuda_visible", "warning", f"{found}: it hides all cards", why, "unset it")]
    names = [name.strip() for name in value.split(",")]
    unknown = _unknown(names, machine.driver())
    if unknown:
        why = "CUDA stops at the first name that it does not know, and hides all that stand after it"
        do = "unset it, or name cards by UUID, as `cf-orch devices` has it (a MIG instance's changes with its layout)"
        return [Finding("cuda_visible", "error", f"{found}: no card here is {', '.join(unknown)}", why, do)]
    by_number = all(name.isdecimal() for name in names)
    if by_number and machine.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and len(machine.driver().devices) > 1:
        why = "CUDA numbers the fastest card first, nvidia-smi and cf-orch by the bus: 0 may be two different cards"
        do = "name cards by UUID, or set CUDA_DEVICE_ORDER=PCI_BUS_ID; programs under a lease get the UUID"
        return [Finding("cuda_visible", "warning", f"{found}: by number", why, do)]
    why = "programs started from here see these cards only; cf-orch itself sees all"
    return [Finding("cuda_visible", "info", found, why)]


def _unknown(names: list[str], report: DriverReport) -> list[str]:
    if report.error is not None:
        return []
    uuids = [device.uuid for device in report.devices if device.uuid]
    count = len({device.index for device in report.devices})
    return [
        name
        for name in names
        if not (int(name) < count if name.isdecimal() else any(uuid.startswith(name) for uuid in uuids if name))
    ]
