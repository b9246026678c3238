"""Time, as the engine asks for it: a constructor argument, so that tests turn it by hand."""

import asyncio
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

__all__ = ["Clock", "HandTurnedClock", "SystemClock", "Timer"]


class Timer(Protocol):
    """Something armed that can be disarmed."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Three readings in seconds, and one way to be called later."""

    def monotonic(self) -> float:
        """Time that never goes back and stands still while the machine sleeps."""

    def boottime(self) -> float:
        """The same, but it goes on while the machine sleeps."""

    def unix(self) -> float:
        """Wall time, for people."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back at a monotonic time."""


class SystemClock(Clock):
    """The machine's clocks and the running event loop's timers."""

    def monotonic(self) -> float:
        return time.monotonic()

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def unix(self) -> float:
        return time.time()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_at(when, callback)


class HandTurnedClock(Clock):
    """A clock for tests: it stands until it is turned, and then everything due happens in order."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._slept = 0.0
        self._armed: list[tuple[float, int, _HandTimer]] = []
        self._numbers = count()

    def monotonic(self) -> float:
        return self._now

    def boottime(self) -> float:
        return self._now + self._slept

    def unix(self) -> float:
        return 1_700_000_000.0 + self.boottime()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = _HandTimer(callback)
        heappush(self._armed, (when, next(self._numbers), timer))
        return timer

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        until = self._now + seconds
        while self._armed and self._armed[0][0] <= until:
            when, _, timer = heappop(self._armed)
            self._now = max(self._now, when)
            timer.fire()
        self._now = until

    def sleep_machine(self, seconds: float) -> None:
        """Let the machine be suspended: only the boot time goes on."""
        self._slept += seconds


class _HandTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self._callback = None

    def fire(self) -> None:
        if self._callback is not None:
            self._callback()
