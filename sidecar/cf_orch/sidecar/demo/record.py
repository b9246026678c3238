"""What happened in a run of the demo, as data; the verdict is drawn from this alone.  Sizes in bytes."""

from dataclasses import dataclass, field

from cf_orch.protocol.sizes import GIB

__all__ = ["Record", "Sample", "Turn", "in_gb"]


@dataclass(slots=True)
class Turn:
    """One turn of a product, from its asking to its giving back; what is None has not happened."""

    service: str
    number: int
    size_bytes: int
    lease_id: str = ""
    waited_for: str = ""
    """Why it was not granted at once, in words; empty if it was."""
    asked_at: float | None = None
    granted_at: float | None = None
    """Both by the coordinator's clock, in seconds since 1970."""
    pid: int | None = None
    peak_bytes: int = 0
    """The most memory that its process with the model was seen to have."""
    text: str = ""
    text_complete: bool = False
    released: bool = False
    trouble: str = ""

    @property
    def name(self) -> str:
        """How it is called in what a person reads."""
        return f"{self.service} {self.number}"

    @property
    def place(self) -> int:
        """Where it stood in the queue: the number that its lease's id ends in."""
        number = self.lease_id.rpartition("-")[2]
        return int(number) if number.isdecimal() else 0

    @property
    def waited_s(self) -> float | None:
        """How long it waited for its grant."""
        return None if self.asked_at is None or self.granted_at is None else self.granted_at - self.asked_at

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.released or bool(self.trouble)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the memory: by the coordinator's ledger, by its driver, and by the demo itself."""

    at_s: float
    charged_bytes: int
    driver_used_bytes: int | None
    measured_bytes: int


@dataclass(slots=True)
class Record:
    """A whole run: the budget, the turns in the order in which they were asked for, and the samples."""

    budget_bytes: int
    turns: list[Turn]
    samples: list[Sample] = field(default_factory=list)


def in_gb(size_bytes: int) -> str:
    """Write a size for people."""
    return f"{size_bytes / GIB:.2f} GB"
