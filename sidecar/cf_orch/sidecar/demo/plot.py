"""The memory over time as a PNG; needs matplotlib, the extra ``plots``."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cf_orch.protocol.sizes import GIB
from cf_orch.sidecar.demo.record import Record
from cf_orch.sidecar.demo.timeline import COLOURS

__all__ = ["CannotPlot", "check_can_plot", "plot"]

SIZE_INCHES = (11.0, 4.5)


class CannotPlot(Exception):  # noqa: N818 - it names what happened
    """No picture can be drawn, or not there; ``str()`` says why and what to do."""


def check_can_plot(file: Path) -> None:
    """Raises CannotPlot if matplotlib is missing or there is no such folder, before anything is begun."""
    if find_spec("matplotlib") is None:
        raise CannotPlot("--plot needs matplotlib: pip install 'cf-orch[plots]'")
    if not file.absolute().parent.is_dir():
        raise CannotPlot(f"--plot {file}: there is no folder {file.absolute().parent}")


def plot(record: Record, file: Path) -> None:
    """Draw what the models had and the budget over time, with the coordinator's absence shaded.  Raises CannotPlot."""
    figure = import_module("matplotlib.figure").Figure(figsize=SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    times = [sample.at_s for sample in record.samples]
    used = [[sample.measured.get(service, 0) / GIB for sample in record.samples] for service in COLOURS]
    axes.stackplot(times, used, labels=list(COLOURS), colors=[f"tab:{_TAB[colour]}" for colour in COLOURS.values()])
    axes.axhline(record.budget_bytes / GIB, color="black", linestyle="--", label="the budget")
    _shade_outage(axes, record)
    axes.set_xlim(0, times[-1] if times else 1)
    axes.set_ylim(0, record.budget_bytes / GIB * 1.2)
    axes.set_xlabel("seconds")
    axes.set_ylabel("memory of the models, GB")
    axes.set_title("Two products in memory that does not hold both")
    figure.legend(loc="outside lower center", ncols=4)
    try:
        figure.savefig(file, dpi=120, format="png")
    except OSError as error:
        raise CannotPlot(f"--plot {file} cannot be written: {error}") from error


_TAB = {"cyan": "cyan", "magenta": "pink"}


def _shade_outage(axes: Any, record: Record) -> None:
    killed_at, returned_at = record.outage.killed_at, record.outage.returned_at
    if killed_at is not None:
        until = record.samples[-1].at_s if returned_at is None and record.samples else returned_at
        axes.axvspan(killed_at, until, color="tab:olive", alpha=0.2, zorder=0, label="no coordinator")
