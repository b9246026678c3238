"""A caller without a session that waits on a connection, and what becomes of its request when that breaks."""

import asyncio

from cf_orch.ledger import Settings
from cf_orch.sidecar.relay.lease import RelayedLease
from cf_orch.sidecar.relay.session import RelayedSession

__all__ = ["Seat"]

RECONNECT_S = Settings().reconnect_s
_ending: set[asyncio.Task[None]] = set()


class Seat:
    """One connection's wait for one lease, as the context in which its answer is written.

    A grant that nobody has read is released; a waiter whose last connection broke is taken back some seconds later,
    unless it is asked for again.
    """

    def __init__(self, session: RelayedSession, lease: RelayedLease) -> None:
        """Take it."""
        self._session = session
        self._lease = lease
        lease.seats += 1

    def give_up(self) -> None:
        """The connection broke before there was an answer."""
        lease = self._lease
        lease.seats -= 1
        if lease.seats or lease.is_over or lease.was_answered:
            return
        if lease.is_held:
            self._let_go()
        else:
            asyncio.get_running_loop().call_later(RECONNECT_S, self._let_go_unless_rejoined)

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is not None:
            self.give_up()
        else:
            self._lease.seats -= 1
            self._lease.was_answered = True

    def _let_go_unless_rejoined(self) -> None:
        if not self._lease.seats and not self._lease.was_answered:
            self._let_go()

    def _let_go(self) -> None:
        task = asyncio.create_task(self._session.let_go(self._lease, "cancelled"))
        _ending.add(task)
        task.add_done_callback(_ending.discard)
