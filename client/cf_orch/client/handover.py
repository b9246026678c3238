"""Passing a grant on when its memory is free: the last step of coming back from an outage."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from cf_orch.client.calls import Calls
from cf_orch.client.claim import Claim
from cf_orch.client.connection import Connection, ConnectionLost, ProblemAnswered
from cf_orch.client.introduction import is_crowded
from cf_orch.client.local import LocalTurns
from cf_orch.protocol.messages import LeaseInfo

__all__ = ["HandOver"]

PATIENCE_S = 10.0
LOOK_EVERY_S = 0.1


class HandOver:
    """Keeps grants from claims while local leases may use their memory, which were taken before anybody heard of it.

    These end, or come back to the coordinator, which then shows the device as over-committed until it fits.  A turn
    of another process that does neither for long does not follow this coordinator: it is not waited for.
    """

    def __init__(self, calls: Calls, turns: LocalTurns, done: Callable[[Claim, LeaseInfo], None]) -> None:
        """``done`` is called with a claim whose grant may be taken now, and how its lease reads."""
        self._calls = calls
        self._turns = turns
        self._done = done
        self._under_way: set[str] = set()

    @property
    def is_free(self) -> bool:
        """True while a grant may be taken at once."""
        return self._calls.is_connected and self._turns.is_free()

    async def pass_on(self, claim: Claim) -> None:
        """Take a claim's grant when nobody uses its memory, if it still stands then."""
        if claim.name in self._under_way:
            return
        self._under_way.add(claim.name)
        try:
            with contextlib.suppress(ConnectionLost, ProblemAnswered):
                await self._until_free(claim)
        finally:
            self._under_way.discard(claim.name)

    async def _until_free(self, claim: Claim) -> None:
        patient_until = time.monotonic() + PATIENCE_S
        while (info := claim.info) is not None and claim.is_grant(info):
            is_impatient = time.monotonic() > patient_until and not self._turns.has_turn
            link = self._calls.link
            if link is None or not (self._turns.is_free() or is_impatient) or await self._is_crowded(link, info):
                await asyncio.sleep(LOOK_EVERY_S)
            elif claim.info is info and (self._turns.is_free() or is_impatient):  # a turn may have begun meanwhile
                self._done(claim, info)
                return

    async def _is_crowded(self, link: Connection, info: LeaseInfo) -> bool:
        """Tell whether more is held than there is; a sidecar without its coordinator cannot say: ask it again."""
        try:
            return await is_crowded(link, info)
        except ProblemAnswered:
            return True
