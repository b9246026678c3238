"""What an act of the demo can do: give jobs to the products, and wait for what these say; all of it is on record."""

import asyncio
import time
from collections.abc import Callable, Iterable

import msgspec

from cf_orch.protocol.sizes import gb_to_bytes
from cf_orch.sidecar.demo.cast import BUDGET_GB, Cast
from cf_orch.sidecar.demo.processes import Died
from cf_orch.sidecar.demo.record import Job, Record
from cf_orch.sidecar.demo.said import Said, Task
from cf_orch.sidecar.demo.script import make_jobs
from cf_orch.sidecar.demo.timeline import Timeline

__all__ = ["Stage", "WentWrong"]


class WentWrong(Exception):  # noqa: N818 - it names what happened
    """A job came to grief, so that what an act waits for will not happen."""


class Stage:
    """One run, from its beginning."""

    def __init__(self, cast: Cast, timeline: Timeline) -> None:
        """Begin the record."""
        self.cast = cast
        self.timeline = timeline
        self.record = Record(gb_to_bytes(BUDGET_GB), make_jobs())
        self._began = time.monotonic()
        self._news = asyncio.Event()

    @property
    def now_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def ask(self, job: Job) -> None:
        """Give a job to its product."""
        task = Task(job.name, list(job.items), job.priority, job.yields)
        self.cast.products[job.service].send(msgspec.json.encode(task).decode())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a product says to be so.  Raises WentWrong as soon as a job is in trouble."""
        while not condition():
            if any(job.trouble for job in self.record.jobs.values()):
                raise WentWrong
            await self._news.wait()

    async def listen(self, service: str) -> None:
        """Hear what a product says, for ever; its end is the trouble of all that it has to do."""
        try:
            while True:
                said = msgspec.json.decode(await self.cast.products[service].line(), type=Said)
                self._hear(self.record.jobs[said.job], said)
        except Died as end:
            self.give_up((job for job in self.record.jobs.values() if job.service == service), str(end))

    def give_up(self, jobs: Iterable[Job], why: str) -> None:
        """Say of jobs that are not over why they will not be."""
        for job in jobs:
            if not job.over:
                job.trouble = why
        self.timeline.trouble(self.now_s, why)
        self._tell_news()

    def _hear(self, job: Job, said: Said) -> None:
        if said.event == "started":
            self.cast.engines.add(said.pid)
        job.hear(said, said.at - self._began)
        self.timeline.heard(job, said, said.at - self._began)
        self._tell_news()

    def _tell_news(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
