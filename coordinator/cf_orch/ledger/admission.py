"""Rule 11: what is impossible or not allowed is refused at once, with the numbers and what would be possible.

Pure functions of the books and a request; they raise :class:`~cf_orch.ledger.refusals.Refusal` or return the slot.
The codes, in the order in which they are looked for:

====================  ==========================================================================
bad_value             not positive, not finite, out of range, or a contradiction
wrong_unit            plainly in another unit
over_quota            larger than its service may ever hold, or in a class above its right
unknown_device        no device on the hosts it may use bears that name
unmet_requirement     no device there has all that it requires
too_large             no host has enough devices that could ever hold it
queue_full            its service has too many waiting
====================  ==========================================================================
"""

from math import inf

from cf_orch.ledger.books import Books
from cf_orch.ledger.commands import Request
from cf_orch.ledger.placement import could_match, hosts_open_to, options_for
from cf_orch.ledger.queue import Shape
from cf_orch.ledger.records import Device, Slot
from cf_orch.ledger.refusals import Refusal
from cf_orch.ledger.settings import GIB, PRIORITIES

__all__ = ["admit", "check_priority", "check_ttl", "complete"]

HIGHEST_PRIORITY = 100
MOST_GPUS = 64
LARGEST_PLAUSIBLE_BYTES = 1000 * GIB
"""Larger than any card; a host's RAM may be larger, and is then known as a device."""


def admit(books: Books, request: Request, host_id: str | None) -> Slot:
    """Check a request from a host and make it a complete slot."""
    slot = complete(books, request)
    _check_values(slot)
    _check_unit(books, slot)
    _check_quota(books, slot)
    if books.devices:  # before any device was ever reported a request waits
        _check_possible(books, slot, host_id)
    _check_queue(books, slot)
    return slot


def complete(books: Books, request: Request) -> Slot:
    """Fill in what a request leaves to its task type; a retry is the same request if this is the same."""
    task = books.settings.task(request.task_type)
    size = request.size_bytes if request.size_bytes is not None else task.vram_bytes
    if size is None:
        raise Refusal(
            "bad_value",
            f'vram_gb is "auto", but no size is known for task type {request.task_type!r}: '
            f"give a number, or set [tasks.{request.task_type or 'NAME'}] vram_gb in the configuration",
        )
    return Slot(
        service=request.service,
        size_bytes=size,
        priority=_priority(books, request, task.priority),
        task_type=request.task_type,
        model=request.model,
        peak_bytes=request.peak_bytes,
        residue_bytes=request.residue_bytes,
        gpus=request.gpus,
        host=request.host,
        device=request.device,
        requires=tuple(sorted(set(request.requires))),
        evictable=request.evictable,
        max_wait_s=request.max_wait_s,
    )


def _priority(books: Books, request: Request, task_priority: int | None) -> int:
    """The class asked for, else the task type's, which a quota lowers instead of refusing."""
    if request.priority is not None:
        return request.priority
    default = task_priority if task_priority is not None else PRIORITIES["normal"]
    limit = books.settings.quota(request.service).max_priority
    return default if limit is None else min(default, limit)


def _check_values(slot: Slot) -> None:
    if not slot.service:
        raise Refusal("bad_value", "service is empty: name the product that asks")
    if slot.size_bytes <= 0:
        raise Refusal("bad_value", f"vram_gb must be positive, not {slot.size_bytes / GIB:g}")
    check_priority(slot.priority)
    if not 1 <= slot.gpus <= MOST_GPUS:
        raise Refusal("bad_value", f"gpus must be 1 to {MOST_GPUS}, not {slot.gpus}")
    if slot.device and slot.gpus > 1 and len(slot.device) != slot.gpus:
        raise Refusal("bad_value", f"{slot.gpus} gpus, but device names {len(slot.device)}: name one for each")
    if slot.peak_bytes is not None and slot.peak_bytes < slot.size_bytes:
        raise Refusal(
            "bad_value",
            f"peak_gb {slot.peak_bytes / GIB:g} is below vram_gb {slot.size_bytes / GIB:g}: "
            "the peak is what loading takes in all, or leave it out",
        )
    if slot.residue_bytes is not None and not 0 <= slot.residue_bytes <= slot.size_bytes:
        raise Refusal(
            "bad_value",
            f"residue_gb must be 0 to vram_gb ({slot.size_bytes / GIB:g}), not {slot.residue_bytes / GIB:g}",
        )
    if slot.max_wait_s is not None and not 0 <= slot.max_wait_s < inf:
        raise Refusal("bad_value", f"max_wait_s must be 0 or more, and finite, not {slot.max_wait_s:g}")


def check_priority(priority: int) -> None:
    """Refuse what is no class."""
    if not 0 <= priority <= HIGHEST_PRIORITY:
        named = ", ".join(f"{name} {value}" for name, value in PRIORITIES.items())
        raise Refusal("bad_value", f"priority must be 0 to {HIGHEST_PRIORITY}, not {priority} ({named})")


