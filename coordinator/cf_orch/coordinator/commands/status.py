"""``cf-orch status``: who holds the cards, who waits, and why."""

import argparse
import sys
import time

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.padding import Padding
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from cf_orch.coordinator.commands.tables import console, grid, show
from cf_orch.protocol.messages import DeviceInfo, LeaseInfo, StatusAnswer
from cf_orch.sidecar.commands.api import Api, Unreachable
from cf_orch.sidecar.commands.arguments import add_url
from cf_orch.sidecar.commands.failures import EXIT_WRONG_USAGE, CommandFailed, reported
from cf_orch.sidecar.commands.wording import Names, ago, amount, device_name, gb, waits, whose

__all__ = ["configure", "run"]

REFRESH_S = 1.0
BAR_WIDTH = 24
INDENT = (0, 0, 0, 3)
MOST_WAITING = 20
"""How many waiters are explained; of the others there is a count."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    add_url(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the answer as JSON, for programs")
    form.add_argument("--watch", action="store_true", help="show it anew each second until Ctrl-C")


@reported
def run(arguments: argparse.Namespace) -> int:
    """Show the whole picture once, or until interrupted."""
    api = Api.named(arguments)
    if arguments.json:
        print(api.get_text("/status"))
    elif arguments.watch:
        _watch(api)
    else:
        show(_picture(api.get(StatusAnswer, "/status")))
    return 0


def _watch(api: Api) -> None:
    if not sys.stdout.isatty():
        raise CommandFailed("--watch needs a terminal; --json is for programs", EXIT_WRONG_USAGE)
    picture: RenderableType = _picture(api.get(StatusAnswer, "/status"))
    try:
        with Live(picture, console=console(), screen=True, auto_refresh=False) as live:
            while True:
                live.update(picture, refresh=True)
                time.sleep(REFRESH_S)
                picture = _look_again(api)
    except KeyboardInterrupt:
        return


def _look_again(api: Api) -> RenderableType:
    try:
        return _picture(api.get(StatusAnswer, "/status"))
    except Unreachable as gone:
        return Text(f"{gone}\n\nLooking again each second; Ctrl-C ends it.")


def _picture(status: StatusAnswer) -> RenderableType:
    names = Names(status.devices, status.leases)
    parts: list[RenderableType] = []
    for device in status.devices:
        parts += [_device(device, names), Text()]
    if not status.devices:
        parts += [Text("No device is known yet: requests wait until one is reported."), Text()]
    return Group(*parts, _queue(status, names))


def _device(device: DeviceInfo, names: Names) -> RenderableType:
    title = Text(f"{device.index}  {device_name(device.name)} on {device.host}", style="bold")
    if not device.has_driver:
        title.append("  (declared: no driver, the ledger alone counts)", style="not bold dim")
    numbers = [f"{amount(device.charged_gb)} held"]
    numbers += [f"{amount(device.foreign_gb)} foreign"] if device.foreign_gb else []
    numbers += [f"{amount(device.reserve_gb)} reserve"] if device.reserve_gb else []
    line = grid("left", "left")
    line.add_row(_Bar(device), f"{', '.join(numbers)}, {amount(device.free_gb)} free of {gb(device.total_gb)}")
    warnings = [Text(warning, style="red") for warning in _warnings(device, names)]
    return Group(title, *(Padding(part, INDENT) for part in (line, *warnings, _holders(device, names))))


def _warnings(device: DeviceInfo, names: Names) -> list[str]:
    found: list[str] = []
    if device.over_committed:
        spoken_for = gb(device.charged_gb + device.foreign_gb + device.reserve_gb)
        found.append(f"over-committed: {spoken_for} of {gb(device.total_gb)} in use; nothing is granted until it fits")
    if device.blind:
        found.append(f"blind: {device.blind}; nothing is granted")
    if device.draining:
        found.append("draining: nothing new is granted")
    if device.loading:
        found.append(f"{names.lease(device.loading)} is loading: nothing else starts until it is up")
    return found


def _holders(device: DeviceInfo, names: Names) -> RenderableType:
    rows = grid("left", "left", "right", "left")
    for lease_id in device.leases:
        lease = names.leases.get(lease_id)
        if lease is None:  # of a very long list the rest is not told
            rows.add_row(lease_id)
            continue
        rows.add_row(lease.id, whose(lease), gb(lease.charge_gb / len(lease.devices)), _since(lease))
    for process in device.foreign:
        used = "" if process.used_gb is None else gb(process.used_gb)
        rows.add_row("foreign", f"{process.name or 'a process'} (pid {process.pid})", used, "", style="yellow")
    return rows


def _since(lease: LeaseInfo) -> str:
    state = {
        "active": "",
        "idle": "warm, unused, ",
        "loading": "loading, ",
        "evicting": "asked to leave, " + ("overdue, " if lease.eviction and lease.eviction.overdue else ""),
        "parked": "gave its memory up, ",
        "resting": "gave its memory up and rests, ",
        "closing": f"{lease.outcome}, memory not back yet, ",
    }.get(lease.state, f"{lease.state}, ")
    kind = "adopted, " if lease.adopted else ""
    overdue = "load overdue, " if lease.load_overdue else ""
    return f"{kind}{overdue}{state}since {ago(lease.granted_at or lease.created_at)}"


def _queue(status: StatusAnswer, names: Names) -> RenderableType:
    queued = [lease for lease in status.leases if lease.position is not None]
    if not status.queued:
        return Text("Nobody waits.")
    rows = grid("right", "left", "left")
    for lease in queued[:MOST_WAITING]:
        rows.add_row(f"{(lease.position or 0) + 1}.", lease.id, f"{whose(lease)} {waits(lease, names)}")
    more = status.queued - min(len(queued), MOST_WAITING)
    parts: list[RenderableType] = [Text("Waiting, in order", style="bold"), Padding(rows, INDENT)]
    if more:
        parts.append(Padding(Text(f"and {more} more: see `cf-orch leases`"), INDENT))
    return Group(*parts)


class _Bar:
    """One device's memory as a bar: held, foreign, reserve, the rest."""

    def __init__(self, device: DeviceInfo) -> None:
        self._device = device

    def __rich_measure__(self, _on: Console, _options: ConsoleOptions) -> Measurement:
        return Measurement(BAR_WIDTH, BAR_WIDTH)

    def __rich_console__(self, _on: Console, options: ConsoleOptions) -> RenderResult:
        device = self._device
        marks = "#%:." if options.ascii_only else "█▓▒░"
        parts = ((device.charged_gb, "green"), (device.foreign_gb, "yellow"), (device.reserve_gb, "blue"))
        total, filled, drawn = device.total_gb or 1.0, 0.0, 0
        for mark, (size_gb, colour) in zip(marks, parts, strict=False):
            filled += size_gb
            cells = min(BAR_WIDTH, round(filled / total * BAR_WIDTH)) - drawn
            drawn += cells
            yield Segment(mark * cells, Style(color=colour))
        yield Segment(marks[-1] * (BAR_WIDTH - drawn), Style(dim=True))
