"""``cf-orch run``: any program under a lease.

The program runs in our process group and on our terminal; its lease is kept by a process of its own (``keeper``), so
that it goes on while this one and the program are stopped.  Signals that are sent to us go on to the program; those
that a key makes reach it by themselves.  However we end, the kernel kills the program; processes that the program
started itself are its own affair.
"""

import argparse
import signal
from pathlib import Path
from typing import assert_never

from cf_orch.client import VRAMSlot
from cf_orch.sidecar.commands.api import Api
from cf_orch.sidecar.commands.arguments import add_url, duration_s, priority, size_gb_or_auto
from cf_orch.sidecar.commands.failures import EXIT_WRONG_USAGE, CommandFailed, reported
from cf_orch.sidecar.commands.grant import Interrupted, wait_for_grant
from cf_orch.sidecar.commands.keeper import Failed, Granted, Keeper, Kept, Lost, Noted, Waiting
from cf_orch.sidecar.commands.program import Program, find_program
from cf_orch.sidecar.commands.progress import Progress
from cf_orch.sidecar.commands.signals import Signals, came_from_terminal, stop_here

__all__ = ["configure", "run"]

EXIT_LEASE_LOST = 75
"""EX_TEMPFAIL: try again later."""
GRACE_S = 5.0
"""How long a program may take to end after its lease was lost."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    parser.usage = "cf-orch run --vram SIZE [options] -- COMMAND..."
    parser.add_argument(
        "--vram", type=size_gb_or_auto, required=True, metavar="SIZE", help="how much: 6, 6GB, 6144MB, or auto"
    )
    parser.add_argument(
        "--priority", type=priority, help="background, batch, normal, interactive, realtime, or 0 to 100"
    )
    parser.add_argument("--service", help="who asks; default: the command's name")
    parser.add_argument("--task-type", default="", metavar="TYPE", help="what it does: asr, tts, llm, ...")
    parser.add_argument("--device", help="the device's UUID, name or index")
    parser.add_argument("--gpus", type=_gpus, default=1, metavar="N", help="so much on each of N devices")
    parser.add_argument("--host", help="a device of this host, or of any")
    parser.add_argument("--max-wait", type=duration_s, metavar="TIME", help="give up after this time: 10m")
    parser.add_argument(
        "--fallback", choices=("local", "wait", "fail"), default="local",
        help="without a coordinator: take turns on this host (local), wait for one, or fail",
    )  # fmt: skip
    add_url(parser)
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run, with its arguments")


def _gpus(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of devices")
    return int(text)


@reported
def run(arguments: argparse.Namespace) -> int:
    """Wait for the lease, run the program, and give its exit status."""
    command = arguments.program[1:] if arguments.program[:1] == ["--"] else arguments.program
    if not command:
        raise CommandFailed("what is to be run? cf-orch run --vram 6 -- COMMAND", EXIT_WRONG_USAGE)
    path = find_program(command[0])
    progress = Progress()
    try:
        with Signals() as signals, Keeper(_kept(arguments, command[0])) as keeper:
            granted = wait_for_grant(keeper, signals, progress)
            program = Program(path, command, granted.env, signals.before)
            keeper.attach(program.pid)
            return _Watch(program, keeper, progress).until_its_end(signals)
    except Interrupted as interrupted:
        return interrupted.status


def _kept(arguments: argparse.Namespace, name: str) -> Kept:
    Api.named(arguments)  # a wrong address is a wrong command line
    slot = VRAMSlot(
        arguments.service or Path(name).name,
        arguments.task_type,
        arguments.vram,
        priority=arguments.priority,
        device=arguments.device,
        gpus=arguments.gpus,
        host=arguments.host,
        max_wait_s=arguments.max_wait,
    )
    return Kept(slot, arguments.url, arguments.fallback)


class _Watch:
    """A running program and its lease, until the first of them ends."""

    def __init__(self, program: Program, keeper: Keeper, progress: Progress) -> None:
        self._program = program
        self._keeper = keeper
        self._progress = progress
        self._lost = False

    def until_its_end(self, signals: Signals) -> int:
        """Pass on signals, end the program if its lease is lost, and return the exit status."""
        self._hear()
        while (status := self._program.exit_status()) is None:
            info = signals.next()
            if info.si_signo in (signal.SIGIO, signal.SIGCHLD):
                self._hear()
            else:
                self._pass_on(info)
        return EXIT_LEASE_LOST if self._lost else status

    def _pass_on(self, info: signal.struct_siginfo) -> None:
        if not came_from_terminal(info):
            self._program.send(info.si_signo)
        if info.si_signo == signal.SIGTSTP:
            stop_here()

    def _hear(self) -> None:
        for news in self._keeper.news():
            match news:
                case Lost(why) | Failed(why):
                    self._lose(why)
                case Noted(what):
                    self._progress.note(what)
                case Waiting() | Granted():
                    pass  # said before the program began
                case _:
                    assert_never(news)

    def _lose(self, why: str) -> None:
        self._lost = True
        self._progress.note(f"the lease is lost, so the program must end: {why}")
        self._program.end(GRACE_S)
