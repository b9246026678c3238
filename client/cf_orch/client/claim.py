"""One request and what became of it, as the holder knows it."""

import asyncio
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum, auto

import msgspec

from cf_orch.client.errors import LeaseError, LeaseLost
from cf_orch.client.eviction import AWAY, WISHES, Eviction, Wish
from cf_orch.client.gate import Gate
from cf_orch.client.hooks import Hooks
from cf_orch.client.io_thread import promise
from cf_orch.client.local import Ticket
from cf_orch.client.slot import VRAMSlot
from cf_orch.protocol.messages import HoldingItem, LeaseInfo, LeaseRequest

__all__ = ["Claim", "Phase"]


class _Holding(HoldingItem, kw_only=True, omit_defaults=True):
    """A holding in short, for thousands must fit into one message."""


class Phase(Enum):
    """Where a claim stands: it only ever goes forward."""

    WAITING = auto()
    HELD = auto()
    OVER = auto()


class Claim:
    """What one opener asked for.  Changed on the I/O thread only, read from any.

    It survives what the coordinator's lease may not: after an outage the same claim may stand for another lease.  With
    ``hooks`` it can be evicted, and is held all the while: see ``eviction``.
    """

    def __init__(
        self, slot: VRAMSlot, *, evictable: bool, within: tuple["Claim", ...], hooks: Hooks | None = None
    ) -> None:
        """Raises LeaseRefused for a slot that no message could carry.  Without hooks nothing is done when evicted."""
        self.name = uuid.uuid4().hex  #: what it is called on this host; unlike its request's id it never changes
        self.request = slot.request(self.name, evictable=evictable)
        self.hooks = hooks
        self.within = within  #: the claims from inside of which this one was made
        self.asked_at = time.monotonic()
        self.phase = Phase.WAITING
        self.info: LeaseInfo | None = None  #: as last heard; never None once granted
        self.granted: Future[None] = promise()
        self.eviction = Eviction()
        self.gate = Gate()
        self.loss: str | None = None  #: why it was lost
        self.loss_cause: Exception | None = None  #: the error of the holder's own code that it was lost by
        self.on_loss: Callable[[], object] | None = None  #: called on the I/O thread

        self.is_named_only = False  #: a relay knows its name alone: it is named in a sync, and not asked for
        self.was_sent = False  #: a coordinator may know of the request
        self.is_known = False  #: a coordinator granted or adopted the lease
        self.notices = 0  #: how many came: an answer that crossed one may be older than it
        self.timer: asyncio.TimerHandle | None = None  #: when its wait ends
        self.ticket: Ticket | None = None  #: its turn on this host, while it has one
        #: what its holder said of it, to be said again to a coordinator that does not know
        self.is_loaded = False
        self.idle_since: float | None = None  #: on the monotonic clock
        self.pids: list[tuple[int, int | None]] = []

    @property
    def request_id(self) -> str:
        """Its request's name, made here; another one if the coordinator ended the request under the first."""
        return self.request.request_id or ""

    @property
    def held(self) -> LeaseInfo:
        """The lease.  Raises LeaseLost when it was lost or is over."""
        if self.phase is not Phase.HELD or self.info is None:
            raise LeaseLost(self.loss or "the lease has ended: its `with` block is over") from self.loss_cause
        return self.info

    @property
    def is_local(self) -> bool:
        """True while it is held without a coordinator."""
        return self.info is not None and self.info.local

    @property
    def is_idle(self) -> bool:
        """True while its holder keeps the memory warm, unused, or left it while it did."""
        return self.idle_since is not None

    @property
    def is_away(self) -> bool:
        """True while it is held without memory: that was given up, and what is granted again is not taken yet."""
        return self.phase is Phase.HELD and self.eviction.is_away

    @property
    def wants_memory(self) -> bool:
        """True while a turn on this host would help: it waits, or waits for its return; not while it rests."""
        if self.phase is Phase.WAITING:
            return True
        rests = self.is_idle or (self.info is not None and self.info.rest in ("operator", "drain"))
        return self.is_away and not rests

    @property
    def state(self) -> str:
        """As the lease reads, or will read when the coordinator has heard of what happened here.  Raises LeaseLost."""
        read = self.held.state
        if self.eviction.is_in_place:
            is_plain = self.is_local or read in ("active", "idle")
            return ("idle" if self.is_idle else "active") if is_plain else read
        if not self.is_away:
            return "loading"
        if read in AWAY:
            return read
        return "resting" if self.is_idle else "parked"

    @property
    def kept_gb(self) -> float:
        """What stays of it on each device while it is away: as its checkpoint said, else as its slot declared."""
        kept_gb = self.request.residue_gb if self.eviction.residue_gb is None else self.eviction.residue_gb
        return (kept_gb or 0.0) if self.is_away else 0.0

    def wanted(self) -> LeaseRequest:
        """What to ask for: what its holder did or, for its return, what it had, on the devices that it was on."""
        if self.phase is Phase.WAITING:
            return self.request
        had = self.held
        pins: list[str | int] = [device.uuid for device in had.devices]
        return msgspec.structs.replace(
            self.request, max_wait_s=None, vram_gb=had.vram_gb or self.request.vram_gb, priority=had.priority,
            device=pins or self.request.device,
        )  # fmt: skip

    def rename(self) -> None:
        """Become a new request: the id it had stands for a request that has ended."""
        self.request = msgspec.structs.replace(self.wanted(), request_id=uuid.uuid4().hex)
        self.was_sent = self.is_known = False
        if self.info is not None:
            self.info = None if self.phase is Phase.WAITING else msgspec.structs.replace(self.info, rest=None)

    def is_grant(self, info: LeaseInfo) -> bool:
        """Tell whether a lease that reads so is memory for a claim that has none."""
        if self.phase is Phase.WAITING:
            return info.state in WISHES and info.state not in AWAY
        return self.is_away and WISHES.get(info.state) is Wish.STAY and not self._knows_better(info)

    def will_be_granted(self, info: LeaseInfo, *, is_answer: bool = False) -> None:
        """Know of a grant that is not to be taken yet."""
        self.info, self.is_known = info, True
        if self.is_away:
            self.eviction.heard(Wish.AWAY, is_answer=is_answer)

    def hear(self, info: LeaseInfo, *, is_answer: bool = False) -> None:
        """Know what a lease reads, unless more is known of it.  ``is_answer`` as in ``Eviction.heard``."""
        if self._knows_better(info):
            self.eviction.heard(self.eviction.wish, is_answer=is_answer)
            return
        self.info = info
        if self.hooks is not None:
            self.eviction.heard(WISHES[info.state], is_answer=is_answer)

    def _knows_better(self, info: LeaseInfo) -> bool:
        known = self.info
        return known is not None and known.id == info.id and _age(info) < _age(known)

    def grant(self, info: LeaseInfo, *, is_answer: bool = False) -> None:
        """It is held."""
        self.hear(info, is_answer=is_answer)
        if self.phase is Phase.WAITING:
            self.phase = Phase.HELD
            self.granted.set_result(None)

    def refuse(self, error: LeaseError) -> None:
        """It will not be granted, or not again."""
        if self.phase is Phase.HELD:
            self.lose(str(error))
        else:
            self.phase = Phase.OVER
            self.granted.set_exception(error)

    def lose(self, reason: str, cause: Exception | None = None) -> None:
        """It is held no more, and not because its holder left."""
        self.loss, self.loss_cause = reason, cause
        if self.phase is Phase.WAITING:
            self.refuse(LeaseLost(reason))
        self.phase = Phase.OVER
        if self.on_loss is not None:
            self.on_loss()

    def end(self) -> None:
        """Its holder left."""
        self.phase = Phase.OVER
        if self.timer is not None:
            self.timer.cancel()

    def holding(self) -> HoldingItem:
        """The claim as a reconnecting session names it."""
        request = self.request
        held = self.info if self.phase is Phase.HELD else None
        residue_gb = self.eviction.residue_gb
        return _Holding(
            request_id=self.request_id,
            id=self.info.id if self.info and (self.is_known or not held) else None,
            state=self._state_to_say() if held else "queued",
            devices=[device.uuid for device in held.devices] if held else [],
            vram_gb=held.vram_gb if held else 0.0,
            residue_gb=request.residue_gb if residue_gb is None else residue_gb,
            local=self.is_local,
            evictable=request.evictable,
            service=request.service,
            task_type=request.task_type,
            model=request.model,
            priority=held.priority if held else None,
        )

    def _state_to_say(self) -> str:
        if self.is_away:
            return "resting" if self.is_idle else "parked"
        return "idle" if self.is_idle else "active"


def _age(info: LeaseInfo) -> tuple[int, bool]:
    """What a lease can only grow in: its token rises with each grant, and what was granted is given up once."""
    return info.token or 0, info.state in AWAY
