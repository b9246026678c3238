"""The ledger's state and its bookkeeping: records, indexes over them, and the sums that must agree with both.

Only :mod:`cf_orch.ledger.apply` changes it, one event at a time.
"""

from collections import deque

from cf_orch.ledger.placement import options_for
from cf_orch.ledger.queue import Option, Queue, Shape, order_of
from cf_orch.ledger.records import Device, Lease, Pid, Plan, Session
from cf_orch.ledger.settings import Settings
from cf_orch.ledger.states import WAITING, State
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
        self.plans: dict[str, Plan] = {}  #: the evictions under way, by the waiter whom they are for
        self.evicting: set[str] = set()  #: the leases that are asked to leave, by id
        self.held_bytes: dict[str, int] = {}  #: full sizes of all that is granted, by service: what quotas count
        self.hold_times_s: dict[str, deque[float]] = {}  #: how long each service held its last leases; volatile
        self.queue = Queue(self._options_for)
        self.timers = Timers()
        self.looks_again_at: float | None = None  #: when a protection ends that a waiter waits for; volatile

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

    def count(self, lease: Lease, *, counts: bool) -> None:
        """Count a lease in full toward its service's quota, or count it no more."""
        if lease.is_counted is not counts:
            lease.is_counted = counts
            service, more_bytes = lease.slot.service, lease.full_bytes if counts else -lease.full_bytes
            self.held_bytes[service] = self.held_bytes.get(service, 0) + more_bytes

    def counted_before(self, lease: Lease) -> list[Lease]:
        """What a quota counts when a lease is to be granted: all its service holds, and what plans are under way for.

        1. Those for whom an eviction is under way count as if they held already; but not those behind the lease, or
           their plans and its own turn would undo each other for ever.
        2. So do those who left for somebody else's plan, until it is over: or the lease would take the memory that
           they freed, the plan would be given up, they would return, and be asked again.
        """
        service = lease.slot.service
        held = [other for other in self.leases.values() if other.is_counted and other.slot.service == service]
        return held + self._planned_before(lease)

    def _planned_before(self, lease: Lease) -> list[Lease]:
        service, order = lease.slot.service, order_of(lease)
        plans = [plan for plan in self.plans.values() if not plan.given_up]
        owners = (self.leases[plan.owner] for plan in plans)
        gone = {victim for plan in plans if plan.owner != lease.id for victim in plan.victims} - {lease.id}
        left = (self.leases[victim] for victim in sorted(gone) if victim in self.leases)
        counted = [other for other in owners if order_of(other) < order]
        counted += [other for other in left if other.state in (State.PARKED, State.RESTING) and other not in counted]
        return [other for other in counted if other.slot.service == service]

    def over_quota(self, lease: Lease) -> bool:
        """Tell whether a waiter's service would hold more than its quota with it."""
        service = lease.slot.service
        limit = self.settings.quota(service).max_vram_bytes
        if limit is None:
            return False
        planned_bytes = sum(other.full_bytes for other in self._planned_before(lease))
        return self.held_bytes.get(service, 0) + planned_bytes + lease.full_bytes > limit

    def ask_no_more(self, lease: Lease) -> None:
        """End an eviction: its holder has answered, or need not, or is gone."""
        self.evicting.discard(lease.id)
        lease.evict_until, lease.eviction_overdue = None, False

    def close_window(self, lease: Lease) -> None:
        """End a lease's load window where it has one open."""
        for uuid in lease.devices:
            if self.devices[uuid].window == lease.id:
                self.devices[uuid].window = None

    def is_waiting(self, lease: Lease) -> bool:
        """Tell whether a lease stands in line: it waits, and its caller is still there."""
        return lease.state in WAITING and lease.cut_until is None
