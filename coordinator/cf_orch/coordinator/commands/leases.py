"""``cf-orch leases``: the leases, in the order in which they were or will be served."""

import argparse

from cf_orch.coordinator.commands.tables import show, table
from cf_orch.ledger import State
from cf_orch.protocol.messages import LeaseInfo, LeasesAnswer
from cf_orch.sidecar.commands.api import Api
from cf_orch.sidecar.commands.arguments import add_json, add_url
from cf_orch.sidecar.commands.failures import reported
from cf_orch.sidecar.commands.wording import ago, amount, class_name, device_name, whose

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    add_url(parser)
    add_json(parser)
    parser.add_argument("--state", help=f"only those in this state: {', '.join(State)}")
    parser.add_argument("--service", help="only those of this service")


@reported
def run(arguments: argparse.Namespace) -> int:
    """List the leases, sizes in GB."""
    api = Api.named(arguments)
    asked = {"state": arguments.state, "service": arguments.service}
    if arguments.json:
        print(api.get_text("/leases", **asked))
        return 0
    leases = api.get(LeasesAnswer, "/leases", **asked).leases
    if not leases:
        print("No leases." if not any(asked.values()) else "No such leases.")
        return 0
    rows = table(
        "LEASE", "STATE", "WHOSE", "CLASS", "GB", "DEVICE", "SINCE",
        right=("GB",), whole=("LEASE", "STATE", "CLASS", "SINCE"),
    )  # fmt: skip
    for lease in leases:
        where = ", ".join(f"{device.index} {device_name(device.name)}" for device in lease.devices)
        since = ago(lease.granted_at or lease.created_at)
        rows.add_row(
            lease.id, _state(lease), whose(lease), class_name(lease.priority), amount(lease.vram_gb), where, since,
        )  # fmt: skip
    show(rows)
    return 0


def _state(lease: LeaseInfo) -> str:
    if lease.position is not None:
        return f"{lease.state} {lease.position + 1}."
    if lease.eviction is not None and lease.eviction.overdue:
        return "evicting, overdue"
    return lease.outcome.replace("_", " ") if lease.state == "ended" and lease.outcome else lease.state
