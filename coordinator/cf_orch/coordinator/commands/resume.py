"""``cf-orch resume``: let a lease come back that an operator evicted."""

import argparse
from urllib.parse import quote

from cf_orch.protocol.messages import LeaseInfo
from cf_orch.sidecar.commands.api import Api
from cf_orch.sidecar.commands.arguments import add_url
from cf_orch.sidecar.commands.failures import reported
from cf_orch.sidecar.commands.wording import whose

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    add_url(parser)
    parser.add_argument("lease", metavar="LEASE", help="its id, as `cf-orch status` shows it")


@reported
def run(arguments: argparse.Namespace) -> int:
    """Let one lease come back, and say where it stands."""
    lease = Api.named(arguments).post(LeaseInfo, f"/leases/{quote(arguments.lease, safe='')}/resume")
    stands = f"waits for its memory, {lease.position + 1}. in the queue" if lease.position is not None else lease.state
    print(f"{lease.id} of {whose(lease)}: {stands}.")
    return 0
