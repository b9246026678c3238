"""The sidecar's look at its host's devices, told to the coordinator."""

import asyncio

import msgspec

from cf_orch.client.connection import ConnectionLost, ProblemAnswered
from cf_orch.protocol.messages import Notice, ReportAnswer
from cf_orch.sidecar.looking import keep_looking
from cf_orch.sidecar.observer import Observer
from cf_orch.sidecar.relay.upstream import Upstream

__all__ = ["Reporting"]


class Reporting:
    """Looks each second, at once when the coordinator asks for it, and often while memory comes back."""

    def __init__(self, observer: Observer) -> None:
        """Look at nothing yet."""
        self._observer = observer
        self._wanted = asyncio.Event()

    def hear(self, notice: Notice) -> None:
        """Look at once, if that is what the coordinator says."""
        if notice.notice == "sample":
            self._wanted.set()

    async def report(self, line: Upstream) -> None:
        """Look and report, for ever; what nobody hears is not kept, for the next look is newer."""

        async def look() -> bool:
            seen = await asyncio.to_thread(self._observer.look)
            if line.connection is None or not seen.devices:
                return False
            try:
                answer = await line.connection.call("devices.report", ReportAnswer, **msgspec.structs.asdict(seen))
            except (ConnectionLost, ProblemAnswered):
                return False
            self._observer.attached_pids = tuple((pid, start) for pid, start in answer.attached)
            return answer.coming_back

        await keep_looking(look, self._wanted)
