"""Waiting for the grant of a lease that a keeper asks for, with words on stderr and an ear for signals."""

import signal
from typing import assert_never

from cf_orch.sidecar.commands.failures import CommandFailed
from cf_orch.sidecar.commands.keeper import Failed, Granted, Keeper, Lost, Noted, Waiting
from cf_orch.sidecar.commands.progress import Progress
from cf_orch.sidecar.commands.signals import Signals, stop_here
from cf_orch.sidecar.commands.wording import gb

__all__ = ["Interrupted", "wait_for_grant"]


class Interrupted(Exception):  # noqa: N818 - it names what happened
    """A signal ended the wait; ``status`` is the exit status that says so."""

    def __init__(self, number: int) -> None:
        """By this signal."""
        super().__init__(signal.strsignal(number))
        self.status = 128 + number


def wait_for_grant(keeper: Keeper, signals: Signals, progress: Progress) -> Granted:
    """Wait.  Raises CommandFailed when there will be no lease, Interrupted when a signal says to end."""
    while True:
        info = signals.next()
        if info.si_signo in (signal.SIGIO, signal.SIGCHLD):
            granted = _hear(keeper, progress)
            if granted is not None:
                return granted
        elif info.si_signo == signal.SIGTSTP:
            stop_here()
        elif info.si_signo != signal.SIGCONT:
            progress.clear()
            raise Interrupted(info.si_signo)


def _hear(keeper: Keeper, progress: Progress) -> Granted | None:
    for news in keeper.news():
        match news:
            case Granted():
                if progress.has_waited:
                    where = f" on {' and '.join(news.devices)}" if news.devices else ""
                    progress.note(f"{news.lease_id} is granted: {gb(news.vram_gb)}{where}")
                return news
            case Waiting(why, key):
                progress.waiting(why, key)
            case Noted(what):
                progress.note(what)
            case Lost(why) | Failed(why):
                progress.clear()
                raise CommandFailed(why)
            case _:
                assert_never(news)
    return None
