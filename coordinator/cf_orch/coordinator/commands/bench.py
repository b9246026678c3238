"""``cf-orch bench``: the figures to hold, each beside a floor in the same run where there is one."""

import argparse
import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from cf_orch.coordinator.bench import measures
from cf_orch.coordinator.bench.figures import Figure

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, for a first look")
    parser.add_argument("--dir", metavar="DIR", help="where the journals are kept meanwhile (the temporary directory)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure everything; the exit status is 0 however it turns out, for a machine may be busy."""
    progress = Console(stderr=True)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=arguments.dir) as scratch:
        for number, (title, measure) in enumerate(_plan(quick=arguments.quick)):
            progress.print(f"measuring {title} ...", style="dim")
            figures += measure(Path(scratch) / str(number))
    if arguments.json:
        print(msgspec.json.encode([_plain(figure) for figure in figures]).decode())
    else:
        Console().print(_table(figures))
    return 0


def _plan(*, quick: bool) -> list[tuple[str, Callable[[Path], list[Figure]]]]:
    scale = 1 if quick else 10
    return [
        ("one client", lambda d: asyncio.run(measures.uncontended(d, 300 * scale))),
        ("hand-off", lambda d: asyncio.run(measures.hand_off(d, 50 * scale))),
        ("making way", lambda d: asyncio.run(measures.making_way(d, 20 * scale))),
        ("64 clients, 6 at a time", lambda d: _contended(d, 4.0, scale)),
        ("64 clients, one at a time", lambda d: _contended(d, 16.0, scale)),
        ("decisions", lambda _: measures.decision_cost(pairs=200 * scale)),
        ("memory", measures.idle_memory),
        ("import", lambda _: measures.import_time()),
    ]


def _contended(directory: Path, gb: float, scale: int) -> list[Figure]:
    return measures.contended(directory, clients=64, processes=8, gb=gb, seconds=1.0 * scale)


def _plain(figure: Figure) -> dict[str, object]:
    return msgspec.structs.asdict(figure) | {"holds": figure.holds, "ratio": figure.ratio}


def _table(figures: list[Figure]) -> Table:
    table = Table(title="cf-orch bench", title_justify="left")
    for column in ("what", "measured", "to hold", "floor in the same run", "detail"):
        table.add_column(column)
    for figure in figures:
        sign = ">=" if figure.more_is_better else "<="
        floor = f"{figure.floor:g} ({figure.floor_name}): x{figure.ratio:g}" if figure.floor else ""
        colour = "green" if figure.holds else "red"
        table.add_row(
            figure.name,
            f"[{colour}]{figure.value:g} {figure.unit}[/]",
            f"{sign} {figure.bound:g}",
            floor,
            figure.detail,
        )
    return table
