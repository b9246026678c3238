"""What the ledger remembers: sessions, devices, leases.

Each record says which of its fields are *volatile*: deadlines, samples and sums start anew after a restart; all others
survive it, folded from the journal.  Bytes are integers; times named ``*_at`` are
seconds on the caller's monotonic clock and mean nothing in another process; ``*_unix_s`` is wall time, for people.
"""

from typing import ClassVar

import msgspec

from cf_orch.ledger.states import LEAVING, Outcome, Rest, State

__all__ = ["Device", "Lease", "Pid", "Plan", "Process", "Sample", "Session", "Slot"]

_OPERATORS = frozenset({Rest.OPERATOR, Rest.DRAIN})

Pid = tuple[int, int | None]
"""A process: its id, and its start time where known, since ids are used again."""


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """What a task asks for, checked and complete; sizes are per device of a gang."""

    service: str
    size_bytes: int
    priority: int
    task_type: str = ""
    model: str | None = None
    peak_bytes: int | None = None
    residue_bytes: int | None = None
    gpus: int = 1
    host: str | None = None
    device: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    evictable: bool = False
    max_wait_s: float | None = None

    @property
    def need_bytes(self) -> int:
        """The most that one device must give: the peak, where there is one above the size."""
        return max(self.size_bytes, self.peak_bytes or 0)


class Session(msgspec.Struct, kw_only=True):
    """One live process that holds or waits; its heartbeat keeps all its leases."""

    VOLATILE: ClassVar[frozenset[str]] = frozenset({"expires_at", "may_adopt", "leases"})

    id: str
    service: str
    host_id: str | None
    host_name: str | None
    pid: int | None
    pid_start: int | None
    ttl_s: float
    expires_at: float = 0.0
    may_adopt: bool = True  #: true from a registration or a restart until the next sync
    leases: set[str] = msgspec.field(default_factory=set)  #: its live leases, by id


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process that the driver names on a device; ``used_bytes`` is None where the driver does not say."""

    pid: int
    pid_start: int | None = None
    name: str = ""
    used_bytes: int | None = None
    ancestors: tuple[Pid, ...] = ()


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What an observer saw of a device at ``taken_at``; ``error`` says why it saw nothing."""

    taken_at: float
    used_bytes: int = 0
    free_bytes: int = 0
    processes: tuple[Process, ...] = ()
    error: str | None = None


class Device(msgspec.Struct, kw_only=True):
    """One pool of memory that leases are drawn from, whoever reports it."""

    VOLATILE: ClassVar[frozenset[str]] = frozenset(
        {"drain_ends_at", "sample", "vouched", "foreign_bytes", "foreign_processes", "floor_bytes"}
        | {"holders", "charged_bytes", "unseen_bytes", "window"}
    )

    uuid: str
    name: str
    host_id: str
    host_name: str
    index: int
    total_bytes: int
    reserve_bytes: int = 0
    has_driver: bool = True  #: false: declared by hand, the ledger alone counts
    capabilities: tuple[str, ...] = ()
    facts_seq: int = 0  #: the journal sequence at which all this was last said
    draining: bool = False
    drain_evicts: bool = False  #: all who can are to leave it, until the drain ends
    drain_for_s: float | None = None

    drain_ends_at: float | None = None
    vouched: bool = True  #: without a driver: declared since the start, or a card that is gone would go on granting
    sample: Sample | None = None
    foreign_bytes: int = 0  #: memory in use that no lease accounts for
    foreign_processes: tuple[Process, ...] = ()
    floor_bytes: int | None = None  #: last unclaimed bytes while no lease lived by growth here; see attribution

    #: from here on derived from the leases on it; Ledger.check() holds them against a recount
    holders: set[str] = msgspec.field(default_factory=set)
    charged_bytes: int = 0
    unseen_bytes: int = 0  #: sum over its leases of max(0, charge - bytes attributed)
    window: str | None = None  #: the lease whose load window is open here

    @property
    def capacity_bytes(self) -> int:
        """The largest lease that this device could ever give."""
        return self.total_bytes - self.reserve_bytes

    @property
    def committed_bytes(self) -> int:
        """All that is spoken for: charges, foreign use and reserve."""
        return self.charged_bytes + self.foreign_bytes + self.reserve_bytes

    @property
    def over_committed(self) -> bool:
        """True where what grew of itself exceeds the device; nothing is granted until it fits again."""
        return self.committed_bytes > self.total_bytes

    def blind(self, now: float, stale_after_s: float) -> bool:
        """Tell whether nothing vouches for it: no fresh and whole account of a driver or, without one, no person."""
        if not self.has_driver:
            return not self.vouched
        return self.sample is None or self.sample.error is not None or now - self.sample.taken_at > stale_after_s

    @property
    def room_bytes(self) -> int:
        """What could be granted now: the smaller of what ledger and driver say is free."""
        room = self.total_bytes - self.committed_bytes
        if self.has_driver and self.sample is not None:
            room = min(room, self.sample.free_bytes - self.reserve_bytes - self.unseen_bytes)
        return room

    @property
    def most_room_bytes(self) -> int:
        """What could be granted if every lease on it ended: a driver may keep more for itself than the reserve."""
        room = self.capacity_bytes - self.foreign_bytes
        if self.has_driver and self.sample is not None:
            driver_total = self.sample.free_bytes + self.sample.used_bytes
            room = min(room, driver_total - self.foreign_bytes - self.reserve_bytes)
        return room


