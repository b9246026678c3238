"""Checks of the driver against the CUDA that packages and running engines bring."""

import re
from collections.abc import Iterable

import msgspec

from cf_orch.sidecar.doctor.cuda_versions import (
    OLDEST_CARD_OF_CUDA_13,
    CudaNeed,
    Version,
    family_floor,
    needs_of,
    parse_version,
    shown_version,
    toolkit_driver,
    windows_driver,
)
from cf_orch.sidecar.doctor.driver import DriverReport
from cf_orch.sidecar.doctor.finding import Finding, Level
from cf_orch.sidecar.doctor.machine import Machine
from cf_orch.sidecar.doctor.nvidia import has_nvidia, kernel_driver

__all__ = ["check_cuda", "check_engines", "engine_needs"]

_RUNTIME = re.compile(r"/lib(cudart|cublas)(?:-[0-9a-f]+)?\.so\.(\d+)((?:\.\d+)*)(?: \(deleted\))?$")
_FORWARD_COMPATIBLE = "/usr/local/cuda/compat/libcuda.so.1"
_ON_DATA_CENTRE_CARDS = f"on data centre cards {_FORWARD_COMPATIBLE} can stand in for it (LD_LIBRARY_PATH)"
_CUDA_13 = 13
_NAMED = 3


def check_cuda(machine: Machine) -> list[Finding]:
    """Tell whether the driver is new enough for what the chosen Python has installed."""
    needs = needs_of(machine.distributions())
    where = f"in {machine.python}"
    if not needs:
        return [Finding("cuda", "info", f"no package {where} brings CUDA", "engines of their own may still", "")]
    return _judge("cuda", machine, needs, where)


def check_engines(machine: Machine) -> list[Finding]:
    """Tell whether the driver is new enough for what runs already, as far as this user may look into it."""
    needs = engine_needs(machine)
    return _judge("engines", machine, needs, "running here") if needs else []


def engine_needs(machine: Machine) -> list[CudaNeed]:
    """The CUDA libraries that running programs have loaded."""
    found: dict[tuple[int, Version | None], list[str]] = {}
    for pid in (int(name) for name in machine.names("/proc") if name.isdecimal()):
        toolkits = _loaded(machine.text(f"/proc/{pid}/maps") or "")
        for family in {toolkit[0] for toolkit in toolkits}:
            exact = max((toolkit for toolkit in toolkits if toolkit[0] == family and len(toolkit) > 1), default=None)
            name = machine.procfs.name(pid) or "?"
            found.setdefault((family, exact), []).append(f"{name} (pid {pid})")
    return [CudaNeed(family, exact, who) for (family, exact), names in found.items() for who in names]


def _loaded(maps: str) -> set[Version]:
    """Read (12, 8) from libcudart.so.12.8.90, and only (12,) from libcublas, which counts its own minor versions."""
    toolkits: set[Version] = set()
    for line in maps.splitlines():
        if match := _RUNTIME.search(line):
            minor = parse_version(match[3].lstrip("."))
            toolkits.add((int(match[2]), *minor[:1]) if match[1] == "cudart" else (int(match[2]),))
    return toolkits


def _judge(id_: str, machine: Machine, needs: list[CudaNeed], where: str) -> list[Finding]:
    report = machine.driver()
    driver = report.driver or kernel_driver(machine)
    if driver is None:
        return [_without_driver(id_, machine, needs, where)]
    windows = machine.is_wsl
    driver = windows_driver(driver) if windows else driver
    findings = []
    for family in sorted({need.family for need in needs}):
        of_family = [need for need in needs if need.family == family]
        finding = _judge_family(id_, of_family, driver, report, where, windows=windows)
        if finding.level == "error" and machine.exists(_FORWARD_COMPATIBLE):
            finding = msgspec.structs.replace(finding, level="warning", do=f"{finding.do}; {_ON_DATA_CENTRE_CARDS}")
        findings.append(finding)
        if family >= _CUDA_13:
            findings += _old_cards(id_, of_family, report)
    return findings


def _without_driver(id_: str, machine: Machine, needs: list[CudaNeed], where: str) -> Finding:
    level: Level = "warning" if has_nvidia(machine) else "info"
    families = ", ".join(f"CUDA {family}" for family in sorted({need.family for need in needs}))
    found = f"{families} {where}, and no driver to compare it with ({_who(needs)})"
    return Finding(id_, level, found, "without an NVIDIA driver these packages compute on the CPU, or not at all")


def _judge_family(
    id_: str, needs: list[CudaNeed], driver: str, report: DriverReport, where: str, *, windows: bool
) -> Finding:
    family = needs[0].family
    toolkit = max((need.toolkit for need in needs if need.toolkit), default=None)
    named = f"CUDA {shown_version(toolkit) if toolkit else family} {where} ({_who(needs)})"
    floor = family_floor(family, windows=windows)
    runs = report.cuda // 1000 if report.cuda else None
    too_old = parse_version(driver) < parse_version(floor) if floor else runs is not None and runs < family
    if too_old:
        return Finding(
            id_,
            "error",
            f"driver {driver} is too old for {named}",
            f"CUDA {family} runs from driver {floor or 'of its own family'} on: programs end with "
            '"CUDA driver version is insufficient for CUDA runtime version", or compute on the CPU without a word',
            f"update the driver to {_goal(toolkit, floor, windows=windows)} or later, or install packages for "
            f"CUDA {runs or family - 1}",
        )
    if toolkit is not None and _is_newer(toolkit, driver, report, windows=windows):
        return Finding(
            id_,
            "warning",
            f"driver {driver} is older than the toolkit of {named}",
            "programs run, but what that toolkit brought new does not, nor does code that the driver must translate "
            '(Triton, torch.compile and just-in-time kernels may end with "unsupported PTX version")',
            f"update the driver to {_goal(toolkit, floor, windows=windows)} or later, if that happens",
        )
    return Finding(id_, "ok", f"driver {driver} is new enough for {named}", "programs built for it run")


def _is_newer(toolkit: Version, driver: str, report: DriverReport, *, windows: bool) -> bool:
    """Tell whether a toolkit is newer than the driver: by the driver's word, else by the table."""
    if report.cuda:
        return toolkit[:2] > (report.cuda // 1000, report.cuda % 1000 // 10)
    came_with = toolkit_driver(toolkit, windows=windows)
    return came_with is not None and parse_version(driver) < parse_version(came_with)


def _goal(toolkit: Version | None, floor: str | None, *, windows: bool) -> str:
    return (toolkit and toolkit_driver(toolkit, windows=windows)) or floor or "the newest"


def _old_cards(id_: str, needs: list[CudaNeed], report: DriverReport) -> list[Finding]:
    return [
        Finding(
            f"{id_}.card",
            "warning",
            f"{device.name} is too old for CUDA {needs[0].family} ({_who(needs)})",
            "CUDA 13 left out Maxwell, Pascal and Volta (compute capability below 7.5): "
            '"no kernel image is available for execution on the device"',
            "install builds for CUDA 12 for what is to run on this card",
        )
        for device in report.devices
        if device.compute_capability and device.compute_capability < OLDEST_CARD_OF_CUDA_13
    ]


def _who(needs: Iterable[CudaNeed]) -> str:
    names = [need.what for need in needs]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
