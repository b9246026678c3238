"""The ledger's records as messages of the wire: bytes become GB, monotonic deadlines become wall time."""

from collections.abc import Iterable
from functools import cache
from heapq import nsmallest
from importlib.metadata import version as version_of
from typing import NamedTuple

import msgspec

from cf_orch.coordinator.history import PastEvent
from cf_orch.gpus import GpuProfile
from cf_orch.ledger import Device, Lease, Ledger, Session, State
from cf_orch.ledger.states import HOLDING, WAITING
from cf_orch.protocol import messages as m
from cf_orch.protocol.sizes import gb_from_bytes

__all__ = [
    "MOST_LISTED",
    "Moment",
    "device_info",
    "events_answer",
    "lease_info",
    "leases_in_order",
    "nothing",
    "profile_answer",
    "session_info",
    "status_answer",
    "version",
]

MOST_LISTED = 1000
"""How many leases are listed where nobody says how many."""


class Moment(NamedTuple):
    """The instant of a look: on the ledger's monotonic clock, and for people."""

    now: float
    unix_s: float

    def wall(self, at: float) -> float:
        """The wall time of a monotonic deadline."""
        return round(self.unix_s + at - self.now, 3)


@cache
def version() -> str:
    """The version of the coordinator."""
    return version_of("cf-orch")


def nothing(_ledger: Ledger, _now: float) -> None:
    """Look at nothing: that it was decided, and is on disk, is all."""


def lease_info(ledger: Ledger, lease: Lease, moment: Moment) -> m.LeaseInfo:
    """A lease as it reads."""
    slot = lease.slot
    return m.LeaseInfo(
        id=lease.id,
        state=lease.state.value,
        outcome=None if lease.outcome is None else lease.outcome.value,
        token=lease.token,
        service=slot.service,
        task_type=slot.task_type,
        model=slot.model,
        priority=slot.priority,
        vram_gb=gb_from_bytes(slot.size_bytes),
        charge_gb=gb_from_bytes(sum(lease.charges.values())),
        devices=[_device_ref(ledger.devices[uuid]) for uuid in lease.devices],
        position=ledger.position(lease),
        waiting_for=_waiting_info(ledger, lease, moment.now),
        evictable=slot.evictable,
        adopted=lease.adopted,
        load_overdue=lease.load_overdue,
        eviction=_eviction_info(lease, moment.now),
        rest=None if lease.rest is None else lease.rest.value,
        residue_gb=None if lease.residue_bytes is None else gb_from_bytes(lease.residue_bytes),
        checkpoint_error=lease.checkpoint_error,
        request_id=lease.request_id,
        session_id=lease.session_id,
        created_at=lease.requested_unix_s,
        granted_at=lease.granted_unix_s,
        expires_at=_expires_at(ledger, lease, moment),
        env=_env(lease) if lease.state in HOLDING else {},
    )


def _device_ref(device: Device) -> m.DeviceRef:
    return m.DeviceRef(uuid=device.uuid, name=device.name, host=device.host_name, index=device.index)


def _waiting_info(ledger: Ledger, lease: Lease, now: float) -> m.WaitingInfo | None:
    why = ledger.waiting_for(lease, now)
    if why is None:
        return None
    return m.WaitingInfo(
        rule=why.rule,
        device=why.device,
        needs_gb=gb_from_bytes(why.needs_bytes),
        free_gb=gb_from_bytes(why.free_bytes),
        behind=list(why.behind),
        eta_s=why.eta_s,
    )


def _eviction_info(lease: Lease, now: float) -> m.EvictionInfo | None:
    if lease.state is not State.EVICTING:
        return None
    left_s = 0.0 if lease.evict_until is None else max(0.0, lease.evict_until - now)
    return m.EvictionInfo(for_whom=lease.evicted_for or "", deadline_s=round(left_s, 3), overdue=lease.eviction_overdue)


def _expires_at(ledger: Ledger, lease: Lease, moment: Moment) -> float | None:
    """A lease with a session lives as long as that."""
    if lease.state in (State.CLOSING, State.ENDED):
        return None
    session = ledger.sessions.get(lease.session_id or "")
    at = lease.expires_at if session is None else session.expires_at
    return None if at is None else moment.wall(at)


