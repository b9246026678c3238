"""``cf-orch devices``: the devices and what is on them."""

import argparse

from rich.text import Text

from cf_orch.coordinator.commands.tables import show, table
from cf_orch.protocol.messages import DeviceInfo, DevicesAnswer
from cf_orch.sidecar.commands.api import Api
from cf_orch.sidecar.commands.arguments import add_json, add_url
from cf_orch.sidecar.commands.failures import reported
from cf_orch.sidecar.commands.wording import amount, device_name

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    add_url(parser)
    add_json(parser)


@reported
def run(arguments: argparse.Namespace) -> int:
    """List the devices, sizes in GB."""
    api = Api.named(arguments)
    if arguments.json:
        print(api.get_text("/devices"))
        return 0
    devices = api.get(DevicesAnswer, "/devices").devices
    if not devices:
        print("No device is known yet.")
        return 0
    numbers = ("TOTAL", "HELD", "FOREIGN", "RESERVE", "FREE")
    rows = table("#", "DEVICE", *numbers, right=("#", *numbers), gap=1)
    for device in devices:
        sizes = (device.total_gb, device.charged_gb, device.foreign_gb, device.reserve_gb, device.free_gb)
        rows.add_row(str(device.index), _described(device), *(amount(size) for size in sizes))
    show(rows)
    return 0


def _described(device: DeviceInfo) -> Text:
    described = Text(f"{device_name(device.name)} on {device.host}\n{device.uuid}")
    if device.capabilities:
        described.append(f"\n{', '.join(device.capabilities)}", style="dim")
    states = {
        "over-committed": device.over_committed,
        f"blind: {device.blind}": device.blind,
        "draining": device.draining,
        f"{device.loading} is loading": device.loading,
        "declared: no driver": not device.has_driver,
    }
    for state in (state for state, holds in states.items() if holds):
        described.append(f"\n{state}", style="yellow")
    return described
