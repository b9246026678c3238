"""``cf-orch why``: what a lease waits for, in words: behind whom, for how much, and how long that may take."""

import argparse
from collections.abc import Iterator
from urllib.parse import quote

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from cf_orch.coordinator.commands.tables import show
from cf_orch.protocol.messages import LeaseInfo, StatusAnswer, WaitingInfo
from cf_orch.sidecar.commands.api import Api
from cf_orch.sidecar.commands.arguments import add_json, add_url
from cf_orch.sidecar.commands.failures import reported
from cf_orch.sidecar.commands.wording import Names, ago, class_name, gb, waits, whose

__all__ = ["configure", "run"]

_OUTCOMES = {
    "released": "its holder gave the memory back",
    "cancelled": "whoever asked for it took the request back or has gone",
    "expired": "its holder was silent for longer than its time to live",
    "timed_out": "it waited as long as it was willing to wait (max_wait_s)",
    "lost": "its holder is gone",
}
_RESTS = {
    "idle": "it was not used, and comes back when its holder is busy again",
    "operator": "an operator evicted it, and it comes back with `cf-orch resume`",
    "drain": "its device was drained, and it comes back when the drain ends",
}
_RULES = {
    "memory": "Other leases hold the memory that it needs.",
    "fifo": "Others come first: nobody is passed on a device that he could use.",
    "window": "An engine is loading there, and nothing else starts until it is up.",
    "quota": "Its service would hold more than it may.",
    "drain": "The devices that it could use are drained: they grant nothing new.",
    "blind": "The driver's account of the memory is missing or too old, and nothing is granted on a guess.",
    "eviction": "Those who hold it were asked to leave; nobody is forced, and what they free is kept for it.",
    "residue": "It fits only when those have ended that gave their memory up and kept a part of it: they go first.",
    "residency": "Those who could be asked to leave are protected for a while: just loaded, or just used.",
    "foreign": "It would not fit if every lease ended: memory is in use that no lease accounts for. "
    "It keeps its place and holds nobody back.",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    add_url(parser)
    add_json(parser)
    parser.add_argument("lease", metavar="LEASE", help="its id, as `cf-orch status` shows it")


@reported
def run(arguments: argparse.Namespace) -> int:
    """Explain one lease."""
    api = Api.named(arguments)
    path = f"/leases/{quote(arguments.lease, safe='')}"
    if arguments.json:
        print(api.get_text(path))
        return 0
    lease = api.get(LeaseInfo, path)
    status = api.get(StatusAnswer, "/status")
    names = Names(status.devices, status.leases)
    parts: list[RenderableType] = [Text(_paragraph(lease, names))]
    front = list(_chain(lease, names, 1, {lease.id}))
    if front:
        parts.append(Text("\nIn front of it:"))
    parts += [Padding(Text(line), (0, 0, 0, 2 * depth)) for depth, line in front]
    show(*parts)
    return 0


def _paragraph(lease: LeaseInfo, names: Names) -> str:
    size = gb(lease.vram_gb) + (f" on each of {len(lease.devices)} devices" if len(lease.devices) > 1 else "")
    known = (
        f"{lease.id} is {whose(lease)}: {size}, class {class_name(lease.priority)}, asked at {ago(lease.created_at)}."
    )
    if lease.waiting_for is not None:
        return f"{known} {_wait(lease, lease.waiting_for, names)}"
    if lease.state == "ended":
        outcome = lease.outcome or "unknown"
        return f"{known} It has ended, {outcome.replace('_', ' ')}: {_OUTCOMES.get(outcome, 'nothing more is known')}."
    if lease.state == "closing":
        return (
            f"{known} It waits for nothing: it is over, and its {gb(lease.charge_gb)} are counted until they are back."
        )
    if lease.state == "resting":
        return f"{known} It gave its memory up and waits for nothing: {_RESTS.get(lease.rest or '', 'it rests')}."
    return f"{known} It waits for nothing: it {_holding(lease, names)}."


def _wait(lease: LeaseInfo, waiting: WaitingInfo, names: Names) -> str:
    before = lease.position or 0
    stand = "stands" if before == 1 else "stand"
    place = f"{before} {stand} before it in the queue." if before else "It is the first in the queue."
    eta = "" if waiting.eta_s is not None else "How long that takes is not known."
    return f"It {waits(lease, names)}. {_RULES.get(waiting.rule, '')} {place} {eta}".replace("  ", " ").strip()


def _chain(lease: LeaseInfo, names: Names, depth: int, told: set[str]) -> Iterator[tuple[int, str]]:
    """Tell who is in front, and who is in front of those, each once."""
    for lease_id in lease.waiting_for.behind if lease.waiting_for else ():
        if lease_id in told:
            continue
        told.add(lease_id)
        other = names.leases.get(lease_id)
        if other is None:
            yield depth, lease_id
        elif other.waiting_for is not None:
            yield depth, f"{names.lease(lease_id)} {waits(other, names)}"
            yield from _chain(other, names, depth + 1, told)
        else:
            yield depth, f"{names.lease(lease_id)} {_holding(other, names)}"


def _holding(lease: LeaseInfo, names: Names) -> str:
    since = ago(lease.granted_at or lease.created_at)
    does = "holds" if lease.state == "active" else f"is {lease.state} with"
    return f"{does} {gb(lease.charge_gb)} on {names.on(lease.devices)} since {since}"
