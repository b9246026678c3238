"""What happened in a run of the demo, as data; the verdict is drawn from this alone.

Sizes in bytes, times in seconds since the beginning of the run.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from cf_orch.protocol.sizes import GIB
from cf_orch.sidecar.demo.said import Said

__all__ = ["Job", "Outage", "Reading", "Record", "Result", "Sample", "Stay", "in_gb"]


class Reading(NamedTuple):
    """How a job's lease read from ``at_s`` on, as its holder knew it."""

    at_s: float
    lease_id: str
    token: int | None
    local: bool
    state: str


class Result(NamedTuple):
    """What came of an item, and when."""

    at_s: float
    text: str
    complete: bool


@dataclass(slots=True)
class Stay:
    """The life of one process with a model; what is None has not happened."""

    pid: int
    started_at: float
    loaded_at: float | None = None
    stopped_at: float | None = None
    peak_bytes: int = 0
    """The most memory that it was seen to have."""


@dataclass(slots=True)
class Job:
    """What one product does under one lease, from its asking to its giving back; what is None has not happened."""

    service: str
    name: str
    size_bytes: int
    items: tuple[int, ...]
    priority: int
    yields: bool = False
    asked_at: float | None = None
    readings: list[Reading] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    begun: dict[int, float] = field(default_factory=dict)
    results: dict[int, Result] = field(default_factory=dict)
    in_line_at: float | None = None
    """When its product's sidecar was first seen to stand in this host's own line for it."""
    left_at: float | None = None
    """When it was asked to give way, and nothing ran any more."""
    ended_at: float | None = None
    trouble: str = ""

    @property
    def granted_at(self) -> float | None:
        """When it had its memory for the first time."""
        return self.readings[0].at_s if self.readings else None

    @property
    def waited_s(self) -> float | None:
        """How long it waited for that."""
        return None if self.asked_at is None or self.granted_at is None else self.granted_at - self.asked_at

    @property
    def back_at(self) -> float | None:
        """When its model was loaded again after it had given way."""
        return self.stays[1].loaded_at if self.left_at is not None and len(self.stays) > 1 else None

    @property
    def stopped_at(self) -> float | None:
        """When its last process with a model had ended; its lease ends after that."""
        return self.stays[-1].stopped_at if self.stays else None

    @property
    def away_s(self) -> float | None:
        """How long it was away."""
        return None if self.left_at is None or self.back_at is None else self.back_at - self.left_at

    @property
    def peak_bytes(self) -> int:
        """The most memory that its models were seen to have."""
        return max((stay.peak_bytes for stay in self.stays), default=0)

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.ended_at is not None or bool(self.trouble)

    def hear(self, said: Said, at_s: float) -> None:
        """Take in what its product says of it."""
        match said.event:
            case "asks":
                self.asked_at = at_s
            case "lease":
                self.readings.append(Reading(at_s, said.lease_id, said.token, said.local, said.state))
            case "begins":
                self.begun[said.item] = at_s
            case "result":
                self.results[said.item] = Result(at_s, said.text, said.complete)
            case "leaves":
                self.left_at = at_s
            case "ended":
                self.ended_at = at_s
            case "failed":
                self.trouble = said.why
            case _:
                self._hear_of_process(said, at_s)

    def _hear_of_process(self, said: Said, at_s: float) -> None:
        match said.event:
            case "started":
                self.stays.append(Stay(said.pid, at_s))
            case "loaded":
                self.stays[-1].loaded_at = at_s
            case "stopped":
                self.stays[-1].stopped_at = at_s


class Sample(NamedTuple):
    """One look at the memory: by the coordinator's ledger and by its driver, where it answers, and by the demo itself.

    The accounts are asked for at ``at_s``.  ``measured`` has what the processes with the models of each product really
    had, ``over_committed`` what the coordinator says of the device.
    """

    at_s: float
    charged_bytes: int | None
    driver_used_bytes: int | None
    measured: dict[str, int]
    over_committed: bool = False

    @property
    def measured_bytes(self) -> int:
        """What all of them had."""
        return sum(self.measured.values())


@dataclass(slots=True)
class Outage:
    """The time without a coordinator."""

    killed_at: float | None = None
    returned_at: float | None = None
    """When it answered again."""
    adopted: set[str] = field(default_factory=set)
    """The ids of the leases that the coordinator says it has adopted."""


@dataclass(slots=True)
class Record:
    """A whole run: the budget, the jobs by name in the order of the script, the outage, and the samples."""

    budget_bytes: int
    jobs: dict[str, Job]
    outage: Outage = field(default_factory=Outage)
    samples: list[Sample] = field(default_factory=list)


def in_gb(size_bytes: int) -> str:
    """Write a size for people."""
    return f"{size_bytes / GIB:.2f} GB"
