"""What is said when a run is over: the picture, what each waited, and the verdict."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cf_orch.sidecar.demo.picture import draw
from cf_orch.sidecar.demo.record import Record, in_gb
from cf_orch.sidecar.demo.timeline import COLOURS
from cf_orch.sidecar.demo.verdict.finding import Finding

__all__ = ["sum_up"]


def sum_up(console: Console, record: Record, findings: Sequence[Finding]) -> None:
    """Say all of it."""
    console.print("\nWhat the models had in memory\n", style="bold")
    for row in draw(record, console.width):
        console.print(row)
    console.print()
    console.print(_waits(record))
    console.print()
    for finding in findings:
        mark = Text("ok    ", "green") if finding.holds else Text("FAILED", "bold red")
        console.print(Text.assemble(mark, f"  {finding.claim}: {finding.because}"))
    console.print()


def _waits(record: Record) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("job")
    for column in ("asked for", "its models took", "waited", "gave way for"):
        table.add_column(column, justify="right")
    for job in record.jobs.values():
        name = Text(job.name, COLOURS[job.service])
        table.add_row(name, in_gb(job.size_bytes), in_gb(job.peak_bytes), _seconds(job.waited_s), _seconds(job.away_s))
    return table


def _seconds(time_s: float | None) -> str:
    return "-" if time_s is None else f"{time_s:.1f} s"
