"""A lease as its process knows it: its ids, what it reads, and how it ended."""

import asyncio
import time
from collections.abc import Callable

import msgspec

from cf_orch.client.claim import Phase
from cf_orch.client.errors import LeaseError, LeaseRefused, LeaseTimeout
from cf_orch.protocol.messages import LeaseInfo, LeaseRequest
from cf_orch.sidecar.relay.claim import RelayedClaim
from cf_orch.sidecar.relay.reads import untold

__all__ = ["RelayedLease"]

LOOK_EVERY_S = 0.02


class RelayedLease:
    """One request of one process, and what became of it.

    The process asked under ``request``; the coordinator may know it under another id and another lease by now.
    """

    def __init__(self, claim: RelayedClaim, session_id: str | None) -> None:
        """``session_id`` is None for a lease that lives by its own heartbeats."""
        self.claim = claim
        self.request: LeaseRequest = claim.request
        self.session_id = session_id
        self.created_at = time.time()
        self.ended_at: float | None = None  #: on the monotonic clock
        self.is_taken_in = False  #: known from what its process said that it holds, not from its request
        self.told: tuple[object, ...] | None = None  #: what its process knows of it
        self.seats = 0  #: callers who wait for it on a connection
        self.was_answered = False  #: one of them was told of it
        self.heard_at = time.monotonic()  #: when somebody last wanted it, where there is no session
        self._changed = asyncio.Event()
        self._outcome: str | None = None
        self._last: LeaseInfo | None = None

    @property
    def request_id(self) -> str:
        """Its id, as its process chose it."""
        return self.request.request_id or ""

    @property
    def is_named_only(self) -> bool:
        """True while only its name is known, and neither what it asks for nor what it may wait for."""
        return self.claim.is_named_only

    @property
    def is_over(self) -> bool:
        """True once it has ended."""
        return self.claim.phase is Phase.OVER

    @property
    def is_held(self) -> bool:
        """True while its process may use the memory."""
        return self.claim.phase is Phase.HELD

    @property
    def refusal(self) -> LeaseError | None:
        """Why it was refused, timed out or given up before it was granted."""
        granted = self.claim.granted
        error = granted.exception() if granted.done() else None
        return error if isinstance(error, LeaseError) else None

    def end(self, outcome: str) -> None:
        """Say how it ends, before it does."""
        self._outcome = self._outcome or outcome

    def note_change(self) -> None:
        """Wake whoever waits for a change."""
        if self.claim.info is not None:
            self._last = self.claim.info
        if self.is_over and self.ended_at is None:
            self.ended_at = time.monotonic()
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, timeout_s: float) -> bool:
        """Wait for the next change; False when the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def until(self, condition: Callable[[], bool], within_s: float) -> None:
        """Wait until something is so, or for so long."""
        ends_at = time.monotonic() + within_s
        while not condition() and time.monotonic() < ends_at:
            await self.changed(LOOK_EVERY_S)

    def reads(self, valid_for_s: float | None) -> LeaseInfo:
        """The lease as it reads; ``valid_for_s`` is how long one may believe in it, None where nobody counts."""
        known = self.claim.info or self._last
        if known is None:
            known = untold(self.request, lease_id=f"unheard-{self.request_id}", state="queued")
        info = msgspec.structs.replace(
            known, request_id=self.request_id, session_id=self.session_id, created_at=self.created_at, expires_at=None
        )
        if self.is_over:
            return self._ended(info)
        if self.is_held:
            info.state = self.claim.state
        if valid_for_s is not None and not info.local:
            info.expires_at = round(time.time() + valid_for_s, 3)
        return info

    def _ended(self, info: LeaseInfo) -> LeaseInfo:
        outcome = info.outcome or self._outcome or ("timed_out" if isinstance(self.refusal, LeaseTimeout) else None)
        if outcome is None:
            outcome = "cancelled" if isinstance(self.refusal, LeaseRefused) else "lost"
        return msgspec.structs.replace(
            info, state="ended", outcome=outcome, position=None, waiting_for=None, charge_gb=0.0, local=False, env={}
        )
