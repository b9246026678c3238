"""One lease's evictions as its holder sees them: pure, so that every crossing can be tried by direct calls.

Theory of operation
-------------------
Two facts say what to do next: whether the memory's content is *in place*, and the coordinator's *wish*, which is how
the lease reads (:data:`WISHES`).

    content    wish    next
    in place   STAY    use() goes on
    in place   LEAVE   new use() waits; when the last one has left: checkpoint().  Did that fail: report the error
    given up   LEAVE   report it
    given up   AWAY    wait
    given up   STAY    restore(), then use() goes on

The wish is a level, not an edge: a notice that was missed does no harm, since any answer tells the same.  One step
runs at a time; what is heard meanwhile counts when it is through.  So a notice that is withdrawn before checkpoint()
began leaves no trace, and one that is withdrawn later lets restore() follow.

Once the coordinator may have heard that the memory is given up, only its answer says what became of it: whatever is
heard before that answer may be older than the report, and nothing is restored on the word of it.
"""

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType

__all__ = ["AWAY", "WISHES", "Eviction", "Step", "Wish"]


class Wish(Enum):
    """What the coordinator's account says of the memory."""

    STAY = auto()  #: it is the holder's
    LEAVE = auto()  #: it is the holder's, who is asked to give it up
    AWAY = auto()  #: the holder gave it up


class Step(Enum):
    """What is to be done next, or is being done."""

    CHECKPOINT = auto()
    REPORT = auto()
    RESTORE = auto()


WISHES: Mapping[str, Wish] = MappingProxyType(
    {
        "loading": Wish.STAY,
        "active": Wish.STAY,
        "idle": Wish.STAY,
        "evicting": Wish.LEAVE,
        "parked": Wish.AWAY,
        "resting": Wish.AWAY,
    }
)
"""What each state of a granted lease wishes."""

AWAY = frozenset(state for state, wish in WISHES.items() if wish is Wish.AWAY)
"""The states of a lease whose memory was given up."""


class Eviction:
    """Where one lease stands.  Knows neither time nor I/O."""

    def __init__(self) -> None:
        """Begin in place, undisturbed."""
        self.wish = Wish.STAY
        self.is_in_place = True
        self.running: Step | None = None
        self.is_told = False  #: the coordinator may have heard that the memory is given up, and has not answered
        self.residue_gb: float | None = None  #: what checkpoint() said that it kept; None: as the slot declared
        self.error: str | None = None  #: why checkpoint() failed, until the coordinator has heard it

    @property
    def is_open(self) -> bool:
        """True while use() may begin."""
        is_working = self.running in (Step.CHECKPOINT, Step.RESTORE)
        return self.is_in_place and not is_working and (self.wish is Wish.STAY or self.error is not None)

    @property
    def is_away(self) -> bool:
        """True while the holder has no memory, and has not begun to use what it was granted again."""
        return not self.is_in_place and self.running is not Step.RESTORE

    def next_step(self, *, is_unused: bool) -> Step | None:
        """Say what is to be done now; ``is_unused``: nobody is inside use()."""
        if self.running is not None:
            return None
        if self.is_in_place:
            if self.wish is Wish.STAY:
                return None
            if self.error is not None:
                return Step.REPORT
            return Step.CHECKPOINT if is_unused else None
        if self.is_told or self.wish is Wish.AWAY:
            return None
        return Step.REPORT if self.wish is Wish.LEAVE else Step.RESTORE

    # --- what is heard

    def heard(self, wish: Wish, *, is_answer: bool = False) -> None:
        """The coordinator's account says so; ``is_answer``: decided after it was told what there was to tell."""
        self.wish = wish
        if is_answer:
            self.is_told = False
        if wish is Wish.STAY:
            self.error = None

    def left_alone(self) -> None:
        """Nobody answers: go on with what nobody knows to be given up."""
        if self.wish is Wish.LEAVE and not self.is_told:
            self.heard(Wish.STAY)

    def took_turn(self) -> None:
        """The memory is the holder's again, by a turn on this host."""
        self.heard(Wish.STAY, is_answer=True)

    # --- what is done

    def begin(self, step: Step) -> None:
        """A step begins; that it is to be done was said by ``next_step``."""
        self.running = step
        self.is_told = self.is_told or (step is Step.REPORT and not self.is_in_place)

    def gave_up(self, residue_gb: float | None) -> None:
        """checkpoint() is through."""
        self.running, self.is_in_place, self.residue_gb = None, False, residue_gb

    def kept(self, error: str | None) -> None:
        """checkpoint() did not give the memory up; without an error, because nobody asks for it any more."""
        self.running = None
        if self.wish is not Wish.STAY:
            self.error = error

    def reported(self) -> None:
        """The report was answered, or will be by the next sync."""
        self.running = None

    def restored(self) -> None:
        """restore() is through."""
        self.running, self.is_in_place, self.residue_gb = None, True, None
