"""What is said over HTTP, WebSocket and unix socket: the same messages through every door.

Requests refuse fields that they do not know; answers and notices ignore them, so that either side may be the newer.
Sizes are in GB (GiB, 2**30 bytes), durations in seconds, ``*_at`` is wall time as seconds since 1970.
"""

from typing import Annotated, Any, Literal

import msgspec

__all__ = [
    "AttachRequest", "CheckpointedRequest", "DeviceInfo", "DeviceRef", "DeviceReportItem", "DeviceReportRequest",
    "DevicesAnswer", "DrainRequest", "EventInfo", "EventsAnswer", "EvictionInfo", "ForeignInfo", "Hello",
    "HoldingItem", "LeaseInfo", "LeaseRequest", "LeasesAnswer", "Name", "Notice", "Opening", "ProcessItem",
    "ProfileAnswer", "Reply", "ReportAnswer", "SessionAnswer", "SessionId", "SessionInfo", "SessionRequest",
    "SessionsAnswer", "StatusAnswer", "SyncRequest", "WaitingInfo",
]  # fmt: skip

PROTOCOL = 1
"""The version of the handshake and framing; what may be said grows without changing it."""

LARGEST_EXACT = 2**53
"""The largest integer that every JSON reader keeps exactly; no memory comes near it."""

Name = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]
"""A word that a person or a program chose: one line of text."""
SessionId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,100}$(?!\n)")]
"""A session's id, as it may stand in a path and in a header."""
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_EXACT)]
_Pid = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
_Start = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_EXACT)]
_Index = Annotated[int, msgspec.Meta(ge=0, le=10_000)]
_HeldGb = Annotated[float, msgspec.Meta(ge=0, le=2**20)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=10**9)]


class Hello(msgspec.Struct, kw_only=True):
    """The first message of a WebSocket, from either side."""

    protocol: int = PROTOCOL
    version: str
    role: str
    features: list[str] = []
    epoch: int | None = None


class SessionRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Register one process.  ``session_id`` asks for a session that was open before, after a reconnect."""

    service: Name
    session_id: SessionId | None = None
    host_id: Name | None = None
    host_name: Name | None = None
    pid: _Pid | None = None
    pid_start: _Start | None = None
    ttl_s: float | None = None


class SessionAnswer(msgspec.Struct, kw_only=True):
    """A session is open; it must be renewed well within ``ttl_s``."""

    session_id: str
    ttl_s: float
    epoch: int


class LeaseRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Ask for memory.  Sizes are per device of a gang (``gpus`` > 1)."""

    service: Name
    vram_gb: float | Literal["auto"]
    request_id: Name | None = None
    session_id: SessionId | None = None
    ttl_s: float | None = None
    task_type: Name = ""
    model: Name | None = None
    priority: int | str | None = None
    peak_gb: float | None = None
    residue_gb: float | None = None
    gpus: int = 1
    host: Name | None = None
    device: str | int | list[str | int] | None = None
    requires: list[str] = []
    evictable: bool = False
    max_wait_s: float | None = None
    traceparent: str | None = None


class DeviceRef(msgspec.Struct, kw_only=True):
    """A device that a lease is on."""

    uuid: str
    name: str
    host: str
    index: int


class WaitingInfo(msgspec.Struct, kw_only=True):
    """Why a lease waits: the rule, the device nearest to fitting, and the leases that come first."""

    rule: str
    device: str | None
    needs_gb: float
    free_gb: float
    behind: list[str]
    eta_s: float | None


class EvictionInfo(msgspec.Struct, kw_only=True):
    """That a holder is asked to leave: for a lease, by its id, by the ``operator`` or by a ``drain``.

    ``deadline_s`` is what is left of its time; past that it is overdue, and keeps its memory all the same.
    """

    for_whom: str = msgspec.field(name="for")
    deadline_s: float
    overdue: bool


class LeaseInfo(msgspec.Struct, kw_only=True):
    """A lease as it reads.

    ``queued`` waits for its first grant; ``parked`` gave its memory up and waits for its return; ``resting`` gave it
    up and does not, for the reason in ``rest``: it was ``idle`` (``busy`` ends that), or an ``operator`` or a
    ``drain`` asked it.  ``checkpoint_error`` says why it could not give its memory up, and is not asked again.
    """

    id: str
    state: str
    outcome: str | None = None
    token: int | None
    service: str
    task_type: str
    model: str | None
    priority: int
    vram_gb: float
    charge_gb: float
    devices: list[DeviceRef]
    position: int | None
    waiting_for: WaitingInfo | None
    evictable: bool
    local: bool = False
    adopted: bool = False
    load_overdue: bool = False
    eviction: EvictionInfo | None = None
    rest: str | None = None
    residue_gb: float | None = None
    checkpoint_error: str | None = None
    request_id: str
    session_id: str | None
    created_at: float
    granted_at: float | None
    expires_at: float | None
    env: dict[str, str] = {}


class LeasesAnswer(msgspec.Struct, kw_only=True):
    """Leases, in the order in which they are or will be served."""

    leases: list[LeaseInfo]


class AttachRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Name a process that uses a lease's memory; the start time guards against ids that are used again."""

    pid: _Pid
    pid_start: _Start | None = None


class CheckpointedRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The memory is given up, but for a residue on each device; or it could not be, and ``error`` says why."""

    residue_gb: float | None = None
    error: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)] | None = None


class HoldingItem(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One lease as its holder knows it."""

    request_id: Name
    id: str | None = None
    state: str = "active"
    devices: list[Name] = []
    vram_gb: _HeldGb = 0.0
    residue_gb: float | None = None
    local: bool = False
    evictable: bool = False
    service: Name = ""
    task_type: Name = ""
    model: Name | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None


class SyncRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All that a session holds and wants; what it does not name ends."""

    leases: list[HoldingItem]


class ProcessItem(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A process that the driver names on a device."""

    pid: _Pid
    pid_start: _Start | None = None
    name: str = ""
    used_bytes: _Bytes | None = None
    ancestors: list[tuple[_Pid, _Start | None]] = []


class DeviceReportItem(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One device as an observer sees it; sizes in bytes, since they are measured."""

    uuid: Name
    name: Name
    index: _Index = 0
    total_bytes: _Bytes = 0
    reserve_bytes: _Bytes = 0
    has_driver: bool = True
    capabilities: list[Name] = []
    used_bytes: _Bytes | None = None
    free_bytes: _Bytes | None = None
    processes: list[ProcessItem] = []
    age_s: _Seconds = 0.0
    error: str | None = None


class DeviceReportRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An observer's look at all devices of its host."""

    host_id: Name
    host_name: Name
    devices: list[DeviceReportItem]


class ReportAnswer(msgspec.Struct, kw_only=True):
    """The report was taken in.

    ``coming_back``: memory is being given back on that host, so look again soon.  ``attached`` are the processes (pid
    and start time) whose RAM counts where a host's RAM is a device.
    """

    devices: int
    coming_back: bool = False
    attached: list[tuple[int, int | None]] = []


class ForeignInfo(msgspec.Struct, kw_only=True):
    """A process that no lease accounts for."""

    pid: int
    name: str
    used_gb: float | None


class DeviceInfo(msgspec.Struct, kw_only=True):
    """A device as it reads; ``free_gb`` is what could be granted now, ``blind`` says why nothing can."""

    uuid: str
    name: str
    host: str
    host_id: str
    index: int
    total_gb: float
    charged_gb: float
    foreign_gb: float
    reserve_gb: float
    free_gb: float
    used_gb: float | None
    sample_age_s: float | None
    has_driver: bool
    blind: str | None
    draining: bool
    over_committed: bool
    loading: str | None
    capabilities: list[str]
    leases: list[str]
    foreign: list[ForeignInfo]


class DevicesAnswer(msgspec.Struct, kw_only=True):
    """All devices ever reported."""

    devices: list[DeviceInfo]


class SessionInfo(msgspec.Struct, kw_only=True):
    """A session as it reads."""

    id: str
    service: str
    host: str | None
    pid: int | None
    ttl_s: float
    expires_in_s: float
    leases: list[str]


class SessionsAnswer(msgspec.Struct, kw_only=True):
    """All open sessions."""

    sessions: list[SessionInfo]


class DrainRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Grant nothing new on a device, for a time or until told otherwise; ask its holders to leave as well."""

    for_s: float | None = None
    evict: bool = False


class StatusAnswer(msgspec.Struct, kw_only=True):
    """The whole picture."""

    version: str
    ledger_id: str
    epoch: int
    seq: int
    queued: int
    devices: list[DeviceInfo]
    leases: list[LeaseInfo]
    sessions: list[SessionInfo]


class EventInfo(msgspec.Struct, kw_only=True):
    """One journaled event: its sequence number, when it happened, and what it was."""

    seq: int
    at: float
    event: dict[str, Any]


class EventsAnswer(msgspec.Struct, kw_only=True):
    """Events in order.  ``next_since`` asks for what follows."""

    events: list[EventInfo]
    next_since: int


class ProfileAnswer(msgspec.Struct, kw_only=True):
    """What is known of a card by its name; ``variants`` are the sizes that are sold under it.

    Of the types that it can use, engines compute in the ``native`` ones and hold weights in the ``weight_only`` ones.
    """

    name: str
    vram_gb: float
    architecture: str
    compute_capability: tuple[int, int] | None
    fp16: bool
    bf16: bool
    fp8: bool
    fp4: bool
    int8: bool
    int4: bool
    bandwidth_gb_s: float | None
    max_batch: int
    variants: list[float]
    source: str
    target: str = ""
    native: list[str] = []
    weight_only: list[str] = []
    unified: bool = False


class Opening(msgspec.Struct, kw_only=True):
    """The first frame of a WebSocket, from either side."""

    hello: Hello


class Reply(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The answer to one call on a WebSocket: what the same call answers on HTTP, or a problem.

    ``re`` is the call's id; None where the call had none that could be read.
    """

    re: int | None
    status: int
    body: Any = None


class Notice(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Something that a session must hear of a lease of its own, or of the coordinator.

    ``granted``, ``lost``; ``evict``: leave by ``deadline_s`` from now, ``for`` whom; ``withdrawn``: stay after all;
    ``resume``: the memory is yours again, under a new token; ``sample``: look at your devices now; ``stopping``.
    ``seq`` rises; one that was missed is asked for by it.
    """

    notice: str
    seq: int
    lease: LeaseInfo | None = None
    deadline_s: float | None = None
    for_whom: str | None = msgspec.field(name="for", default=None)
