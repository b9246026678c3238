"""What happens, told while it happens: a line each, with the time since the beginning."""

import sys
import textwrap
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from cf_orch.client import Priority
from cf_orch.sidecar.demo import transcriber, writer
from cf_orch.sidecar.demo.record import Job, Reading, Sample, in_gb
from cf_orch.sidecar.demo.said import Said

__all__ = ["COLOURS", "COORDINATOR", "Timeline", "make_console"]

WIDE = 1000
"""Columns where nobody looks: a line stays one line for grep."""
BAR_CELLS = 30
TOLD_FROM_BYTES = 40 * 2**20
"""A change of the memory in use that is worth a line."""
QUOTED = 90
"""Letters of a text that are told."""
COLOURS = {transcriber.SERVICE: "cyan", writer.SERVICE: "magenta"}
COORDINATOR = "yellow"


def make_console() -> Console:
    """Make the console on stdout; rich honours NO_COLOR and COLUMNS."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")  # where the bar cannot be written, ? stands for it
    return Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else WIDE)


class Timeline:
    """Tells a run on a console."""

    def __init__(self, console: Console) -> None:
        """Tell on ``console``."""
        self.console = console
        self._told_bytes = 0
        self._readings: dict[str, Reading] = {}

    def preparing(self, what: str) -> None:
        """Say what happens before the beginning."""
        self.console.print(what, style="dim")

    def act(self, title: str) -> None:
        """Begin an act."""
        self.console.print(f"\nAct {title}", style="bold")

    def heard(self, job: Job, said: Said, at_s: float) -> None:
        """Say what a product said, after the job has taken it in."""
        if said.event == "lease":
            before, now = self._readings.get(job.name), job.readings[-1]
            self._readings[job.name] = now
            words = _granted(job, now) if before is None else _changed(before, now)
        else:
            words = WORDS[said.event](job, said) if said.event in WORDS else ""
        if words:
            self._line(at_s, job.name, words, COLOURS[job.service], STYLES.get(said.event, ""))

    def trouble(self, at_s: float, why: str) -> None:
        """Say what went wrong."""
        self._line(at_s, "trouble", why, "bold red", "bold red")

    def killed(self, at_s: float) -> None:
        """The coordinator was killed."""
        self._line(at_s, "coordinator", "is killed (kill -9)", COORDINATOR, "bold")

    def stands_in_line(self, at_s: float, job: Job) -> None:
        """A sidecar does without it."""
        self._line(at_s, job.name, "its sidecar stands in this host's own line for it", COLOURS[job.service], "bold")

    def returning(self, at_s: float) -> None:
        """It is started again."""
        self._line(at_s, "coordinator", "is started again, with its journal", COORDINATOR, "")

    def returned(self, at_s: float) -> None:
        """It serves again."""
        self._line(at_s, "coordinator", "serves again", COORDINATOR, "bold")

    def memory(self, sample: Sample, budget_bytes: int) -> None:
        """Say what the coordinator's driver sees, where it has changed."""
        used = sample.driver_used_bytes
        if used is None or abs(used - self._told_bytes) < TOLD_FROM_BYTES:
            return
        self._told_bytes = used
        filled = min(BAR_CELLS, round(BAR_CELLS * used / budget_bytes))
        bar = "█" * filled + "░" * (BAR_CELLS - filled)
        free = in_gb(max(0, budget_bytes - used))
        self._line(sample.at_s, "the driver", f"{bar} {in_gb(used)} used, {free} free", "dim", "dim")

    def _line(self, at_s: float, who: str, what: str, colour: str, style: str) -> None:
        self.console.print(Text.assemble((f"{at_s:6.2f} s  ", "dim"), (f"{who:<13}", colour), (what, style)))


def _asks(job: Job, _: Said) -> str:
    gives_way = ", and gives way when asked to" if job.yields else ""
    return f"asks for {in_gb(job.size_bytes)} in class {Priority(job.priority).name.lower()}{gives_way}"


def _result(job: Job, said: Said) -> str:
    verb = "wrote" if job.service == writer.SERVICE else "heard"
    return f"{verb} {_item(job, said)}: “{textwrap.shorten(said.text, QUOTED, placeholder=' ...')}”"


def _item(job: Job, said: Said) -> str:
    return f"{'text' if job.service == writer.SERVICE else 'recording'} {said.item}"


WORDS: dict[str, Callable[[Job, Said], str]] = {
    "asks": _asks,
    "started": lambda _, said: f"starts process {said.pid} and loads its model into it",
    "loaded": lambda _job, _said: "has loaded its model",
    "begins": lambda job, said: f"{_item(job, said)} is begun",
    "result": _result,
    "leaves": lambda _job, _said: "nothing is being done any more, so that it can give its memory up",
    "stopped": lambda job, said: f"ended process {said.pid}, which had {in_gb(job.stays[-1].peak_bytes)}",
    "failed": lambda _, said: said.why,
}
"""What is said of what a product says; of what is not here, nothing."""
STYLES = {"lease": "bold", "failed": "bold red"}


def _granted(job: Job, now: Reading) -> str:
    """Say how a lease was got."""
    waited_s = job.waited_s or 0.0
    waited = f"after {waited_s:.1f} s" if waited_s >= 0.05 else "at once"  # noqa: PLR2004 - it is written with one digit
    got = "has a turn on this host, as" if now.local else "has its memory, as lease"
    return f"{got} {now.lease_id}, {waited}"


def _changed(before: Reading, now: Reading) -> str:
    """Say how a lease came to read as it does; nothing of what others say."""
    if now.local and not before.local:
        return f"goes on as {now.lease_id} without a coordinator"
    if before.local and not now.local:
        return f"the coordinator has adopted {before.lease_id}: it goes on as lease {now.lease_id}, token {now.token}"
    if before.token != now.token:
        return f"has its memory again: lease {now.lease_id} as before, token {now.token} instead of {before.token}"
    by_state = {
        "evicting": "is asked to give way",
        "parked": "has given its memory up, and keeps its place",
    }
    return by_state.get(now.state, "") if now.state != before.state else ""
