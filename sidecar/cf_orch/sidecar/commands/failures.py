"""How a command says no: one sentence on stderr with what to do, and an exit status; never a traceback."""

import argparse
import functools
import os
import sys
from collections.abc import Callable

__all__ = ["EXIT_WRONG_USAGE", "CommandFailed", "reported"]

EXIT_FAILED = 1
EXIT_WRONG_USAGE = 2
EXIT_READER_GONE = 141
"""What a shell shows for a program that SIGPIPE ended."""

Run = Callable[[argparse.Namespace], int]


class CommandFailed(Exception):  # noqa: N818 - it names what happened
    """A command cannot do what it was told; ``str()`` says why, and what to do about it."""

    def __init__(self, sentence: str, status: int = EXIT_FAILED) -> None:
        """Fail with a sentence for a person and an exit status for a script."""
        super().__init__(sentence)
        self.status = status


def reported(run: Run) -> Run:
    """Wrap a command so that its failures are told on stderr, and a reader that has gone is no failure."""

    @functools.wraps(run)
    def reporting(arguments: argparse.Namespace) -> int:
        try:
            status = run(arguments)
            sys.stdout.flush()
        except CommandFailed as failure:
            print(f"cf-orch: {failure}", file=sys.stderr)
            return failure.status
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit fails again
            return EXIT_READER_GONE
        return status

    return reporting
