"""Leases, devices and waits in words and numbers that a person understands."""

import time
from collections.abc import Iterable

from cf_orch.protocol.messages import DeviceInfo, DeviceRef, LeaseInfo
from cf_orch.protocol.priorities import Priority

__all__ = ["Names", "ago", "amount", "class_name", "clock", "device_name", "gb", "span", "waits", "whose"]

_MAKERS = ("NVIDIA GeForce ", "NVIDIA ")


def amount(size_gb: float) -> str:
    """Write a number of GB without needless digits: 16, 5.5, 0.25."""
    return f"{round(size_gb, 2):g}"


def gb(size_gb: float) -> str:
    """Write a size with its unit."""
    return f"{amount(size_gb)} GB"


def span(seconds: float) -> str:
    """Write a duration in its two largest units: 12 s, 3 min, 2 h 5 min, 3 d 2 h."""
    minutes, hours, days = (int(seconds // unit) for unit in (60, 3600, 86400))
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{max(0, round(seconds))} s"


def clock(unix_s: float) -> str:
    """Write a point in time as the clock on the wall shows it, with the day where it is another one."""
    then = time.localtime(unix_s)
    today = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if today else "%b %d %H:%M", then)


def ago(unix_s: float) -> str:
    """Write a point in time with how long that is ago: 14:02 (12 min)."""
    return f"{clock(unix_s)} ({span(max(0.0, time.time() - unix_s))})"


def class_name(priority: int) -> str:
    """Write a class by its name where it has one."""
    return next((member.name.lower() for member in Priority if member == priority), str(priority))


def device_name(name: str) -> str:
    """Write a card's name as people say it, without its maker."""
    return next((name.removeprefix(maker) for maker in _MAKERS if name.startswith(maker)), name)


def whose(lease: LeaseInfo) -> str:
    """Say what a lease is for: kiwi's recipe_llm."""
    return f"{lease.service}'s {lease.task_type}" if lease.task_type else lease.service


class Names:
    """What ids stand for, as far as one look at the coordinator tells; hosts are named where there are several."""

    def __init__(self, devices: Iterable[DeviceInfo], leases: Iterable[LeaseInfo]) -> None:
        """Know these devices and leases."""
        self.devices = {device.uuid: device for device in devices}
        self.leases = {lease.id: lease for lease in leases}
        self._several_hosts = len({device.host_id for device in self.devices.values()}) > 1

    def device(self, uuid: str) -> str:
        """Name a device."""
        device = self.devices.get(uuid)
        if device is None:
            return uuid
        return self._named(device)

    def on(self, devices: list[DeviceRef]) -> str:
        """Name all devices of a lease."""
        return " and ".join(self._named(device) for device in devices)

    def lease(self, lease_id: str) -> str:
        """Name a lease: kiwi's recipe_llm (a1b2-4)."""
        lease = self.leases.get(lease_id)
        return lease_id if lease is None else f"{whose(lease)} ({lease_id})"

    def list(self, lease_ids: list[str], most: int = 2) -> str:
        """Name the first leases of several, and count the others."""
        named = [self.lease(lease_id) for lease_id in lease_ids[:most]]
        more = len(lease_ids) - len(named)
        return ", ".join(named) + (f" and {more} more" if more else "")

    def _named(self, device: DeviceInfo | DeviceRef) -> str:
        return f"{device_name(device.name)} on {device.host}" if self._several_hosts else device_name(device.name)


def waits(lease: LeaseInfo, names: Names) -> str:  # noqa: C901 - one case a rule
    """Say in a sentence's end what a queued lease waits for: waits for memory: needs 16 GB, 8 GB free, behind ..."""
    waiting = lease.waiting_for
    if waiting is None:
        return "waits"
    where = names.device(waiting.device) if waiting.device else "any device"
    numbers = f"needs {gb(waiting.needs_gb)}, {gb(waiting.free_gb)} free"
    behind = f", behind {names.list(waiting.behind)}" if waiting.behind else ""
    match waiting.rule:
        case "memory":
            why = f"waits for memory on {where}: {numbers}{behind}"
        case "fifo":
            why = f"waits its turn on {where}: {numbers}{behind}"
        case "window":
            why = f"waits until {names.list(waiting.behind)} has loaded on {where}"
        case "quota":
            why = f"waits for {lease.service}'s quota: needs {gb(waiting.needs_gb)}, {gb(waiting.free_gb)} left{behind}"
        case "drain":
            why = f"waits for a drained device: nothing new is granted on {where}"
        case "blind":
            why = f"waits for the driver: there is no fresh reading of {where}"
        case "eviction":
            why = f"waits until {names.list(waiting.behind) or 'the memory'} has left {where}: {numbers}"
        case "residue":
            why = f"waits for what {names.list(waiting.behind)} kept on {where}: {numbers}"
        case "residency":
            why = f"waits for idle memory on {where} that is protected for a while: {numbers}{behind}"
        case "foreign":
            why = f"waits for memory that no lease accounts for: {numbers} on {where}{_foreign(names, waiting.device)}"
        case rule:
            why = f"waits ({rule}): {numbers} on {where}{behind}"
    return why + _eta(waiting.eta_s)


def _eta(eta_s: float | None) -> str:
    """Say how long is left by what is usual; nothing is left where the holders hold for longer than usual."""
    if eta_s is None:
        return ""
    return f", about {span(eta_s)} to go" if eta_s >= 1 else ", due at any moment"


def _foreign(names: Names, uuid: str | None) -> str:
    device = names.devices.get(uuid or "")
    if device is None:
        return ""
    used = ", ".join(process.name or f"pid {process.pid}" for process in device.foreign[:3])
    return f", {gb(device.foreign_gb)} foreign" + (f" ({used})" if used else "")
