"""The sidecar behind the doors."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec

from cf_orch.client.connection import ConnectionLost, ProblemAnswered
from cf_orch.doors.asked import Answer, Asked, Caller
from cf_orch.doors.problems import Stopping
from cf_orch.protocol import messages as m
from cf_orch.protocol.operations import Operation
from cf_orch.sidecar.relay.calls import Calls
from cf_orch.sidecar.relay.forward import Forward
from cf_orch.sidecar.relay.sessions import Sessions

__all__ = ["Relay"]

_OF_A_CALL = ("id", "op")


class Relay:
    """What the doors need of the sidecar."""

    def __init__(self, sessions: Sessions, forward: Forward, epoch: int) -> None:
        """Serve the product's sessions."""
        self._sessions = sessions
        self._calls = Calls(sessions, forward)
        self._epoch = epoch

    def hello(self) -> m.Hello:
        """Say who is here."""
        return m.Hello(version=_version(), role="sidecar", epoch=self._epoch)

    async def perform(self, operation: Operation, who: Caller, asked: Asked[Any, Any]) -> Answer:
        """Do what a call asks."""
        return await self._calls.perform(operation, who, asked)

    async def perform_unknown(self, op: str, who: Caller, frame: str | bytes) -> Answer:
        """Let the coordinator do what we do not know."""
        session = self._sessions.own if who.session_id is None else self._sessions.get(who.session_id)
        line = session.upstream.connection
        if line is None:
            raise Stopping(f"no coordinator answers, and this sidecar does not know {op}: try again later")
        fields = msgspec.json.decode(frame, type=dict[str, Any])
        said = {name: value for name, value in fields.items() if name not in _OF_A_CALL}
        try:
            return Answer(200, await line.call(op, msgspec.Raw, **said))
        except ProblemAnswered as answered:
            return Answer(answered.problem.status, answered.problem)
        except ConnectionLost as lost:
            raise Stopping(f"the coordinator went away before it answered {op}: try again") from lost

    def subscribe(self, session_id: str) -> AbstractContextManager[AsyncIterator[m.Notice]]:
        """Hear what befalls a session's leases."""
        return self._sessions.get(session_id).ears.listen()

    async def check_ready(self) -> m.Hello:
        """We serve, with a coordinator or without."""
        return self.hello()

    def close(self) -> None:
        """The doors are shut; the sessions are let go of by whoever opened them."""


@cache
def _version() -> str:
    return version("cf-orch")
