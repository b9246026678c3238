"""``cf-orch profile``: what a card can do, by its name."""

import argparse

import msgspec

from cf_orch.coordinator.commands.tables import grid, show
from cf_orch.gpus import GpuProfile, UnknownGpuError, get_gpu_profile
from cf_orch.sidecar.commands.arguments import add_json
from cf_orch.sidecar.commands.failures import CommandFailed, reported
from cf_orch.sidecar.commands.wording import amount, gb

__all__ = ["configure", "run"]

_TYPES = ("fp16", "bf16", "fp8", "fp4", "int8", "int4")


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    parser.add_argument(
        "name", metavar="NAME", nargs="+", help="the card, as its maker or nvidia-smi calls it: RTX 4090"
    )
    add_json(parser)


@reported
def run(arguments: argparse.Namespace) -> int:
    """Show the profile; near names where there is none."""
    try:
        profile = get_gpu_profile(" ".join(arguments.name))
    except UnknownGpuError as error:
        raise CommandFailed(str(error)) from None
    if arguments.json:
        print(msgspec.json.encode(profile).decode())
        return 0
    rows = grid("left", "left")
    for heading, fact in _facts(profile):
        rows.add_row(heading, fact)
    show(rows)
    return 0


def _facts(profile: GpuProfile) -> list[tuple[str, str]]:
    neither = [kind for kind in _TYPES if kind not in (*profile.native, *profile.weight_only)]
    bandwidth = "unknown" if profile.bandwidth_gb_s is None else f"{profile.bandwidth_gb_s:g} GB/s"
    return [
        ("name", profile.name),
        ("memory", _memory(profile)),
        ("architecture", f"{profile.architecture}, {_chip(profile)}"),
        ("computes in", ", ".join(profile.native) or "float32 only"),
        ("holds weights", f"also in {', '.join(profile.weight_only) or 'nothing else'}" + _not_in(neither)),
        ("bandwidth", bandwidth),
        ("batch", f"{_sequences(profile.max_batch)} of 4096 tokens of an 8B model at 8 bits"),
        ("source", profile.source),
    ]


def _not_in(kinds: list[str]) -> str:
    return f" (not in {', '.join(kinds)})" if kinds else ""


def _memory(profile: GpuProfile) -> str:
    sizes = ", ".join(amount(size) for size in profile.variants)
    return (
        gb(profile.vram_gb)
        + (", shared with the host" if profile.unified else "")
        + (f" (sold with {sizes} GB)" if len(profile.variants) > 1 else "")
    )


def _chip(profile: GpuProfile) -> str:
    if profile.compute_capability is None:
        return profile.target
    return f"compute capability {'.'.join(map(str, profile.compute_capability))}"


def _sequences(number: int) -> str:
    return f"{number} sequence" if number == 1 else f"{number} sequences"
