"""The memory over time as a picture in the terminal: a band for each product, as high as the budget."""

from bisect import bisect_left
from collections.abc import Iterator

from rich.text import Text

from cf_orch.sidecar.demo.record import Outage, Record, in_gb
from cf_orch.sidecar.demo.timeline import COLOURS, COORDINATOR

__all__ = ["draw"]

LEVELS = " ▁▂▃▄▅▆▇█"
BAND_ROWS = 3
LABEL_CELLS = 13
FEWEST_CELLS, MOST_CELLS = 20, 100
TICK_EVERY_S = 10


def draw(record: Record, width: int) -> Iterator[Text]:
    """Yield the picture's rows, none wider than ``width`` cells."""
    if not record.samples:
        return
    cells = max(FEWEST_CELLS, min(MOST_CELLS, width - LABEL_CELLS - 1))
    step_s = record.samples[-1].at_s / cells or 1.0
    for service, colour in COLOURS.items():
        yield _row(in_gb(record.budget_bytes), "┄" * cells, "dim", label_style="dim")
        columns = _columns(record, service, cells, step_s)
        for row in reversed(range(BAND_ROWS)):
            label = service if row == 0 else ""
            yield _row(label, "".join(_cell(part, row) for part in columns), colour, label_style=colour)
    yield _row("coordinator", _presence(record.outage, cells, step_s), COORDINATOR, label_style=COORDINATOR)
    yield _row("", _scale(cells, step_s), "dim")


def _columns(record: Record, service: str, cells: int, step_s: float) -> list[float]:
    """The most that a product had in each step of time, as a part of the budget; without a sample, as before."""
    times = [sample.at_s for sample in record.samples]
    columns: list[float] = []
    for cell in range(cells):
        first, end = bisect_left(times, cell * step_s), bisect_left(times, (cell + 1) * step_s)
        inside = record.samples[first:end]
        most = max((sample.measured.get(service, 0) for sample in inside), default=None)
        columns.append((columns[-1] if columns else 0.0) if most is None else most / record.budget_bytes)
    return columns


def _cell(part: float, row: int) -> str:
    """One character of a column: how far it fills this row; what is above the budget shows in the highest."""
    if part > 1 and row == BAND_ROWS - 1:
        return "▲"
    filled = round(part * BAND_ROWS * (len(LEVELS) - 1)) - row * (len(LEVELS) - 1)
    return LEVELS[max(0, min(len(LEVELS) - 1, filled))]


def _presence(outage: Outage, cells: int, step_s: float) -> str:
    """A line while the coordinator is there, and a cross where it was killed."""
    killed = cells if outage.killed_at is None else int(outage.killed_at / step_s)
    back = cells if outage.returned_at is None else int(outage.returned_at / step_s)
    cross = "✕" if killed < cells else ""
    return (("━" * killed + cross).ljust(min(back, cells)) + "━" * (cells - back))[:cells]


def _scale(cells: int, step_s: float) -> str:
    marks = [" "] * (cells + LABEL_CELLS)
    for tick in range(int(cells * step_s / TICK_EVERY_S) + 1):
        at = int(tick * TICK_EVERY_S / step_s)
        words = f"{tick * TICK_EVERY_S} s"
        marks[at : at + len(words)] = words
    return "".join(marks[:cells])


def _row(label: str, cells: str, style: str, *, label_style: str = "") -> Text:
    return Text.assemble((f"{label:>{LABEL_CELLS}} ", label_style), (cells, style))
