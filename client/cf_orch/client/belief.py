"""How long a holder may believe in its leases without hearing from the coordinator.

Everything is counted from before the last acknowledged heartbeat was sent, so that the holder never believes longer
than the coordinator keeps its word: renew at 1/3 of the time to live, in doubt from 2/3, over at 4/3.
"""

import math
import time
from collections.abc import Callable

__all__ = ["Belief"]

SLEEP_NOTICED_S = 1.0
LOOK_AT_LEAST_EVERY_S = 1.0


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Belief:
    """The validity of one session.  Written on the I/O thread, read from any."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, boottime: Callable[[], float] = _boottime) -> None:
        """Begin without belief; both clocks in seconds, of which ``boottime`` goes on while the machine sleeps."""
        self._clock = clock
        self._boottime = boottime
        self._ttl_s = 0.0
        self._since = -math.inf
        self._asleep_s = math.inf

    def now(self) -> float:
        """The time at which a heartbeat is about to be sent."""
        return self._clock()

    def renewed(self, sent_at: float, ttl_s: float) -> None:
        """A heartbeat sent at ``sent_at`` was acknowledged."""
        self._ttl_s = ttl_s
        self._since = sent_at
        self._asleep_s = self._boottime() - self._clock()

    @property
    def woke(self) -> bool:
        """True when the machine slept since the last acknowledgement: then nothing is believed before the next."""
        return self._boottime() - self._clock() - self._asleep_s > SLEEP_NOTICED_S

    @property
    def ttl_s(self) -> float:
        """The time to live that was acknowledged, in seconds; 0 before any was."""
        return self._ttl_s

    @property
    def left_s(self) -> float:
        """How long the coordinator keeps its word, in seconds from now; negative when it does not any more."""
        return self._since + self._ttl_s * 4 / 3 - self._clock()

    @property
    def in_doubt(self) -> bool:
        """True when the coordinator may have stopped counting on this holder."""
        return self.woke or self._clock() - self._since >= self._ttl_s * 2 / 3

    @property
    def over(self) -> bool:
        """True when the coordinator has given the memory to others."""
        return self._clock() - self._since >= self._ttl_s * 4 / 3

    @property
    def renew_in_s(self) -> float:
        """When to send the next heartbeat, in seconds from now."""
        return max(0.0, self._since + self._ttl_s / 3 - self._clock())

    @property
    def look_in_s(self) -> float:
        """When to look again, in seconds from now: at the next change, and often enough to notice a sleep."""
        elapsed = self._clock() - self._since
        ahead = [limit - elapsed for limit in (self._ttl_s * 2 / 3, self._ttl_s * 4 / 3) if limit > elapsed]
        return min([LOOK_AT_LEAST_EVERY_S, *ahead])
