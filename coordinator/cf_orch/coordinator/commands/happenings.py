"""Journaled events in words, one line each."""

import msgspec

from cf_orch.ledger import events as e
from cf_orch.ledger.records import Slot
from cf_orch.ledger.states import Rest
from cf_orch.protocol.messages import DeviceInfo, LeaseInfo
from cf_orch.protocol.sizes import gb_from_bytes
from cf_orch.sidecar.commands.wording import class_name, device_name, gb, span

__all__ = ["Chronicle"]


_RESTS: dict[Rest | None, str] = {
    None: "it queues at its old place",
    Rest.IDLE: "it rests until it is used again",
    Rest.OPERATOR: "it rests until an operator resumes it",
    Rest.DRAIN: "it rests until the drain ends",
}


class Chronicle:
    """Tells events; what an id stands for it knows from the start or learns from the events that it tells."""

    def __init__(self, devices: list[DeviceInfo], leases: list[LeaseInfo]) -> None:
        """Know these devices and leases."""
        self._devices = {device.uuid: _on(device.name, device.host) for device in devices}
        self._leases = {lease.id: _for(lease.service, lease.task_type) for lease in leases}

    def tell(self, event: dict[str, object]) -> str:
        """Say what happened; an event of a newer coordinator is told as it came."""
        try:
            known = msgspec.convert(event, e.DurableEvent)
        except msgspec.ValidationError:
            facts = ", ".join(f"{name} {value}" for name, value in event.items() if name != "event")
            return f"{event.get('event', 'something')}: {facts}"
        return self._tell(known)

    def _tell(self, event: e.DurableEvent) -> str:  # noqa: C901, PLR0911, PLR0912 - one case an event
        match event:
            case e.Founded():
                return f"ledger {event.ledger_id} begins"
            case e.SessionOpened():
                where = f" on {event.host_name}" if event.host_name else ""
                return f"{event.service} opens session {event.session_id[:8]}" + _pid(event.pid) + where
            case e.SessionEnded():
                return f"session {event.session_id[:8]} is over: {event.outcome.replace('_', ' ')}"
            case e.DeviceSeen():
                self._devices[event.uuid] = _on(event.name, event.host_name)
                return f"{self._device(event.uuid)} is seen: {_bytes(event.total_bytes)} ({event.uuid})"
            case e.DrainBegun():
                until = "" if event.for_s is None else f" for {span(event.for_s)}"
                return f"{self._device(event.uuid)} is drained{until}: nothing new is granted there"
            case e.DrainEnded():
                return f"{self._device(event.uuid)} grants again"
            case e.Requested():
                self._leases[event.lease_id] = _for(event.slot.service, event.slot.task_type)
                return f"{self._lease(event.lease_id)} asks for {_asked(event.slot)}"
            case e.Granted():
                loading = ", loading" if event.loading else ""
                does = "comes back" if event.returns else "is granted"
                return f"{self._lease(event.lease_id)} {does} on {self._on(event.devices)}{loading}"
            case e.Adopted():
                self._leases[event.lease_id] = _for(event.slot.service, event.slot.task_type)
                size = _bytes(event.slot.size_bytes)
                return f"{self._lease(event.lease_id)} is adopted with {size} on {self._on(event.devices)}"
            case e.Loaded():
                return f"{self._lease(event.lease_id)} has loaded"
            case e.LoadOverdue():
                return (
                    f"{self._lease(event.lease_id)} has not loaded in time: its window closes, its peak stays counted"
                )
            case e.Aged():
                return f"{self._lease(event.lease_id)} rises to class {class_name(event.priority)} for its long wait"
            case e.Attached():
                return f"{self._lease(event.lease_id)} is used by pid {event.pid}"
            case e.Planned():
                victims = ", ".join(self._lease(victim) for victim in event.victims)
                left = "has left" if len(event.victims) == 1 else "have left"
                return (
                    f"{self._lease(event.lease_id)} will be served on {self._on(event.devices)} when {victims} {left}"
                )
            case e.PlanEnded():
                return f"nothing more is evicted for {self._lease(event.lease_id)}: it would not suffice"
            case e.EvictAsked():
                return f"{self._lease(event.lease_id)} is asked to leave {self._for_whom(event.evicted_for)}"
            case e.EvictionOverdue():
                return f"{self._lease(event.lease_id)} has not left in time: it keeps its memory, others are considered"
            case e.Withdrawn():
                return f"{self._lease(event.lease_id)} need not leave any more"
            case e.CheckpointFailed():
                return f"{self._lease(event.lease_id)} cannot leave, and is not asked again: {event.error}"
            case e.Parked():
                kept = f", but for {_bytes(event.residue_bytes)}" if event.residue_bytes else ""
                return f"{self._lease(event.lease_id)} gave its memory up{kept}: {_RESTS[event.rest]}"
            case e.Requeued():
                return f"{self._lease(event.lease_id)} is wanted again, and queues"
            case e.ResidueSeen():
                return f"{self._lease(event.lease_id)} kept {_bytes(event.residue_bytes)}, by the driver's account"
            case e.Closing():
                outcome = event.outcome.replace("_", " ")
                return f"{self._lease(event.lease_id)} is {outcome}: counted until the memory is back"
            case e.Leaked():
                leaked = _bytes(event.leaked_bytes)
                return (
                    f"{self._lease(event.lease_id)} leaves {leaked} behind on {self._device(event.uuid)}: now foreign"
                )
            case e.Ended():
                return f"{self._lease(event.lease_id)} has ended: {event.outcome.replace('_', ' ')}"
            case e.CancelNoted():
                return f"request {event.request_id} is cancelled before it arrived"

    def _lease(self, lease_id: str) -> str:
        known = self._leases.get(lease_id)
        return f"{lease_id} ({known})" if known else lease_id

    def _for_whom(self, evicted_for: str) -> str:
        if evicted_for in frozenset(Rest):
            return "by an operator" if evicted_for == Rest.OPERATOR else "its drained device"
        return f"for {self._lease(evicted_for)}"

    def _device(self, uuid: str) -> str:
        return self._devices.get(uuid, uuid)

    def _on(self, uuids: tuple[str, ...]) -> str:
        return " and ".join(self._device(uuid) for uuid in uuids)


def _on(name: str, host: str) -> str:
    return f"{device_name(name)} on {host}"


def _for(service: str, task_type: str) -> str:
    return f"{service} {task_type}".strip()


def _pid(pid: int | None) -> str:
    return "" if pid is None else f" (pid {pid})"


def _bytes(size_bytes: int) -> str:
    return gb(gb_from_bytes(size_bytes))


def _asked(slot: Slot) -> str:
    gang = f" on each of {slot.gpus} devices" if slot.gpus > 1 else ""
    peak = f", {_bytes(slot.peak_bytes)} while loading" if slot.peak_bytes else ""
    return f"{_bytes(slot.size_bytes)}{gang}{peak}, class {class_name(slot.priority)}"
