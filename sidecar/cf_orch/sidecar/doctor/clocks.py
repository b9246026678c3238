"""Checks of the clocks that leases run by."""

import time

from cf_orch.sidecar.doctor.finding import Finding
from cf_orch.sidecar.doctor.machine import Machine

__all__ = ["check_clock_source", "check_clocks"]

_SLEPT_S = 1.0
_FAST_SOURCES = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen")


def check_clocks(machine: Machine) -> list[Finding]:
    """Tell whether both clocks run, and whether the machine has slept since it was started."""
    asleep_s = _asleep_s(machine)
    if asleep_s < -_SLEPT_S:
        found = f"CLOCK_BOOTTIME is {-asleep_s:.0f} s behind CLOCK_MONOTONIC"
        why = "it can only be ahead: cf-orch could not tell that this machine slept"
        return [Finding("clocks", "error", found, why, "update the kernel; report it to whoever makes this machine")]
    if asleep_s > _SLEPT_S:
        found = f"this machine has slept {_duration(asleep_s)} since it was started"
        why = "asleep no holder can renew: when it wakes, the coordinator gives every lease its full grace anew"
        return [
            Finding("clocks", "info", found, why, "nothing; on a server, turn sleep off (systemctl mask sleep.target)")
        ]
    why = "the coordinator tells by them that a machine slept, and takes no lease away for that"
    return [Finding("clocks", "ok", "CLOCK_BOOTTIME and CLOCK_MONOTONIC agree", why)]


def _asleep_s(machine: Machine) -> float:
    """How far the boot time is ahead; the smallest of some readings, for there is time between any two."""
    return min(
        (machine.read_clock(time.CLOCK_BOOTTIME) - machine.read_clock(time.CLOCK_MONOTONIC) for _ in range(3)),
        key=abs,
    )


def check_clock_source(machine: Machine) -> list[Finding]:
    """Tell whether the time is cheap to read."""
    source = (machine.text("/sys/devices/system/clocksource/clocksource0/current_clocksource") or "").strip()
    if not source or source in _FAST_SOURCES:
        return []
    found = f"the kernel's clock source is {source}"
    why = "each reading of the time costs a microsecond or more instead of some ten nanoseconds"
    do = "see `dmesg | grep -i clocksource` for why tsc was given up"
    return [Finding("clock_source", "info", found, why, do)]


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
