"""What may be asked of the ledger.  Identity comes from outside: whoever sends a command names what is new in it."""

import msgspec

from cf_orch.ledger.records import Process

__all__ = [
    "Attach", "CancelRequest", "Checkpointed", "CloseSession", "Command", "CutOff", "DeviceReport", "Drain", "Evict",
    "Found", "Holding", "MarkBusy", "MarkIdle", "MarkLoaded", "OpenSession", "Release", "RenewLease", "RenewSession",
    "ReportDevices", "Request", "Restart", "Resume", "Sync", "Tick", "Undrain",
]  # fmt: skip


class _Command(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Found(_Command, frozen=True, kw_only=True):
    """Begin a new ledger under a name that no other ledger has."""

    ledger_id: str


class Restart(_Command, frozen=True, kw_only=True):
    """The coordinator starts, or woke from sleep: every deadline runs anew in full, every sample is stale."""


class Tick(_Command, frozen=True, kw_only=True):
    """Time passed: fire what is due."""


class OpenSession(_Command, frozen=True, kw_only=True):
    """Register a process.  An id that is already open, with the same facts, is renewed."""

    session_id: str
    service: str
    host_id: str | None = None
    host_name: str | None = None
    pid: int | None = None
    pid_start: int | None = None
    ttl_s: float | None = None


class RenewSession(_Command, frozen=True, kw_only=True):
    """A heartbeat."""

    session_id: str


class CloseSession(_Command, frozen=True, kw_only=True):
    """A process is done, or (``lost``) its observer saw that it is gone."""

    session_id: str
    lost: bool = False


class Request(_Command, frozen=True, kw_only=True):
    """Ask for memory; a number of bytes, or None for what the task type is configured to take.

    ``caller`` and ``request_id`` together make a retry harmless: the same pair gets the same lease.
    """

    caller: str
    request_id: str
    service: str
    size_bytes: int | None
    session_id: str | None = None
    ttl_s: float | None = None
    task_type: str = ""
    model: str | None = None
    priority: int | None = None
    peak_bytes: int | None = None
    residue_bytes: int | None = None
    gpus: int = 1
    host: str | None = None
    device: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    evictable: bool = False
    max_wait_s: float | None = None


class CancelRequest(_Command, frozen=True, kw_only=True):
    """End whatever a request id became, or will become in the next minutes."""

    caller: str
    request_id: str


class _LeaseCommand(_Command, frozen=True, kw_only=True):
    """A command about a lease; ``by`` is the session that sends it, None is the operator."""

    lease_id: str
    by: str | None = None


class Release(_LeaseCommand, frozen=True, kw_only=True):
    """Give the memory back, or leave the queue."""


class RenewLease(_LeaseCommand, frozen=True, kw_only=True):
    """A heartbeat of a lease that has no session."""


class MarkLoaded(_LeaseCommand, frozen=True, kw_only=True):
    """The engine is up: the peak is over."""


class MarkIdle(_LeaseCommand, frozen=True, kw_only=True):
    """The memory is kept warm, unused."""


class MarkBusy(_LeaseCommand, frozen=True, kw_only=True):
    """The memory is used again."""


class Attach(_LeaseCommand, frozen=True, kw_only=True):
    """Name a process that uses the lease's memory."""

    pid: int
    pid_start: int | None = None


class Checkpointed(_LeaseCommand, frozen=True, kw_only=True):
    """The memory is given up but for a residue (None: as declared), or could not be, for the reason given."""

    residue_bytes: int | None = None
    error: str | None = None


class Evict(_Command, frozen=True, kw_only=True):
    """An operator asks a holder to leave until he resumes it."""

    lease_id: str


class Resume(_Command, frozen=True, kw_only=True):
    """An operator lets a lease that he evicted come back."""

    lease_id: str


class CutOff(_Command, frozen=True, kw_only=True):
    """The connection over which a request without a session waits is broken."""

    lease_id: str


class DeviceReport(_Command, frozen=True, kw_only=True):
    """What an observer says of one device.  ``age_s`` is how long ago it looked; None numbers: it could not see."""

    uuid: str
    name: str
    index: int
    total_bytes: int
    reserve_bytes: int = 0
    has_driver: bool = True
    capabilities: tuple[str, ...] = ()
    used_bytes: int | None = None
    free_bytes: int | None = None
    processes: tuple[Process, ...] = ()
    age_s: float = 0.0
    error: str | None = None


class ReportDevices(_Command, frozen=True, kw_only=True):
    """An observer's look at all devices of its host."""

    host_id: str
    host_name: str
    devices: tuple[DeviceReport, ...]


class Drain(_Command, frozen=True, kw_only=True):
    """Grant nothing new on a device, for a time or until told otherwise; ask its holders to leave as well."""

    uuid: str
    for_s: float | None = None
    evict: bool = False


class Undrain(_Command, frozen=True, kw_only=True):
    """Let a device grant again."""

    uuid: str


class Holding(_Command, frozen=True, kw_only=True):
    """One lease as its holder knows it."""

    request_id: str
    lease_id: str | None = None
    held: bool = True
    """False: it only waits, for its first grant."""
    parked: bool = False
    """True: it has given its memory up, but for ``residue_bytes``, and is not held either."""
    residue_bytes: int | None = None
    evictable: bool = False
    service: str = ""
    devices: tuple[str, ...] = ()
    size_bytes: int = 0
    priority: int | None = None
    task_type: str = ""
    model: str | None = None


class Sync(_Command, frozen=True, kw_only=True):
    """All that a session holds and wants, after a reconnect; what it does not name ends."""

    session_id: str
    holdings: tuple[Holding, ...]


Command = (
    Found | Restart | Tick | OpenSession | RenewSession | CloseSession | Request | CancelRequest | Release | RenewLease
    | MarkLoaded | MarkIdle | MarkBusy | Attach | Checkpointed | Evict | Resume | CutOff | ReportDevices | Drain
    | Undrain | Sync
)  # fmt: skip
