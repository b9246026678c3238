"""What happens, told while it happens: a line each, with the time since the first request."""

import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cf_orch.protocol.messages import LeaseInfo
from cf_orch.sidecar.demo.record import Record, Sample, Turn, in_gb
from cf_orch.sidecar.demo.verdict import Finding

__all__ = ["Timeline", "make_console"]

WIDE = 1000
"""Columns where nobody looks: a line stays one line for grep."""
BAR_CELLS = 30
TOLD_FROM_BYTES = 40 * 2**20
"""A change of the memory in use that is worth a line."""
COLOURS = {"transcriber": "cyan", "writer": "magenta"}


def make_console() -> Console:
    """Make the console on stdout; rich honours NO_COLOR and COLUMNS."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")  # where the bar cannot be written, ? stands for it
    return Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else WIDE)


class Timeline:
    """Tells a run on a console."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Tell on ``console``; the clock is in seconds."""
        self.console = console
        self._clock = clock
        self._began: float | None = None
        self._told_bytes = 0

    def begin(self) -> None:
        """Count from now."""
        self._began = self._clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return 0.0 if self._began is None else self._clock() - self._began

    def preparing(self, what: str) -> None:
        """Say what happens before the first request."""
        self.console.print(what, style="dim")

    def asked(self, turn: Turn) -> None:
        """Say who asks, and what for it waits."""
        waits = f", and {turn.waited_for}" if turn.waited_for else ""
        self._tell(turn, f"asks for {in_gb(turn.size_bytes)}{waits}")

    def granted(self, turn: Turn) -> None:
        """Say who got it, and after how long."""
        waited = turn.waited_s or 0.0
        self._tell(turn, f"has its memory{f', after {waited:.1f} s' if waited >= 0.05 else ' at once'}", style="bold")  # noqa: PLR2004 - it is written with one digit

    def started(self, turn: Turn) -> None:
        """Say that a model begins to load."""
        self._tell(turn, f"starts process {turn.pid} and loads its model into it")

    def loaded(self, turn: Turn) -> None:
        """Say that a model is ready."""
        self._tell(turn, "has loaded its model")

    def result(self, turn: Turn) -> None:
        """Say what came of it."""
        self._tell(turn, f"{'heard' if turn.service == 'transcriber' else 'wrote'}: “{turn.text}”")

    def released(self, turn: Turn) -> None:
        """Say who gave the memory back."""
        self._tell(turn, f"ended its process and gives the memory back (at most {in_gb(turn.peak_bytes)} in use)")

    def trouble(self, turn: Turn) -> None:
        """Say what went wrong."""
        self._tell(turn, turn.trouble, style="bold red")

    def memory(self, sample: Sample, budget_bytes: int) -> None:
        """Say what the coordinator's driver sees, where it has changed."""
        used = sample.driver_used_bytes
        if used is None or abs(used - self._told_bytes) < TOLD_FROM_BYTES:
            return
        self._told_bytes = used
        filled = min(BAR_CELLS, round(BAR_CELLS * used / budget_bytes))
        bar = "█" * filled + "░" * (BAR_CELLS - filled)
        free = in_gb(max(0, budget_bytes - used))
        self._line("the driver", f"{bar} {in_gb(used)} used, {free} free", "dim", "dim")

    def close(self, record: Record, findings: Sequence[Finding]) -> None:
        """Sum up, and say the verdict."""
        self.console.print()
        self.console.print(_summary(record))
        self.console.print(f"\n{_side_by_side(record)}\n")
        for finding in findings:
            mark = Text("ok    ", "green") if finding.holds else Text("FAILED", "bold red")
            self.console.print(Text.assemble(mark, f"  {finding.claim}: {finding.because}"))
        self.console.print()

    def _tell(self, turn: Turn, what: str, *, style: str = "") -> None:
        self._line(turn.name, what, COLOURS[turn.service], style)

    def _line(self, who: str, what: str, colour: str, style: str) -> None:
        self.console.print(Text.assemble((f"{self.elapsed_s:6.2f} s  ", "dim"), (f"{who:<14}", colour), (what, style)))


def waiting_in_words(lease: LeaseInfo, names: dict[str, str]) -> str:
    """Say what a lease waits for, with ``names`` for the ids of leases; empty if it does not wait."""
    waiting = lease.waiting_for
    if waiting is None:
        return ""
    numbers = f"{waiting.needs_gb:.2f} GB needed, {waiting.free_gb:.2f} GB free"
    behind = ", ".join(names.get(lease_id, lease_id) for lease_id in waiting.behind)
    match waiting.rule:
        case "memory":
            return f"waits for memory that {behind or 'others'} holds: {numbers}"
        case "fifo":
            return f"waits its turn behind {behind or 'others'}: {numbers}"
        case rule:
            return f"waits ({rule}): {numbers}{f', behind {behind}' if behind else ''}"


def _side_by_side(record: Record) -> str:
    largest: dict[str, int] = {}
    for turn in record.turns:
        largest[turn.service] = max(largest.get(turn.service, 0), turn.peak_bytes)
    together = in_gb(sum(largest.values()))
    return f"Side by side the models would have taken {together} of {in_gb(record.budget_bytes)}."


def _summary(record: Record) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("turn", "asked for", "waited", "its model took"):
        table.add_column(column, justify="left" if column == "turn" else "right")
    for turn in record.turns:
        waited = "-" if turn.waited_s is None else f"{turn.waited_s:.1f} s"
        table.add_row(turn.name, in_gb(turn.size_bytes), waited, in_gb(turn.peak_bytes))
    return table
