"""All claims of one session, and what befalls them: granted, refused, lost, left."""

from collections.abc import Iterator

from cf_orch.client.claim import Claim, Phase
from cf_orch.client.errors import LeaseError, LeaseRefused, LeaseTimeout
from cf_orch.client.eviction import AWAY
from cf_orch.client.local import LocalTurns
from cf_orch.protocol.messages import LeaseInfo

__all__ = ["HOLDING", "Claims"]

HOLDING = frozenset({"loading", "active", "idle", "evicting"})
OVER = frozenset({"closing", "ended"})
CUT_OFF = frozenset({"expired", "lost"})
"""How a lease ends of which its holder was not heard for too long."""


class Claims:
    """The live claims, by request id; and the ids of those that were left and not yet acknowledged as cancelled.

    Every way out of here puts the claim's turn on this host down.
    """

    def __init__(self, turns: LocalTurns) -> None:
        """Begin with none."""
        self.abandoned: set[str] = set()
        self._turns = turns
        self._live: dict[str, Claim] = {}

    def __iter__(self) -> Iterator[Claim]:
        """All live claims as they are now, in the order in which they were made."""
        return iter(list(self._live.values()))

    def get(self, request_id: str) -> Claim | None:
        """The live claim of that id."""
        return self._live.get(request_id)

    def add(self, claim: Claim) -> None:
        """A claim is made."""
        self._live[claim.request_id] = claim

    def rename(self, claim: Claim) -> None:
        """Let a claim become a new request; whoever knows the old one hears by a sync that nobody wants it."""
        self._live.pop(claim.request_id)
        claim.rename()
        self.add(claim)

    def leave(self, claim: Claim) -> None:
        """The holder of a claim left it."""
        if self._live.pop(claim.request_id, None) is not None:
            claim.end()
            self._drop(claim)

    def refuse(self, claim: Claim, error: LeaseError) -> None:
        """A claim that waits will not be granted, or not again."""
        self._live.pop(claim.request_id, None)
        claim.refuse(error)

    def lose(self, claim: Claim, reason: str, cause: Exception | None = None) -> None:
        """A claim is over, and not because its holder left."""
        if self._live.pop(claim.request_id, None) is not None:
            self._drop(claim)
            claim.lose(reason, cause)

    def put_down(self, claim: Claim) -> None:
        """Let others on this host take turns again, as far as it is up to this claim."""
        self._end_turn(claim)
        self._turns.leave(claim.name)

    def pick_up(self, claim: Claim) -> None:
        """Let no turn begin on this host while a claim's memory is used that a coordinator granted."""
        if not claim.is_idle and (claim.is_known or not claim.is_local):
            self._turns.use(claim.name, alone=claim.is_local)

    def take(self, claim: Claim, info: LeaseInfo, *, is_answer: bool = False) -> bool:
        """Take in what a lease reads, in whatever order answers and notices come; True: it must be asked for anew."""
        if claim.phase is Phase.OVER:
            return False
        if info.state in HOLDING:
            self._hold(claim, info, is_answer=is_answer)
        elif info.state in OVER:
            return self._ended(claim, info)
        elif claim.phase is Phase.WAITING:
            claim.info = info
        elif info.state in AWAY:
            claim.hear(info, is_answer=is_answer)
        return False

    def time_out(self, claim: Claim, why: str) -> None:
        """A claim waited for as long as it would; ``why`` is said where nobody told what it waited for."""
        waiting_for = claim.info.waiting_for if claim.info else None
        if waiting_for is not None:
            behind = f", behind {', '.join(waiting_for.behind)}" if waiting_for.behind else ""
            why = (
                f"{waiting_for.needs_gb:g} GB needed, {waiting_for.free_gb:g} GB free "
                f"on {waiting_for.device or 'any device'} ({waiting_for.rule}{behind})"
            )
        asked = claim.request
        message = f"{asked.service} was not granted {asked.vram_gb} GB within {asked.max_wait_s:g} s: {why}"
        if claim.was_sent:
            self.abandoned.add(claim.request_id)
        self.refuse(claim, LeaseTimeout(message, waiting_for))

    def _hold(self, claim: Claim, info: LeaseInfo, *, is_answer: bool) -> None:
        claim.is_known = True
        claim.grant(info, is_answer=is_answer)
        self._end_turn(claim)
        if not claim.is_away:
            self.pick_up(claim)

    def _ended(self, claim: Claim, info: LeaseInfo) -> bool:
        if claim.phase is Phase.HELD and claim.is_known and claim.held.id != info.id:
            return False  # an earlier lease of this claim
        if claim.phase is Phase.HELD and not claim.is_away:
            self.lose(claim, f"lease {info.id} was ended by the coordinator: {info.outcome}")
        elif info.outcome == "timed_out":
            self.time_out(claim, "the queue did not move")
        elif info.outcome in CUT_OFF:  # it still wants it
            self.rename(claim)
            return True
        elif claim.phase is Phase.HELD:
            self.lose(claim, f"lease {info.id} was ended by the coordinator while it was parked: {info.outcome}")
        else:
            detail = f"request {info.id} was taken out of the queue by an operator"
            self.refuse(claim, LeaseRefused("cancelled", detail))
        return False

    def _drop(self, claim: Claim) -> None:
        self.put_down(claim)
        if claim.was_sent:
            self.abandoned.add(claim.request_id)

    def _end_turn(self, claim: Claim) -> None:
        if claim.ticket is not None:
            self._turns.end_turn(claim.ticket)
            claim.ticket = None
