"""Callers without a session that wait on a connection, and what becomes of their requests when it breaks.

A session's heartbeat keeps its requests.  A request without one lives by the connection it waits on: when that breaks
before an answer was written, a waiter is passed over (and cancelled a little later, unless it is asked for again), and
a grant that nobody has read is released.  Where the same request waits on several connections, the last to break
counts, and none does once one of them was answered.
"""

from cf_orch.coordinator.doors.views import nothing
from cf_orch.coordinator.engine import Engine, EngineStopped
from cf_orch.ledger import Lease, State, commands

__all__ = ["Attendance", "Seat"]


class _Waiting:
    """The connections on which one lease is waited for."""

    def __init__(self, *, answered: bool) -> None:
        self.seats = 0
        self.answered = answered


class Attendance:
    """Who waits for which lease."""

    def __init__(self, engine: Engine) -> None:
        """Begin with nobody waiting."""
        self._engine = engine
        self._waiting: dict[str, _Waiting] = {}

    def take_seat(self, lease: Lease, *, known_to_caller: bool) -> "Seat":
        """Wait for a lease; one that its caller held before is not released for want of a reader."""
        waiting = self._waiting.setdefault(lease.id, _Waiting(answered=known_to_caller))
        waiting.seats += 1
        return Seat(self, lease.id)

    def answered(self, lease_id: str) -> None:
        """Note that an answer was written: whatever breaks now, somebody knows of the lease."""
        self._waiting[lease_id].answered = True
        self._leave(lease_id)

    async def broken(self, lease_id: str) -> None:
        """A connection broke; act on it if it was the last."""
        if not self._leave(lease_id):
            return
        lease = self._engine.ledger.find(lease_id)
        if lease is None:
            return
        command = commands.CutOff if lease.state is State.QUEUED else commands.Release
        try:
            await self._engine.do(command(lease_id=lease_id), nothing)
        except EngineStopped:
            return  # after the start that follows it waits a full grace for somebody to ask

    def _leave(self, lease_id: str) -> bool:
        """Tell whether nobody is left, and nobody was answered."""
        waiting = self._waiting[lease_id]
        waiting.seats -= 1
        if waiting.seats:
            return False
        del self._waiting[lease_id]
        return not waiting.answered


class Seat:
    """One connection's wait for one lease, as the context in which its answer is written."""

    def __init__(self, attendance: Attendance, lease_id: str) -> None:
        self._attendance = attendance
        self._lease_id = lease_id

    async def give_up(self) -> None:
        """The connection broke before there was an answer."""
        await self._attendance.broken(self._lease_id)

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is None:
            self._attendance.answered(self._lease_id)
        else:
            await self.give_up()
