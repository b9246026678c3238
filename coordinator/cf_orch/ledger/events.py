"""What happened: the only way in which the ledger changes.

Durable events are journaled, counted by the ledger's sequence number, and folded again at a start; volatile ones
(heartbeats, samples, idle and busy, a broken connection) live in memory only.  An event says what was decided, never
why a later version should decide it again.
"""

from typing import ClassVar

import msgspec

from cf_orch.ledger.records import Sample, Slot
from cf_orch.ledger.states import Outcome, Rest

__all__ = [
    "Adopted", "Aged", "Attached", "Busied", "CancelForgotten", "CancelNoted", "CheckpointFailed", "Closing", "Cut",
    "DeviceSeen", "DrainBegun", "DrainEnded", "DurableEvent", "Ended", "Event", "EvictAsked", "EvictionOverdue",
    "Forgotten", "Founded", "Granted", "Idled", "Leaked", "LeaseRenewed", "LoadOverdue", "Loaded", "Parked",
    "PlanEnded", "Planned", "Rejoined", "Requested", "Requeued", "ResidueSeen", "Restarted", "Sampled", "SessionEnded",
    "SessionOpened", "SessionRenewed", "Synced", "Vouched", "Withdrawn",
]  # fmt: skip


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    durable: ClassVar[bool] = True


class Founded(_Event, frozen=True, kw_only=True, tag="founded"):
    """A new ledger began; its name is the first part of all its lease ids."""

    ledger_id: str


class SessionOpened(_Event, frozen=True, kw_only=True, tag="session_opened"):
    """A process registered."""

    session_id: str
    service: str
    host_id: str | None
    host_name: str | None
    pid: int | None
    pid_start: int | None
    ttl_s: float


class SessionEnded(_Event, frozen=True, kw_only=True, tag="session_ended"):
    """A session is over; its leases ended with events of their own before this one."""

    session_id: str
    outcome: Outcome


class DeviceSeen(_Event, frozen=True, kw_only=True, tag="device_seen"):
    """A device was reported for the first time, or with other facts than before."""

    uuid: str
    name: str
    host_id: str
    host_name: str
    index: int
    total_bytes: int
    reserve_bytes: int
    has_driver: bool
    capabilities: tuple[str, ...]


class DrainBegun(_Event, frozen=True, kw_only=True, tag="drain_begun"):
    """Nothing new is granted on a device, for a time or until told otherwise; ``evict``: all who can are to leave."""

    uuid: str
    for_s: float | None
    evict: bool = False


class DrainEnded(_Event, frozen=True, kw_only=True, tag="drain_ended"):
    """The device grants again."""

    uuid: str


class Requested(_Event, frozen=True, kw_only=True, tag="requested"):
    """A request took its place in the queue; ``lease_id`` ends in ``place``."""

    lease_id: str
    place: int
    slot: Slot
    request_id: str
    caller: str
    session_id: str | None
    host_id: str | None
    ttl_s: float | None
    unix_s: float


class Granted(_Event, frozen=True, kw_only=True, tag="granted"):
    """A lease may use its memory on these devices, under this fencing token."""

    lease_id: str
    token: int
    devices: tuple[str, ...]
    loading: bool
    unix_s: float
    returns: bool = False  #: it held before, and gave its memory up


class Adopted(_Event, frozen=True, kw_only=True, tag="adopted"):
    """A lease that was already a fact came into the ledger, charged even beyond the total."""

    lease_id: str
    place: int
    token: int
    slot: Slot
    request_id: str
    caller: str
    session_id: str
    host_id: str | None
    devices: tuple[str, ...]
    unix_s: float


class Loaded(_Event, frozen=True, kw_only=True, tag="loaded"):
    """The engine is up: the peak is over."""

    lease_id: str


class LoadOverdue(_Event, frozen=True, kw_only=True, tag="load_overdue"):
    """Loading took too long: the window closes, the peak stays charged until ``loaded``."""

    lease_id: str


class Aged(_Event, frozen=True, kw_only=True, tag="aged"):
    """A waiter rose to a higher class, for order only."""

    lease_id: str
    priority: int


class Attached(_Event, frozen=True, kw_only=True, tag="attached"):
    """A process was named as one that uses the lease's memory."""

    lease_id: str
    pid: int
    pid_start: int | None


class Planned(_Event, frozen=True, kw_only=True, tag="planned"):
    """A waiter will be served on these devices when the victims have left; it replaces a plan that it had."""

    lease_id: str
    devices: tuple[str, ...]
    victims: tuple[str, ...]


class PlanEnded(_Event, frozen=True, kw_only=True, tag="plan_ended"):
    """A waiter's plan is over: it was granted, it went, or its plan does not suffice any more."""

    lease_id: str


class EvictAsked(_Event, frozen=True, kw_only=True, tag="evict_asked"):
    """A holder was asked to leave: ``evicted_for`` a lease, by the ``operator``, or by a ``drain``."""

    lease_id: str
    evicted_for: str


