"""How commands print: tables without boxes, colours only on a terminal, nothing cut off for a program that reads."""

import os
import sys

from rich.console import Console, RenderableType
from rich.table import Table

__all__ = ["console", "grid", "show", "table"]

WIDE = 1000
"""Columns where nobody looks: a line stays one line for grep."""


def console() -> Console:
    """Make the console on stdout; rich honours NO_COLOR and COLUMNS."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")  # a terminal that cannot show a name shows ? for it
    width = WIDE if not sys.stdout.isatty() and "COLUMNS" not in os.environ else None
    return Console(markup=False, highlight=False, emoji=False, width=width)


def show(*parts: RenderableType) -> None:
    """Print; where no terminal is, without the blanks that fill lines up."""
    on = console()
    with on.capture() as captured:
        for part in parts:
            on.print(part)
    lines = captured.get().splitlines()
    print("\n".join(lines if on.is_terminal else (line.rstrip() for line in lines)), flush=True)


def table(*columns: str, right: tuple[str, ...] = (), whole: tuple[str, ...] = (), gap: int = 2) -> Table:
    """Make a table with these headings; those in ``right`` hold numbers, those in ``whole`` are never broken."""
    made = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(
            column, justify="right" if column in right else "left", no_wrap=column in right + whole, overflow="fold"
        )
    return made


def grid(*justify: str) -> Table:
    """Make columns without headings, each ``left`` or ``right``."""
    made = Table.grid(padding=(0, 2, 0, 0))
    for side in justify:
        made.add_column(justify="right" if side == "right" else "left")
    return made