class Lease(msgspec.Struct, kw_only=True):
    """One request and what became of it."""

    VOLATILE: ClassVar[frozenset[str]] = frozenset(
        {"expires_at", "waits_until", "ages_at", "cut_until", "due_since", "held_since", "charges", "seen"}
        | {"idle_since", "loaded_since", "evict_until", "asked_at", "checkpoint_s", "restore_s"}
        | {"load_until", "reclaim_until"}
        | {"has_plan", "gave_plan_up"}
    )

    id: str
    slot: Slot
    request_id: str
    caller: str
    session_id: str | None
    host_id: str | None  #: where the asker runs
    ttl_s: float | None  #: its own time to live, where it has no session
    place: int  #: the sequence number that orders it in its class
    requested_unix_s: float
    priority: int  #: the class it is ordered by: the slot's own, or what aging made of it
    state: State = State.QUEUED
    outcome: Outcome | None = None  #: from closing on
    token: int | None = None
    devices: tuple[str, ...] = ()
    granted_unix_s: float | None = None
    adopted: bool = False
    load_overdue: bool = False
    pids: tuple[Pid, ...] = ()  #: processes that use its memory: its session's own and those attached

    evicted_for: str | None = None  #: whom it was last asked to leave for: a lease's id, or a Rest of the operator's
    eviction_overdue: bool = False
    rest: Rest | None = None  #: why it rests
    residue_bytes: int | None = None  #: what it said that it kept on each device when it last gave its memory up
    residue_seen_bytes: int | None = None  #: what the driver showed that it kept then, where that was more
    is_counted: bool = False  #: its service's quota counts it
    checkpoint_error: str | None = None  #: why it could not give its memory up: it is not asked again

    expires_at: float | None = None
    waits_until: float | None = None
    ages_at: float | None = None
    load_until: float | None = None  #: when its load is overdue
    reclaim_until: float | None = None  #: when what has not come back of it is given up
    cut_until: float | None = None  #: its caller's connection broke: passed over, and cancelled then
    due_since: float = 0.0  #: when it came to be due what it is; only a later look lets its charge fall
    held_since: float | None = None
    idle_since: float | None = None  #: since when it is unused; None: it is used
    loaded_since: float = 0.0  #: since when it is not loading
    asked_at: float = 0.0  #: when it was asked to leave
    evict_until: float | None = None  #: when its eviction is overdue
    checkpoint_s: float | None = None  #: how long its last checkpoint took, at the least
    restore_s: float = 0.0  #: how long its last return took
    has_plan: bool = False  #: an eviction is under way for it
    gave_plan_up: bool = False  #: one was, in vain
    charges: dict[str, int] = msgspec.field(default_factory=dict)  #: what it counts for, by device
    seen: dict[str, int] = msgspec.field(default_factory=dict)  #: bytes attributed to it, by device

    @property
    def full_bytes(self) -> int:
        """Its full size over all its devices, as quotas count it."""
        return self.slot.size_bytes * self.slot.gpus

    @property
    def promised_bytes(self) -> int:
        """What it may use on each device in its state."""
        match self.state:
            case State.CLOSING:
                return 0
            case State.PARKED | State.RESTING:
                return self.residue_bytes or 0
            case State.LOADING:
                return self.slot.need_bytes
            case _:
                return self.slot.size_bytes

    @property
    def is_leaving(self) -> bool:
        """True while bytes that the driver shows of it are on their way back."""
        return self.state in LEAVING

    @property
    def asked_by_operator(self) -> bool:
        """True for one that an operator, not a plan, asked to leave, when it was last asked."""
        return self.evicted_for in _OPERATORS

    @property
    def can_be_asked(self) -> bool:
        """True for one that could give its memory up now, as far as is known."""
        is_held = self.state is State.ACTIVE or self.state is State.IDLE
        return is_held and self.slot.evictable and self.checkpoint_error is None

    def kept_bytes(self, uuid: str) -> int:
        """What it will still be charged on a device when it has given its memory up: as measured, else as declared."""
        if self.state is State.CLOSING:
            return 0
        for residue_bytes in (self.residue_seen_bytes, self.residue_bytes, self.slot.residue_bytes):
            if residue_bytes is not None:
                return min(residue_bytes, self.charges[uuid])
        return 0

    def need_on(self, uuid: str) -> int:
        """What a device must give for its grant; a return has its residue there already."""
        return self.slot.need_bytes - self.charges.get(uuid, 0)

    def due_bytes(self, uuid: str) -> int:
        """What it must be charged on a device by its state and by what the driver shows of it."""
        return max(self.promised_bytes, self.seen.get(uuid, 0))


class Plan(msgspec.Struct, kw_only=True):
    """An eviction under way for a waiter: nobody behind it is served on these devices, nor any of its victims.

    ``victims`` are all that were asked to leave for it, or had been asked already and it counts on them, until they
    are back.  A plan that cannot succeed any more is *given up*: it holds nothing, and its victims may return before
    the one for whom they left.
    """

    owner: str
    devices: tuple[str, ...]
    victims: tuple[str, ...]
    given_up: bool = False
