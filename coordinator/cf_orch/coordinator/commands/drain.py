"""``cf-orch drain``: grant nothing new on a device, so that it can be taken away or used otherwise."""

import argparse
from urllib.parse import quote

from cf_orch.protocol.messages import DeviceInfo, DevicesAnswer, DrainRequest, LeasesAnswer
from cf_orch.sidecar.commands.api import Api
from cf_orch.sidecar.commands.arguments import add_url, duration_s, find_device
from cf_orch.sidecar.commands.failures import reported
from cf_orch.sidecar.commands.wording import device_name, span

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    add_url(parser)
    parser.add_argument("device", metavar="DEVICE", help="its UUID, name or index")
    how_long = parser.add_mutually_exclusive_group()
    how_long.add_argument(
        "--for", dest="for_s", type=duration_s, metavar="TIME", help="for how long (2h); default: until --undo"
    )
    how_long.add_argument("--undo", action="store_true", help="let it grant again")
    parser.add_argument("--evict", action="store_true", help="ask those who can leave to leave until then")


@reported
def run(arguments: argparse.Namespace) -> int:
    """Drain a device or let it grant again, and say what that means now."""
    api = Api.named(arguments)
    device = find_device(api.get(DevicesAnswer, "/devices").devices, arguments.device)
    name = f"{device_name(device.name)} on {device.host}"
    path = f"/devices/{quote(device.uuid, safe='')}"
    if arguments.undo:
        api.post(DevicesAnswer, f"{path}/undrain")
        print(f"{name} grants again.")
        return 0
    api.post(DevicesAnswer, f"{path}/drain", DrainRequest(for_s=arguments.for_s, evict=arguments.evict))
    until = f"for {span(arguments.for_s)}" if arguments.for_s else f"until `cf-orch drain {arguments.device} --undo`"
    holders = len(device.leases)
    held = f"{holders} lease{'s' if holders > 1 else ''} there may finish" if holders else "nothing is held there"
    print(f"{name} grants nothing new {until}; {held}{_asked(api, device) if arguments.evict else ''}.")
    return 0


def _asked(api: Api, device: DeviceInfo) -> str:
    leases = api.get(LeasesAnswer, "/leases").leases
    there = [lease for lease in leases if device.uuid in (on.uuid for on in lease.devices)]
    asked = [lease for lease in there if lease.state in ("evicting", "parked", "resting")]
    return f", {len(asked)} of them asked to leave" if there else ""
