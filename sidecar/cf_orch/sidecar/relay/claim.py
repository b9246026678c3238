"""A claim that stands for a lease of another process."""

import time
from collections.abc import Callable

from cf_orch.client.claim import Claim, Phase
from cf_orch.client.eviction import AWAY, Wish
from cf_orch.client.slot import VRAMSlot
from cf_orch.protocol.messages import HoldingItem, LeaseInfo, LeaseRequest
from cf_orch.sidecar.relay.hooks import RelayedHooks
from cf_orch.sidecar.relay.reads import untold

__all__ = ["RelayedClaim"]


class RelayedClaim(Claim):
    """What a process asked us for.

    After a start of ours a process names what it waits for before it asks for it in full.  Such a claim
    (``is_named_only``) is named to the coordinator, so that its place is kept, and not asked for.
    """

    on_change: Callable[[], object] | None = None  #: called after every change of what it reads, or where it stands

    def __init__(self, request: LeaseRequest) -> None:
        """``request`` has its id, and no session."""
        slot = VRAMSlot(request.service, request.task_type, request.vram_gb)
        self.asking = RelayedHooks() if request.evictable else None
        super().__init__(slot, evictable=request.evictable, within=(), hooks=self.asking)
        self.request = request

    @classmethod
    def named(cls, item: HoldingItem, service: str, host_name: str) -> "RelayedClaim":
        """Make the claim for what a process says that it holds or waits for."""
        request = LeaseRequest(
            service=item.service or service,
            vram_gb=item.vram_gb,
            request_id=item.request_id,
            task_type=item.task_type,
            model=item.model,
            priority=item.priority,
            residue_gb=item.residue_gb,
            evictable=item.evictable,
        )
        claim = cls(request)
        claim.was_sent = True
        if item.state == "queued":
            claim.is_named_only = True
        else:
            claim.is_known = not item.local
            claim.idle_since = time.monotonic() if item.state in ("idle", "resting") else None
            lease_id = item.id or f"local-{item.request_id}"
            claim.grant(
                untold(
                    request, lease_id=lease_id, state=item.state, local=item.local, devices=tuple(item.devices),
                    host_name=host_name,
                )
            )  # fmt: skip
            if item.state in AWAY:
                claim.eviction.gave_up(item.residue_gb)
        return claim

    @property
    def wants_memory(self) -> bool:
        """True while a turn on this host would help; not before it is known what for."""
        return super().wants_memory and not self.is_named_only

    # --- every change is told

    @property
    def info(self) -> LeaseInfo | None:
        """As last heard of it."""
        return self._info

    @info.setter
    def info(self, info: LeaseInfo | None) -> None:
        self._info = info
        self._tell()

    @property
    def phase(self) -> Phase:
        """Where it stands."""
        return self._phase

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._phase = phase
        self._tell()

    def hear(self, info: LeaseInfo, *, is_answer: bool = False) -> None:
        """Know what the lease reads; an eviction that was withdrawn is not waited for."""
        super().hear(info, is_answer=is_answer)
        if self.asking is not None and self.eviction.wish is Wish.STAY:
            self.asking.withdraw()
        self._tell()

    def _tell(self) -> None:
        if self.on_change is not None:
            self.on_change()