def _check_unit(books: Books, slot: Slot) -> None:
    largest = max((device.total_bytes for device in books.devices.values()), default=0)
    if slot.need_bytes <= max(LARGEST_PLAUSIBLE_BYTES, largest):
        return
    gb = slot.need_bytes / GIB
    unit, in_gb = ("MB", gb / 1024) if gb < GIB / 1024 else ("bytes", gb / GIB)
    raise Refusal(
        "wrong_unit",
        f"{gb:.12g} GB is more than any device has: did you mean {gb:.12g} {unit}? Then ask for {in_gb:.3g} GB",
        asked_bytes=slot.need_bytes,
    )


def _check_quota(books: Books, slot: Slot) -> None:
    quota = books.settings.quota(slot.service)
    full_bytes = slot.size_bytes * slot.gpus
    if quota.max_vram_bytes is not None and full_bytes > quota.max_vram_bytes:
        raise Refusal(
            "over_quota",
            f"{slot.service} asks for {full_bytes / GIB:.3g} GB, but may hold "
            f"{quota.max_vram_bytes / GIB:.3g} GB at most: ask for less, or have its quota raised",
            asked_bytes=full_bytes,
            largest_bytes=quota.max_vram_bytes,
        )
    if quota.max_priority is not None and slot.priority > quota.max_priority:
        raise Refusal(
            "over_quota",
            f"{slot.service} asks for class {slot.priority}, but its highest is {quota.max_priority}: "
            "ask for that, or have its quota raised",
            asked_priority=slot.priority,
            highest_priority=quota.max_priority,
        )


def _check_possible(books: Books, slot: Slot, host_id: str | None) -> None:
    if options_for(_shape(slot, host_id), books.devices):
        return
    devices = _named_devices(books, slot, host_id)
    able = [device for device in devices if set(slot.requires) <= set(device.capabilities)]
    if not able:
        raise Refusal(
            "unmet_requirement",
            f"no device that it may use has {', '.join(slot.requires)}; they have: "
            + "; ".join(f"{d.name}: {', '.join(d.capabilities) or 'nothing known'}" for d in devices),
        )
    largest = _largest_possible(books, able, _shape(slot, host_id))
    each = f" on each of {slot.gpus} devices of one host" if slot.gpus > 1 else ""
    possible = f"the largest possible is {largest / GIB:.4g} GB (total less reserve)"
    raise Refusal(
        "too_large",
        f"{slot.need_bytes / GIB:.4g} GB{each} can never be given: "
        + (possible if largest else "no host has so many of the devices that it may use"),
        asked_bytes=slot.need_bytes,
        largest_bytes=largest,
    )


def _shape(slot: Slot, host_id: str | None) -> Shape:
    return Shape(
        slot.priority, slot.service, host_id, slot.host, slot.device, slot.requires, slot.gpus, slot.need_bytes,
        slot.size_bytes,
    )  # fmt: skip


def _named_devices(books: Books, slot: Slot, host_id: str | None) -> list[Device]:
    """The devices that host and pins leave; raises where a name leaves none."""
    hosts = hosts_open_to(slot.host, host_id, books.devices.values())
    here = [device for device in books.devices.values() if device.host_id in hosts]
    if not here:
        known = ", ".join(sorted({device.host_name for device in books.devices.values()}))
        raise Refusal("unknown_device", f"no device is known on host {slot.host!r}; hosts with devices: {known}")
    for pin in slot.device:
        if not any(could_match(pin, device) for device in here):
            known = ", ".join(f"{d.index} = {d.name} ({d.uuid}) on {d.host_name}" for d in here)
            raise Refusal("unknown_device", f"no device is called {pin!r}; known: {known}")
    if not slot.device:
        return here
    return [device for device in here if any(could_match(pin, device) for pin in slot.device)]


def _largest_possible(books: Books, able: list[Device], shape: Shape) -> int:
    """The largest size that the devices of one host could each give; 0 where no host has so many."""
    sizes = (device.capacity_bytes for device in able)
    return max((size for size in sizes if options_for(shape._replace(need_bytes=size), books.devices)), default=0)


def _check_queue(books: Books, slot: Slot) -> None:
    waiting, most = books.queue.count(slot.service), books.settings.max_queued_per_service
    if waiting >= most:
        raise Refusal(
            "queue_full",
            f"{slot.service} has {waiting} requests waiting, and {most} is the most: wait for some to end",
            waiting=waiting,
            most=most,
        )


def check_ttl(books: Books, ttl_s: float | None) -> float:
    """Return the time to live that was asked for, or the default."""
    limits = books.settings
    if ttl_s is None:
        return limits.ttl_s
    if not limits.ttl_min_s <= ttl_s <= limits.ttl_max_s:
        raise Refusal("bad_value", f"ttl_s must be {limits.ttl_min_s:g} to {limits.ttl_max_s:g}, not {ttl_s:g}")
    return ttl_s