def _env(lease: Lease) -> dict[str, str]:
    """What the holder's processes need in their environment to see their devices and no others."""
    env = {
        "CF_ORCH_LEASE": lease.id,
        "CF_ORCH_LEASE_TOKEN": str(lease.token),
        "CF_ORCH_VRAM_GB": f"{gb_from_bytes(lease.slot.size_bytes):g}",
    }
    cards = [uuid for uuid in lease.devices if uuid.startswith(("GPU-", "MIG-"))]
    if cards:
        env |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(cards)}
    return env


def leases_in_order(ledger: Ledger, leases: Iterable[Lease], limit: int, moment: Moment) -> list[m.LeaseInfo]:
    """Up to ``limit`` leases as they were or will be served: those that have had their turn, then the queue."""
    return [lease_info(ledger, lease, moment) for lease in nsmallest(limit, leases, key=_served)]


def _served(lease: Lease) -> tuple[bool, int, int]:
    if lease.token is not None and lease.state not in WAITING:
        return (False, 0, lease.token)
    return (True, -lease.priority, lease.place)


def device_info(ledger: Ledger, device: Device, moment: Moment) -> m.DeviceInfo:
    """A device as it reads."""
    sample = device.sample
    seen = sample is not None and sample.error is None
    return m.DeviceInfo(
        uuid=device.uuid,
        name=device.name,
        host=device.host_name,
        host_id=device.host_id,
        index=device.index,
        total_gb=gb_from_bytes(device.total_bytes),
        charged_gb=gb_from_bytes(device.charged_bytes),
        foreign_gb=gb_from_bytes(device.foreign_bytes),
        reserve_gb=gb_from_bytes(device.reserve_bytes),
        free_gb=gb_from_bytes(_grantable_bytes(ledger, device, moment.now)),
        used_gb=gb_from_bytes(sample.used_bytes) if sample is not None and seen else None,
        sample_age_s=None if sample is None else round(moment.now - sample.taken_at, 3),
        has_driver=device.has_driver,
        blind=_blind(ledger, device, moment.now),
        draining=device.draining,
        over_committed=device.over_committed,
        loading=device.window,
        capabilities=list(device.capabilities),
        leases=sorted(device.holders, key=lambda lease_id: ledger.leases[lease_id].token or 0),
        foreign=[
            m.ForeignInfo(
                pid=process.pid,
                name=process.name,
                used_gb=None if process.used_bytes is None else gb_from_bytes(process.used_bytes),
            )
            for process in device.foreign_processes
        ],
    )


def _grantable_bytes(ledger: Ledger, device: Device, now: float) -> int:
    grants_nothing = device.draining or device.window or device.blind(now, ledger.settings.stale_after_s)
    return 0 if grants_nothing or device.over_committed else max(0, device.room_bytes)


def _blind(ledger: Ledger, device: Device, now: float) -> str | None:
    if not device.blind(now, ledger.settings.stale_after_s):
        return None
    if not device.has_driver:
        return "nobody has declared it since the coordinator started"
    if device.sample is None:
        return "no observer has reported its memory since the coordinator started"
    return device.sample.error or f"the last sample is {now - device.sample.taken_at:.1f} s old"


def session_info(session: Session, moment: Moment) -> m.SessionInfo:
    """A session as it reads."""
    return m.SessionInfo(
        id=session.id,
        service=session.service,
        host=session.host_name,
        pid=session.pid,
        ttl_s=session.ttl_s,
        expires_in_s=round(session.expires_at - moment.now, 3),
        leases=sorted(session.leases),
    )


def status_answer(ledger: Ledger, epoch: int, moment: Moment) -> m.StatusAnswer:
    """The whole picture; of a long queue only its beginning."""
    return m.StatusAnswer(
        version=version(),
        ledger_id=ledger.id,
        epoch=epoch,
        seq=ledger.seq,
        queued=ledger.queued(),
        devices=[device_info(ledger, device, moment) for device in ledger.devices.values()],
        leases=leases_in_order(ledger, ledger.leases.values(), MOST_LISTED, moment),
        sessions=[session_info(session, moment) for session in ledger.sessions.values()],
    )


def events_answer(past: list[PastEvent], since: int) -> m.EventsAnswer:
    """Journaled events as they read."""
    infos = [m.EventInfo(seq=seq, at=unix_s, event=msgspec.to_builtins(event)) for seq, unix_s, event in past]
    return m.EventsAnswer(events=infos, next_since=infos[-1].seq if infos else since)


def profile_answer(profile: GpuProfile) -> m.ProfileAnswer:
    """A card's facts as they read."""
    return msgspec.convert(profile, m.ProfileAnswer, from_attributes=True)
