"""What becomes of claims while no coordinator answers: local, in doubt, waiting, lost.

A claim that has no memory goes by the fallback: it takes a turn on this host, waits for the coordinator, or fails.
That holds for its first grant, and for its return after an eviction: then it is a request of its own, under a name of
its own, so that the coordinator, when it is back, adopts it and ends the parked lease that it was.  One that an
operator evicted waits for him.

A claim that has memory goes on.  From 2/3 of the time to live it is in doubt; then it goes on as a local lease or, if
it may not, is lost at 4/3 (see ``belief``).
"""

import contextlib
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from cf_orch.client.away import LocalLeases
from cf_orch.client.belief import Belief
from cf_orch.client.claim import Claim, Phase
from cf_orch.client.claims import Claims
from cf_orch.client.errors import CoordinatorAwayWarning, LeaseError, NotAuthorized
from cf_orch.client.eviction import Wish
from cf_orch.client.local import LocalTurns
from cf_orch.protocol.messages import LeaseInfo, SessionRequest

__all__ = ["Fallback", "Without"]

Fallback = Literal["local", "wait", "fail"]

MIN_RESIDENCY_S = 10.0


class Without:
    """One session's claims without a coordinator.  ``away`` says why nobody answers; None: somebody does, or may."""

    def __init__(
        self, registration: SessionRequest, fallback: Fallback, belief: Belief, claims: Claims, *, turns: LocalTurns,
        local: LocalLeases, changed: Callable[[Claim], None], warn: Callable[[Claim], None],
    ) -> None:  # fmt: skip
        """``changed`` is called with a claim that this changed, ``warn`` with one that went local."""
        self.away: LeaseError | None = None
        self.fallback: Fallback = fallback
        self._host_name = registration.host_name
        self._own_hosts = {None, "any", registration.host_name, registration.host_id}
        self._belief = belief
        self._claims = claims
        self._turns = turns
        self._local = local
        self._changed = changed
        self._warn = warn

    def seek(self, claim: Claim) -> None:
        """Get a claim its memory, if the fallback knows how; harmless when repeated."""
        if self.failure is not None:
            if claim.phase is Phase.WAITING:
                self._claims.refuse(claim, self.failure)
        elif self.away is not None and self.fallback == "local" and claim.wants_memory and self._is_here(claim):
            self._local.begin(claim, self._took_turn)

    @property
    def failure(self) -> LeaseError | None:
        """What to raise where memory is wanted, if nobody answers and that is not waited for."""
        if self.away is not None and (isinstance(self.away, NotAuthorized) or self.fallback == "fail"):
            return type(self.away)(str(self.away))
        return None

    def doubt(self) -> None:
        """Stop believing in time in what is held while nothing can be said."""
        for claim in self._claims:
            if claim.phase is Phase.HELD and not claim.is_local and not claim.is_away:
                self._doubt(claim)

    def make_room(self) -> None:
        """Let idle local leases give their memory up to who wants memory on this host."""
        now = time.monotonic()
        idle = [
            claim for claim in self._claims
            if claim.hooks is not None and claim.is_local and claim.eviction.wish is Wish.STAY
            and claim.idle_since is not None and now - claim.idle_since >= MIN_RESIDENCY_S
        ]  # fmt: skip
        if idle and self._turns.are_wanted():
            for claim in idle:
                claim.eviction.heard(Wish.AWAY)
                self._changed(claim)

    def _doubt(self, claim: Claim) -> None:
        if self.fallback != "local" or not self._is_here(claim):
            if self._belief.over:
                self._claims.lose(claim, "no heartbeat was acknowledged in time: the memory may be somebody else's now")
        elif self._belief.over or (self._belief.in_doubt and self.away is not None):
            claim.info = msgspec.structs.replace(claim.held, local=True, token=None, state="active", eviction=None)
            claim.eviction.left_alone()
            with contextlib.suppress(CoordinatorAwayWarning):
                self._warn(claim)
            self._changed(claim)

    def _took_turn(self, claim: Claim, info: LeaseInfo) -> None:
        """A claim has its turn, and room on the devices of ``info``."""
        if claim.phase is Phase.WAITING:
            claim.grant(info)
            return
        had = claim.held
        self._claims.rename(claim)
        claim.info = msgspec.structs.replace(
            had, id=info.id, state="active", token=None, local=True, rest=None, devices=info.devices or had.devices,
            env=info.env,
        )  # fmt: skip
        claim.eviction.took_turn()
        with contextlib.suppress(CoordinatorAwayWarning):
            self._warn(claim)
        self._changed(claim)

    def _is_here(self, claim: Claim) -> bool:
        """Tell whether turns on this host are about the devices that a claim is on, or may be on."""
        if claim.phase is Phase.WAITING:
            return claim.request.host in self._own_hosts
        return all(device.host == self._host_name for device in claim.held.devices)
