"""The ledger's state and its bookkeeping: records, indexes over them, and the sums that must agree with both.

Only :mod:`cf_orch.ledger.apply` changes it, one event at a time.
"""

from collections import deque

from cf_orch.ledger.placement import options_for
from cf_orch.ledger.queue import Option, Queue, Shape
from cf_orch.ledger.records import Device, Lease, Pid, Session
from cf_orch.ledger.settings import Settings
from cf_orch.ledger.states import State
from cf_orch.ledger.timers import Timers

__all__ = ["Books", "RequestKey"]

RequestKey = tuple[str, str]
"""(caller, request id)"""


class Books:
    """Everything the ledger knows.  ``leases`` holds the live ones, ``ended`` those that can still be read."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ledger_id = ""
        self.seq = 0
        self.sessions: dict[str, Session] = {}
        self.devices: dict[str, Device] = {}
        self.leases: dict[str, Lease] = {}
        self.ended: dict[str, Lease] = {}
        self.requests: dict[RequestKey, str] = {}
        self.cancelled: dict[RequestKey, float] = {}  #: cancelled before they came, and until when; the oldest first
        self.held_bytes: dict[str, int] = {}  #: full sizes of all that is granted, by service: what quotas count
        self.hold_times_s: dict[str, deque[float]] = {}  #: how long each service held its last leases; volatile
        self.queue = Queue(self._options_for)
        self.timers = Timers()

    def _options_for(self, shape: Shape) -> tuple[Option, ...]:
        return options_for(shape, self.devices)

    def find(self, lease_id: str) -> Lease | None:
        """Return a lease that lives, or that ended not long ago."""
        return self.leases.get(lease_id) or self.ended.get(lease_id)

    def find_request(self, key: RequestKey) -> Lease | None:
        """Return what a request became."""
        lease_id = self.requests.get(key)
        return None if lease_id is None else self.find(lease_id)

    def held_on(self, device: Device) -> list[Lease]:
        """The leases charged on a device, oldest first."""
        return sorted((self.leases[lease_id] for lease_id in device.holders), key=lambda lease: lease.token or 0)

    def pids_of(self, lease: Lease, device: Device) -> tuple[Pid, ...]:
        """The processes known to use a lease's memory on a device's host."""
        on_same_host = lease.host_id is None or lease.host_id == device.host_id
        return lease.pids if on_same_host else ()

    def charge(self, lease: Lease, device: Device, charge: int, seen: int) -> None:
        """Set what a lease counts for on a device, and what the driver shows of it there."""
        old_charge, old_seen = lease.charges.get(device.uuid, 0), lease.seen.get(device.uuid, 0)
        device.charged_bytes += charge - old_charge
        device.unseen_bytes += max(0, charge - seen) - max(0, old_charge - old_seen)
        lease.charges[device.uuid] = charge
        lease.seen[device.uuid] = seen

    def uncharge(self, lease: Lease) -> None:
        """Take a lease off all its devices."""
        for uuid in lease.devices:
            device = self.devices[uuid]
            self.charge(lease, device, 0, 0)
            device.holders.discard(lease.id)
        lease.charges.clear()
        lease.seen.clear()

    def over_quota(self, service: str, full_bytes: int) -> bool:
        """Tell whether a service would hold more than its quota with these bytes as well."""
        limit = self.settings.quota(service).max_vram_bytes
        return limit is not None and self.held_bytes.get(service, 0) + full_bytes > limit

    def close_window(self, lease: Lease) -> None:
        """End a lease's load window where it has one open."""
        for uuid in lease.devices:
            if self.devices[uuid].window == lease.id:
                self.devices[uuid].window = None

    def is_waiting(self, lease: Lease) -> bool:
        """Tell whether a lease stands in line: queued, and its caller still there."""
        return lease.state is State.QUEUED and lease.cut_until is None
