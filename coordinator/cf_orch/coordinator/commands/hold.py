"""``cf-orch hold``: a person's own lease: memory that no product gets while you want it."""

import argparse
import getpass
import math
import signal
import time

from cf_orch.client import VRAMSlot
from cf_orch.gpus import host_identity
from cf_orch.protocol.messages import DeviceInfo, DevicesAnswer
from cf_orch.protocol.priorities import Priority
from cf_orch.sidecar.commands.api import Api
from cf_orch.sidecar.commands.arguments import add_url, duration_s, find_device, priority, size_gb_or_all
from cf_orch.sidecar.commands.failures import CommandFailed, reported
from cf_orch.sidecar.commands.grant import Interrupted, wait_for_grant
from cf_orch.sidecar.commands.keeper import Failed, Granted, Keeper, Kept, Lost, Noted
from cf_orch.sidecar.commands.progress import Progress
from cf_orch.sidecar.commands.signals import Signals, stop_here
from cf_orch.sidecar.commands.wording import clock, device_name, gb, span

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    add_url(parser)
    parser.add_argument(
        "--vram", type=size_gb_or_all, required=True, metavar="SIZE",
        help="how much: 6, 6GB, 6144MB, or all that a device can give",
    )  # fmt: skip
    parser.add_argument("--device", help="the device's UUID, name or index")
    parser.add_argument(
        "--for", dest="for_s", type=duration_s, metavar="TIME", help="for how long (2h); default: until Ctrl-C"
    )
    parser.add_argument(
        "--priority", type=priority, default=int(Priority.REALTIME),
        help="background, batch, normal, interactive, realtime (the default), or 0 to 100",
    )  # fmt: skip


@reported
def run(arguments: argparse.Namespace) -> int:
    """Wait for the memory, hold it, and give it back."""
    slot = _slot(arguments)
    progress = Progress()
    try:
        with Signals() as signals, Keeper(Kept(slot, arguments.url, "fail")) as keeper:
            granted = wait_for_grant(keeper, signals, progress)
            _greet(granted, arguments.for_s)
            _hold(keeper, signals, progress, arguments.for_s)
    except Interrupted as interrupted:
        return interrupted.status
    print(f"{granted.lease_id} is given back.")
    return 0


def _slot(arguments: argparse.Namespace) -> VRAMSlot:
    """Make the slot; the devices are looked at only where a name or a size depends on them."""
    device, size_gb = None, arguments.vram
    if arguments.device is not None or size_gb == "all":
        devices = Api.named(arguments).get(DevicesAnswer, "/devices").devices
        device = _largest(devices) if arguments.device is None else find_device(devices, arguments.device)
        size_gb = _all_of(device) if size_gb == "all" else size_gb
    return VRAMSlot(
        f"person:{getpass.getuser()}",
        "hold",
        size_gb,
        priority=arguments.priority,
        device=device.uuid if device else None,
        host=device.host_id if device else None,
    )


def _largest(devices: list[DeviceInfo]) -> DeviceInfo:
    """Choose the device with most to give, one of this host before all others."""
    here = host_identity().host_id
    if not devices:
        raise CommandFailed("no device is known yet, so there is nothing to hold")
    return max(devices, key=lambda device: (device.host_id == here, _givable_gb(device)))


def _givable_gb(device: DeviceInfo) -> float:
    return device.total_gb - device.reserve_gb - device.foreign_gb


def _all_of(device: DeviceInfo) -> float:
    """Return all that it could give now if every lease ended; rounded down, since sizes on the wire are rounded."""
    size_gb = _givable_gb(device)
    if device.has_driver:
        size_gb = math.floor(size_gb * 100 - 0.2) / 100
    if size_gb <= 0:
        name = f"{device_name(device.name)} on {device.host}"
        raise CommandFailed(f"{name} has nothing to give: {gb(device.foreign_gb)} of it are in use outside any lease")
    return size_gb


def _greet(granted: Granted, for_s: float | None) -> None:
    until = "Ctrl-C" if for_s is None else f"{clock(time.time() + for_s)} ({span(for_s)}) or Ctrl-C"
    where = " and ".join(granted.devices)
    print(f"{granted.lease_id} holds {gb(granted.vram_gb)} on {where} until {until}.", flush=True)


def _hold(keeper: Keeper, signals: Signals, progress: Progress, for_s: float | None) -> None:
    """Hold until the time is over or a signal says to end; raises CommandFailed when the lease is lost."""
    ends_at = None if for_s is None else time.monotonic() + for_s
    while True:
        info = signals.next() if ends_at is None else signals.next_within(ends_at - time.monotonic())
        if info is None:
            return
        if info.si_signo == signal.SIGTSTP:
            stop_here()
        elif info.si_signo in (signal.SIGIO, signal.SIGCHLD):
            for news in keeper.news():
                match news:
                    case Lost(why) | Failed(why):
                        raise CommandFailed(f"the lease is lost: {why}")
                    case Noted(what):
                        progress.note(what)
        elif info.si_signo != signal.SIGCONT:
            return
