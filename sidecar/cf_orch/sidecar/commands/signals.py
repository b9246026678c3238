"""Signals as values: blocked, and taken one by one, with who sent them."""

import os
import signal
from types import TracebackType
from typing import Self

__all__ = ["ENDING", "Signals", "came_from_terminal", "stop_here"]

ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
"""The signals that ask a program to end."""

_TAKEN = ENDING | {
    signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGCONT, signal.SIGCHLD, signal.SIGIO,
}  # fmt: skip
_SI_KERNEL = 0x80


class Signals:
    """Blocks what a wrapper of another program must pass on, for as long as the context lasts.

    Processes that are forked meanwhile inherit the block; ``before`` is the mask to give back to a program.
    """

    def __init__(self) -> None:
        """Block nothing yet."""
        self.before: set[signal.Signals | int] = set()

    def __enter__(self) -> Self:
        """Block."""
        self.before = set(signal.pthread_sigmask(signal.SIG_BLOCK, _TAKEN))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the mask back; what came and was not taken is gone."""
        while signal.sigtimedwait(_TAKEN, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self.before)

    def next(self) -> signal.struct_siginfo:
        """Wait for a signal."""
        return signal.sigwaitinfo(_TAKEN)

    def next_within(self, seconds: float) -> signal.struct_siginfo | None:
        """Wait for a signal; None when the time is over."""
        return signal.sigtimedwait(_TAKEN, max(0.0, seconds))


def came_from_terminal(info: signal.struct_siginfo) -> bool:
    """Tell whether a key made it: then the terminal sent it to the whole foreground group, not to us alone."""
    return info.si_code == _SI_KERNEL


def stop_here() -> None:
    """Stop as SIGTSTP would have stopped us, until somebody continues us."""
    os.kill(os.getpid(), signal.SIGSTOP)
