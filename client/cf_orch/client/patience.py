"""The end of a wait that was to take no longer than ``max_wait_s``."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from cf_orch.client.calls import Calls
from cf_orch.client.claim import Claim, Phase
from cf_orch.client.claims import Claims

__all__ = ["Patience"]

READ_BEFORE_TIMEOUT_S = 0.1
TIMEOUT_GRACE_S = 1.0


class Patience:
    """Ends waits in time, by the coordinator's word or, where none comes, without."""

    def __init__(self, claims: Claims, calls: Calls, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        """``spawn`` runs what nobody waits for."""
        self._claims = claims
        self._calls = calls
        self._spawn = spawn

    def bound(self, claim: Claim, max_wait_s: float) -> None:
        """Look again when the claim's wait is about to end; a claim that is over by then needs no look."""
        ends_at = claim.asked_at + max_wait_s
        delay_s = ends_at - READ_BEFORE_TIMEOUT_S - time.monotonic()
        claim.timer = asyncio.get_running_loop().call_later(
            max(0.0, delay_s), lambda: self._spawn(self._end(claim, ends_at))
        )

    async def _end(self, claim: Claim, ends_at: float) -> None:
        """Read what it waits for just before the coordinator ends the wait; end it here where none does."""
        if claim.phase is Phase.WAITING:
            await self._calls.read(claim)
        await asyncio.sleep(ends_at - time.monotonic())
        if self._calls.is_connected:
            await asyncio.sleep(TIMEOUT_GRACE_S)
        if claim.phase is Phase.WAITING:
            why = "the queue did not move" if self._calls.is_connected else "no coordinator answered"
            self._claims.time_out(claim, why)
