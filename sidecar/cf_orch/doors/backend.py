"""What stands behind the doors and does what the calls ask."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from cf_orch.doors.asked import Answer, Asked, Caller
from cf_orch.protocol import messages as m
from cf_orch.protocol.operations import Operation

__all__ = ["Backend"]


class Backend(Protocol):
    """A coordinator, or one who speaks for it."""

    def hello(self) -> m.Hello:
        """Say who is here."""

    async def perform(self, operation: Operation, who: Caller, asked: Asked[Any, Any]) -> Answer:
        """Do what a call asks, so that calls take effect in the order in which they were begun.

        Raises Refusal, and Stopping where it cannot any more.
        """

    async def perform_unknown(self, op: str, who: Caller, frame: str | bytes) -> Answer:
        """Do what a call on the WebSocket asks that is not in our table.  Raises Refusal not_found, Stopping."""

    def subscribe(self, session_id: str) -> AbstractContextManager[AsyncIterator[m.Notice]]:
        """Hear what befalls a session's leases; the notices end for a reader that falls behind."""

    async def check_ready(self) -> m.Hello:
        """Say who is here, once it is sure that what is promised can be kept.  Raises Stopping."""

    def close(self) -> None:
        """The doors are shut."""
