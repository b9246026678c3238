"""One request and what became of it, as the holder knows it."""

import asyncio
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum, auto

import msgspec

from cf_orch.client.errors import LeaseError, LeaseLost
from cf_orch.client.io_thread import promise
from cf_orch.client.local import Ticket
from cf_orch.client.slot import VRAMSlot
from cf_orch.protocol.messages import HoldingItem, LeaseInfo

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

    It survives what the coordinator's lease may not: after an outage the same claim may stand for another lease.
    """

    def __init__(self, slot: VRAMSlot, *, evictable: bool, within: tuple["Claim", ...]) -> None:
        """Raises LeaseRefused for a slot that no message could carry."""
        self.request = slot.request(uuid.uuid4().hex, evictable=evictable)
        self.within = within  #: the claims from inside of which this one was made
        self.asked_at = time.monotonic()
        self.phase = Phase.WAITING
        self.info: LeaseInfo | None = None  #: as last heard; never None once granted
        self.granted: Future[None] = promise()
        self.loss: str | None = None  #: why it was lost
        self.on_loss: Callable[[], object] | None = None  #: called on the I/O thread

        self.was_sent = False  #: a coordinator may know of it
        self.is_known = False  #: a coordinator granted or adopted it
        self.timer: asyncio.TimerHandle | None = None  #: when its wait ends
        self.ticket: Ticket | None = None  #: its turn on this host, while it has one
        #: what its holder said of it, to be said again to a coordinator that does not know
        self.is_loaded = False
        self.is_idle = False
        self.pids: list[tuple[int, int | None]] = []

    @property
    def request_id(self) -> str:
        """Its name, made here; another one only if the coordinator ended the request under the first."""
        return self.request.request_id or ""

    @property
    def held(self) -> LeaseInfo:
        """The lease.  Raises LeaseLost when it was lost or is over."""
        if self.phase is not Phase.HELD or self.info is None:
            raise LeaseLost(self.loss or "the lease has ended: its `with` block is over")
        return self.info

    @property
    def is_local(self) -> bool:
        """True while it is held without a coordinator."""
        return self.info is not None and self.info.local

    def rename(self) -> None:
        """Become a new request: the id it had stands for a request that has ended."""
        self.request = msgspec.structs.replace(self.request, request_id=uuid.uuid4().hex)
        self.info = None
        self.was_sent = False

    def grant(self, info: LeaseInfo) -> None:
        """It is held."""
        self.info = info
        if self.phase is Phase.WAITING:
            self.phase = Phase.HELD
            self.granted.set_result(None)

    def refuse(self, error: LeaseError) -> None:
        """It will not be granted."""
        self.phase = Phase.OVER
        self.granted.set_exception(error)

    def lose(self, reason: str) -> None:
        """It is held no more, and not because its holder left."""
        if self.phase is Phase.WAITING:
            self.refuse(LeaseLost(reason))
        self.phase = Phase.OVER
        self.loss = reason
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
        return _Holding(
            request_id=self.request_id,
            id=self.info.id if self.info and (self.is_known or not held) else None,
            state=("idle" if self.is_idle else "active") if held else "queued",
            devices=[device.uuid for device in held.devices] if held else [],
            vram_gb=held.vram_gb if held else 0.0,
            residue_gb=request.residue_gb,
            local=self.is_local,
            service=request.service,
            task_type=request.task_type,
            model=request.model,
            priority=held.priority if held else None,
        )
