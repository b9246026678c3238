"""What every call works with: the engine, the wall clock, who waits on a connection, and whose process lives."""

from functools import partial

from cf_orch.coordinator.clock import Clock
from cf_orch.coordinator.doors.attendance import Attendance
from cf_orch.coordinator.doors.presence import Presence
from cf_orch.coordinator.doors.views import Moment, lease_info
from cf_orch.coordinator.engine import Engine
from cf_orch.ledger import Ledger
from cf_orch.ledger.commands import Command
from cf_orch.protocol import messages as m

__all__ = ["Desk"]


class Desk:
    """Where both doors hand their calls in."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        """Work with an engine; ``clock`` is the engine's own."""
        self.engine = engine
        self.attendance = Attendance(engine)
        self.presence = Presence(engine)
        self._clock = clock

    def moment(self, now: float) -> Moment:
        """Return the instant of a look that the engine makes just now."""
        return Moment(now, self._clock.unix())

    async def do_to_lease(self, command: Command, lease_id: str) -> m.LeaseInfo:
        """Let a command be decided and return the lease as it reads then."""
        return await self.engine.do(command, partial(self._lease, lease_id))

    async def lease(self, lease_id: str) -> m.LeaseInfo | None:
        """Return a lease as it reads; None where the ledger does not hold it, or no more."""
        return await self.engine.look(partial(self.find, lease_id))

    def find(self, lease_id: str, ledger: Ledger, now: float) -> m.LeaseInfo | None:
        """Return a lease as it reads at the instant of a look."""
        lease = ledger.find(lease_id)
        return None if lease is None else lease_info(ledger, lease, self.moment(now))

    def _lease(self, lease_id: str, ledger: Ledger, now: float) -> m.LeaseInfo:
        lease = ledger.find(lease_id)
        if lease is None:
            raise LookupError(lease_id)
        return lease_info(ledger, lease, self.moment(now))