class EvictionOverdue(_Event, frozen=True, kw_only=True, tag="eviction_overdue"):
    """A holder that was asked to leave has not answered in time; it keeps its memory, and may still answer."""

    lease_id: str


class Withdrawn(_Event, frozen=True, kw_only=True, tag="withdrawn"):
    """A holder need not leave any more; it goes on under the same token."""

    lease_id: str


class CheckpointFailed(_Event, frozen=True, kw_only=True, tag="checkpoint_failed"):
    """A holder could not give its memory up: it goes on, and is not asked again."""

    lease_id: str
    error: str


class Parked(_Event, frozen=True, kw_only=True, tag="parked"):
    """A holder gave its memory up, but for the residue; it queues at its place or, with ``rest``, does not."""

    lease_id: str
    residue_bytes: int
    rest: Rest | None


class Requeued(_Event, frozen=True, kw_only=True, tag="requeued"):
    """A lease that rests, or is about to, is wanted again and queues at this place."""

    lease_id: str
    place: int


class ResidueSeen(_Event, frozen=True, kw_only=True, tag="residue_seen"):
    """A lease that gave its memory up kept more of it, by the driver's account, than it said."""

    lease_id: str
    residue_bytes: int


class Closing(_Event, frozen=True, kw_only=True, tag="closing"):
    """The holder is done; the lease stays charged for what the driver still shows of it."""

    lease_id: str
    outcome: Outcome


class Leaked(_Event, frozen=True, kw_only=True, tag="leaked"):
    """Bytes that did not come back in time; from now on they are foreign use."""

    lease_id: str
    uuid: str
    leaked_bytes: int


class Ended(_Event, frozen=True, kw_only=True, tag="ended"):
    """The lease is over and charges nothing."""

    lease_id: str
    outcome: Outcome


class CancelNoted(_Event, frozen=True, kw_only=True, tag="cancel_noted"):
    """A request id was cancelled before its request arrived; ``requested`` uses this up and ``ended`` follows."""

    caller: str
    request_id: str


class _VolatileEvent(_Event, frozen=True, kw_only=True):
    durable: ClassVar[bool] = False


class Restarted(_VolatileEvent, frozen=True, kw_only=True, tag="restarted"):
    """The coordinator started or woke: every deadline runs anew in full, every sample is stale, all count as busy."""


class SessionRenewed(_VolatileEvent, frozen=True, kw_only=True, tag="session_renewed"):
    """A heartbeat; or, ``reopened``, a process that was cut off introduces itself anew, and may have served itself."""

    session_id: str
    reopened: bool = False


class LeaseRenewed(_VolatileEvent, frozen=True, kw_only=True, tag="lease_renewed"):
    """A heartbeat of a lease without a session."""

    lease_id: str


class Synced(_VolatileEvent, frozen=True, kw_only=True, tag="synced"):
    """A session has said all that it holds; it may adopt nothing more until it is cut off again."""

    session_id: str


class Forgotten(_VolatileEvent, frozen=True, kw_only=True, tag="forgotten"):
    """An ended lease can no longer be read, and its request id is free again."""

    lease_id: str


class CancelForgotten(_VolatileEvent, frozen=True, kw_only=True, tag="cancel_forgotten"):
    """The request that was cancelled in advance never came."""

    caller: str
    request_id: str


class Sampled(_VolatileEvent, frozen=True, kw_only=True, tag="sampled"):
    """An observer looked at a device."""

    uuid: str
    sample: Sample


class Vouched(_VolatileEvent, frozen=True, kw_only=True, tag="vouched"):
    """A device without a driver was declared again after a start; until then nothing is granted on it."""

    uuid: str


class Idled(_VolatileEvent, frozen=True, kw_only=True, tag="idled"):
    """The holder keeps its memory warm, unused."""

    lease_id: str


class Busied(_VolatileEvent, frozen=True, kw_only=True, tag="busied"):
    """The holder uses its memory again."""

    lease_id: str


class Cut(_VolatileEvent, frozen=True, kw_only=True, tag="cut"):
    """The connection of a waiter without a session broke."""

    lease_id: str


class Rejoined(_VolatileEvent, frozen=True, kw_only=True, tag="rejoined"):
    """A waiter came back in time and has its place again."""

    lease_id: str


DurableEvent = (
    Founded | SessionOpened | SessionEnded | DeviceSeen | DrainBegun | DrainEnded | Requested | Granted | Adopted
    | Loaded | LoadOverdue | Aged | Attached | Planned | PlanEnded | EvictAsked | EvictionOverdue | Withdrawn
    | CheckpointFailed | Parked | Requeued | ResidueSeen | Closing | Leaked | Ended | CancelNoted
)  # fmt: skip
Event = (
    DurableEvent | Restarted | SessionRenewed | LeaseRenewed | Synced | Forgotten
    | CancelForgotten | Vouched | Sampled | Idled | Busied | Cut | Rejoined
)  # fmt: skip
