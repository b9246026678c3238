"""How findings are printed: a line for what is well, three for what is not; colours only on a terminal."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cf_orch.sidecar.doctor.finding import LEVELS, Finding, Level

__all__ = ["as_json", "print_report"]

_WIDE = 1000
"""Columns where nobody looks: a line stays one line for grep."""
_MARKS: dict[Level, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "info": ("info", "cyan"),
    "warning": ("warning", "yellow"),
    "error": ("ERROR", "bold red"),
}
_COUNTED: dict[Level, str] = {"ok": "ok", "info": "to know", "warning": "warning", "error": "error"}
_INDENT = 9


def print_report(sections: Mapping[str, list[Finding]], *, whys: bool) -> None:
    """Print findings by section; why a thing matters is told of what is not well, and of all with ``whys``."""
    console = _console()
    for section, findings in sections.items():
        if findings:
            console.print(Text(_printable(section), "bold"))
            for finding in findings:
                _print_finding(console, finding, whys=whys)
            console.print()
    _print_sum(console, [finding for findings in sections.values() for finding in findings])


def _console() -> Console:
    """The console on stdout; rich honours NO_COLOR and COLUMNS."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")  # a terminal that cannot show a name shows ? for it
    width = _WIDE if not sys.stdout.isatty() and "COLUMNS" not in os.environ else None
    return Console(markup=False, highlight=False, emoji=False, width=width)


def _print_finding(console: Console, finding: Finding, *, whys: bool) -> None:
    mark, style = _MARKS[finding.level]
    _print_line(console, Text(f"{mark:<{_INDENT}}", style), finding.found, 2)
    tells = whys or finding.level in ("warning", "error")
    if tells and finding.why:
        _print_line(console, Text("why  ", "dim"), finding.why, 2 + _INDENT)
    if finding.do and (tells or finding.level == "info"):
        _print_line(console, Text("do   ", "dim"), finding.do, 2 + _INDENT)


def _print_line(console: Console, label: Text, sentence: str, indent: int) -> None:
    """Print a label and a sentence that is broken beside it, never under it."""
    line = Table.grid()
    line.add_column(no_wrap=True)
    line.add_column(overflow="fold")
    line.add_row(label, _printable(sentence))
    console.print(Padding(line, (0, 0, 0, indent), expand=False))


def _print_sum(console: Console, findings: list[Finding]) -> None:
    counts = Counter(finding.level for finding in findings)
    parts = []
    for level in reversed(LEVELS):
        if counts[level]:
            plural = "s" if level in ("warning", "error") and counts[level] > 1 else ""
            parts.append(Text(f"{counts[level]} {_COUNTED[level]}{plural}", _MARKS[level][1]))
    console.print(Text(", ").join(parts))


def as_json(findings: Iterable[Finding], **more: object) -> str:
    """The same for programs."""
    counts = Counter(finding.level for finding in findings)
    body = {"findings": list(findings), "counts": {level: counts[level] for level in LEVELS}, **more}
    return msgspec.json.format(msgspec.json.encode(body), indent=2).decode()


def _printable(text: str) -> str:
    """Take out what could steer a terminal: a process or a key of a file may have any name."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
