"""``cf-orch evict``: ask a holder to leave, until ``cf-orch resume``."""

import argparse
from urllib.parse import quote

from cf_orch.protocol.messages import LeaseInfo
from cf_orch.sidecar.commands.api import Api
from cf_orch.sidecar.commands.arguments import add_url
from cf_orch.sidecar.commands.failures import reported
from cf_orch.sidecar.commands.wording import gb, span, whose

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    add_url(parser)
    parser.add_argument("lease", metavar="LEASE", help="its id, as `cf-orch status` shows it")


@reported
def run(arguments: argparse.Namespace) -> int:
    """Ask one lease's holder to leave, and say what that means now."""
    lease = Api.named(arguments).post(LeaseInfo, f"/leases/{quote(arguments.lease, safe='')}/evict")
    if lease.eviction is not None:
        does = f"is asked to leave its {gb(lease.charge_gb)} within {span(lease.eviction.deadline_s)}"
    else:
        does = "has given its memory up already, and stays away"
    print(f"{lease.id} of {whose(lease)} {does}; `cf-orch resume {lease.id}` lets it come back.")
    return 0
