"""What there is to do: nine texts and four recordings, in two acts.

In the first act the texts are of a lower class than one of the recordings, and may be interrupted between two of them;
the other recording is of the texts' own class, and comes after them.  In the second act all are of one class, and
nobody is interrupted: they take turns, with the coordinator and without.
"""

from cf_orch.client import Priority
from cf_orch.protocol.sizes import gb_to_bytes
from cf_orch.sidecar.demo import transcriber, writer
from cf_orch.sidecar.demo.record import Job

__all__ = ["FALLING_BACK", "YIELDING", "make_jobs"]


YIELDING = ("texts 1-4", "recording 1", "recording 2")
"""The texts yield to the first recording; the second one waits for both."""

FALLING_BACK = ("texts 5-6", "recording 3", "texts 7-9", "recording 4")
"""The first holds and the second waits when the coordinator dies; so do the third and the fourth when it returns."""


def make_jobs() -> dict[str, Job]:
    """All of them, with nothing done yet."""
    return {
        job.name: job
        for job in (
            _texts("texts 1-4", (1, 2, 3, 4), Priority.BATCH, yields=True),
            _recording(1, Priority.INTERACTIVE),
            _recording(2, Priority.BATCH),
            _texts("texts 5-6", (5, 6), Priority.NORMAL),
            _recording(3, Priority.NORMAL),
            _texts("texts 7-9", (7, 8, 9), Priority.NORMAL),
            _recording(4, Priority.NORMAL),
        )
    }


def _texts(name: str, items: tuple[int, ...], priority: Priority, *, yields: bool = False) -> Job:
    return Job(writer.SERVICE, name, gb_to_bytes(writer.VRAM_GB), items, priority, yields)


def _recording(number: int, priority: Priority) -> Job:
    name = f"recording {number}"
    return Job(transcriber.SERVICE, name, gb_to_bytes(transcriber.VRAM_GB), (number,), priority)
