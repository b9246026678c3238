"""The coordinator behind the doors: every call goes to the engine, every notice comes from it."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from aiohttp import web

from cf_orch import doors
from cf_orch.coordinator.clock import Clock, SystemClock
from cf_orch.coordinator.doors import sse
from cf_orch.coordinator.doors.calls import perform
from cf_orch.coordinator.doors.desk import Desk
from cf_orch.coordinator.doors.notices import notice_of
from cf_orch.coordinator.doors.views import nothing, version
from cf_orch.coordinator.engine import Engine
from cf_orch.doors.asked import Answer, Asked, Caller
from cf_orch.doors.frames import unknown_call
from cf_orch.protocol import messages as m
from cf_orch.protocol.operations import API_PREFIX, Operation

__all__ = ["make_app"]


class _Coordinator:
    """What the doors need of the coordinator."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def hello(self) -> m.Hello:
        return m.Hello(version=version(), role="coordinator", epoch=self._desk.engine.epoch)

    async def perform(self, operation: Operation, who: Caller, asked: Asked[Any, Any]) -> Answer:
        return await perform(self._desk, operation, who, asked)

    async def perform_unknown(self, op: str, who: Caller, frame: str | bytes) -> Answer:  # noqa: ARG002 - whoever asks
        raise unknown_call(op)

    def subscribe(self, session_id: str) -> AbstractContextManager[AsyncIterator[m.Notice]]:
        return self._desk.engine.subscribe(session_id, partial(notice_of, self._desk))

    async def check_ready(self) -> m.Hello:
        await self._desk.engine.look(nothing)
        return self.hello()

    def close(self) -> None:
        self._desk.presence.close()


def make_app(engine: Engine, *, token: str | None = None, clock: Clock | None = None) -> web.Application:
    """Make the application of a coordinator; ``clock`` is the engine's own."""
    desk = Desk(engine, clock or SystemClock())
    app = doors.make_app(_Coordinator(desk), token=token, streams={"events": partial(sse.stream_events, desk)})
    app.router.add_route("GET", API_PREFIX + "/sessions/{session_id}/events", sse.notices_handler(desk))
    return app
