"""``cf-orch demo``: install the parts if it may, run, tell, and judge; the exit status is the verdict."""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from rich.console import Console

from cf_orch.sidecar.commands.failures import EXIT_WRONG_USAGE, CommandFailed, reported
from cf_orch.sidecar.demo.environment import BuildFailed, Environment, cache_folder, running_paths
from cf_orch.sidecar.demo.parts import INSTALLED_MB, PARTS, download_mb, requirements
from cf_orch.sidecar.demo.play import play
from cf_orch.sidecar.demo.plot import CannotPlot, check_can_plot, plot
from cf_orch.sidecar.demo.processes import Died, NotUp
from cf_orch.sidecar.demo.summary import sum_up
from cf_orch.sidecar.demo.timeline import Timeline, make_console
from cf_orch.sidecar.demo.verdict.findings import find

__all__ = ["configure", "run"]

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

T = TypeVar("T")


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    parser.add_argument("--yes", action="store_true", help="install the parts without asking")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="also draw the memory over time, as a PNG")
    parser.add_argument("--keep", action="store_true", help="keep the coordinator's journal and all logs afterwards")


@reported
def run(arguments: argparse.Namespace) -> int:
    """Exit 0 if all that the demo promises was so, 1 if not, 2 if it was not allowed to install its parts."""
    console = make_console()
    if arguments.plot is not None:
        try:
            check_can_plot(arguments.plot)
        except CannotPlot as failure:
            raise CommandFailed(str(failure), EXIT_WRONG_USAGE) from failure
    environment = Environment(cache_folder(os.environ), requirements(), installed_mb=INSTALLED_MB)
    if not (environment.complete or arguments.yes):
        _ask(console, environment)
    try:
        good = asyncio.run(_until_ended(_demonstrate(console, environment, arguments)))
    except (BuildFailed, Died, NotUp, CannotPlot) as failure:
        raise CommandFailed(str(failure)) from failure
    except aiohttp.ClientError as failure:
        raise CommandFailed(f"the demo's coordinator does not answer: {failure}") from failure
    return 0 if good else 1


async def _demonstrate(console: Console, environment: Environment, arguments: argparse.Namespace) -> bool:
    """Install what is missing, play, and tell; return whether all was as promised."""
    if not environment.complete:
        await _install(console, environment)
    environment.join(running_paths())
    with _scratch(keep=arguments.keep) as scratch:
        record = await play(environment.python, scratch, Timeline(console))
    findings = find(record)
    sum_up(console, record, findings)
    if arguments.plot is not None:
        plot(record, arguments.plot)
    return all(finding.holds for finding in findings)


async def _install(console: Console, environment: Environment) -> None:
    with console.status("installing the parts") as status:

        def say(step: str) -> None:
            if console.is_terminal:
                status.update(step)
            elif not step.startswith("WARNING"):
                console.print(step)

        await environment.build(say)


def _ask(console: Console, environment: Environment) -> None:
    """Ask whether the parts may be installed.  Raises CommandFailed if not, or if nobody can be asked."""
    console.print("The demo runs two real models on the CPU. It needs, in an environment of their own:\n")
    for part in PARTS:
        console.print(f"  {part.download_mb:4} MB  {part.name:28}{part.purpose}")
    console.print(f"\n  {download_mb():4} MB to download, {INSTALLED_MB} MB in {environment.folder}\n")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandFailed("nobody can be asked here: say --yes to install these parts", EXIT_WRONG_USAGE)
    try:
        console.print("install? [y/N] ", end="")  # input() would ask on stderr, which may be elsewhere
        answer = input()
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandFailed("nothing was installed")


@contextmanager
def _scratch(*, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cf-orch-demo-"))
    try:
        yield folder
    finally:
        if keep:
            print(f"journal and logs are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


async def _until_ended(playing: Coroutine[Any, Any, T]) -> T:
    """Play; the first signal that asks for the end cancels it, and those after it change nothing."""
    task = asyncio.ensure_future(playing)
    told = False

    def end() -> None:
        nonlocal told
        if not told:
            told = True
            task.cancel()

    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, end)
    with suppress(asyncio.CancelledError):
        return await task
    raise KeyboardInterrupt
