"""What every call works with: the engine, the wall clock, who waits on a connection, and whose process lives."""

from contextlib import suppress
from functools import partial

from cf_orch.coordinator.clock import Clock
from cf_orch.coordinator.doors.attendance import Attendance
from cf_orch.coordinator.doors.views import Moment, lease_info, nothing
from cf_orch.coordinator.engine import Engine, EngineStopped
from cf_orch.doors.presence import Presence
from cf_orch.ledger import Ledger, Refusal
from cf_orch.ledger.commands import CloseSession, Command
from cf_orch.protocol import messages as m

__all__ = ["Desk"]


class Desk:
    """Where both doors hand their calls in."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        """Work with an engine; ``clock`` is the engine's own."""
        self.engine = engine
        self.attendance = Attendance(engine)
        self.presence = Presence(self._end_lost)
        self._clock = clock

    def moment(self, now: float) -> Moment:
        """Return the instant of a look that the engine makes just now."""
        return Moment(now, self._clock.unix())

    def watch_process(self, session_id: str) -> None:
        """End a session the moment its process is gone, where that can be seen."""
        open_sessions = self.engine.ledger.sessions
        if (session := open_sessions.get(session_id)) is not None:
            self.presence.watch(
                session_id, host_id=session.host_id, pid=session.pid, pid_start=session.pid_start,
                open_ids=open_sessions.keys(),
            )  # fmt: skip

    async def _end_lost(self, session_id: str) -> None:
        with suppress(Refusal, EngineStopped):  # it may have ended by itself, properly
            await self.engine.do(CloseSession(session_id=session_id, lost=True), nothing)

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
