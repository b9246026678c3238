"""Where a request could go, and where it goes: pure functions of devices and a shape.

Where it *could* go if every device was empty decides whom it holds back (rule 2) and what is impossible (rule 11).
Where it *goes* is, in this order: its own host before others, the least memory left over, then the device's key.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cf_orch.ledger.queue import Option, Shape
from cf_orch.ledger.records import Device

__all__ = ["best_fit", "choose", "could_match", "hosts_open_to", "options_for", "short_name"]

ANY_HOST = "any"


class _Fit(NamedTuple):
    """A way to serve a request now, with what orders it among other ways."""

    foreign_host: bool
    left_over_bytes: int
    devices: tuple[str, ...]


def hosts_open_to(host: str | None, own_host_id: str | None, devices: Iterable[Device]) -> set[str]:
    """Return the ids of the hosts whose devices a request may use.

    Named, by name or id: that one.  ``any``, or an asker that runs on no known host: all.  Else the asker's own.
    """
    hosts = {device.host_id: device.host_name for device in devices}
    if host is not None and host != ANY_HOST:
        return {host_id for host_id, name in hosts.items() if host in (host_id, name)}
    if host is None and own_host_id in hosts:
        return {own_host_id}
    return set(hosts)


def short_name(name: str) -> str:
    """Reduce a card's name to what people call it: ``NVIDIA GeForce RTX 4090`` is ``rtx 4090``."""
    return " ".join(word for word in name.lower().split() if word not in _BRANDS)


_BRANDS = frozenset({"nvidia", "geforce", "amd", "radeon", "intel", "tesla", "quadro"})


def could_match(pin: str, device: Device) -> bool:
    """Tell whether a pin names this device: by UUID, by name, or by its index on its host."""
    if pin.isdecimal():
        return int(pin) == device.index
    return pin == device.uuid or short_name(pin) == short_name(device.name)


def options_for(shape: Shape, devices: Mapping[str, Device]) -> tuple[Option, ...]:
    """List the hosts that could serve a shape if they were empty, each with the devices it could use there.

    A parked lease returns to its own devices, and to no others.
    """
    if shape.back_to:
        host_id = devices[shape.back_to[0]].host_id
        return (Option(host_id, tuple(frozenset({uuid}) for uuid in shape.back_to)),)
    by_host: dict[str, list[Device]] = {}
    open_hosts = hosts_open_to(shape.host, shape.host_id, devices.values())
    for device in devices.values():
        if device.host_id in open_hosts and _suits(shape, device):
            by_host.setdefault(device.host_id, []).append(device)
    found = (Option(host_id, _picks(shape, suitable)) for host_id, suitable in sorted(by_host.items()))
    return tuple(option for option in found if _enough(option))


def _suits(shape: Shape, device: Device) -> bool:
    return shape.need_bytes <= device.capacity_bytes and set(shape.requires) <= set(device.capabilities)


def _picks(shape: Shape, suitable: list[Device]) -> tuple[frozenset[str], ...]:
    """For each device of a gang, the devices it may be: narrow pins first, so that they choose first."""
    if not shape.device:
        return (frozenset(device.uuid for device in suitable),) * shape.gpus
    pins = (frozenset(d.uuid for d in suitable if could_match(pin, d)) for pin in shape.device)
    if shape.gpus == 1:  # several pins of one device are alternatives
        return (frozenset().union(*pins),)
    return tuple(sorted(pins, key=lambda pick: (len(pick), sorted(pick))))


def _enough(option: Option) -> bool:
    return choose(option.picks, sorted(frozenset().union(*option.picks))) is not None


def choose(picks: tuple[frozenset[str], ...], preferred: list[str]) -> list[str] | None:
    """Give each pick, narrowest first, the first preferred device that is not yet taken; None where one gets none."""
    chosen: list[str] = []
    for pick in picks:
        free = next((uuid for uuid in preferred if uuid in pick and uuid not in chosen), None)
        if free is None:
            return None
        chosen.append(free)
    return chosen


def best_fit(
    shape: Shape, options: tuple[Option, ...], devices: Mapping[str, Device], usable: frozenset[str]
) -> tuple[str, ...] | None:
    """Choose the devices for a shape among ``usable`` ones with room, or None: all of a gang or nothing."""
    fits = (_fit_on(shape, option, devices, usable) for option in options)
    best = min((fit for fit in fits if fit is not None), default=None)
    return best.devices if best else None


def _fit_on(shape: Shape, option: Option, devices: Mapping[str, Device], usable: frozenset[str]) -> _Fit | None:
    left_over = {
        uuid: devices[uuid].room_bytes - shape.need_bytes
        for uuid in frozenset().union(*option.picks) & usable
        if devices[uuid].room_bytes >= shape.need_bytes
    }
    chosen = choose(option.picks, sorted(left_over, key=lambda uuid: (left_over[uuid], uuid)))
    if chosen is None:
        return None
    return _Fit(option.host_id != shape.host_id, sum(left_over[uuid] for uuid in chosen), tuple(sorted(chosen)))
