"""``cf-orch fit``: what a model needs of a card, part by part, and whether a card has it."""

import argparse

import msgspec

from cf_orch.coordinator.commands.tables import show, table
from cf_orch.gpus import GpuProfile, UnknownGpuError, get_gpu_profile
from cf_orch.gpus.sizes import KV_TYPES, Estimate, Fit, ModelFileError, estimate, fit, read_model
from cf_orch.sidecar.commands.arguments import add_json
from cf_orch.sidecar.commands.failures import EXIT_WRONG_USAGE, CommandFailed, reported
from cf_orch.sidecar.commands.wording import gb

__all__ = ["configure", "run"]

EXIT_DOES_NOT_FIT = 1

_GB = 2**30
_MIB = 2**20
_PARTS = {"weights": "weights", "kv": "KV cache", "compute": "computing", "context": "context"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    parser.add_argument(
        "model", metavar="MODEL", help="a .gguf or .safetensors file, an index of several, or a folder with one model"
    )
    parser.add_argument(
        "--context", type=int, default=4096, metavar="N", help="tokens that each sequence may have (4096)"
    )
    parser.add_argument("--parallel", type=int, default=1, metavar="N", help="sequences served at once (1)")
    parser.add_argument(
        "--kv-type",
        default="f16",
        choices=sorted(KV_TYPES),
        metavar="TYPE",
        help="what the KV cache is stored in (f16)",
    )
    parser.add_argument("--gpu", metavar="NAME", help="say whether it fits this card: 'RTX 4090'")
    add_json(parser)


@reported
def run(arguments: argparse.Namespace) -> int:
    """Show the parts; 1 if a card was named that it does not fit, 2 for what cannot be read or understood."""
    try:
        profile = get_gpu_profile(arguments.gpu) if arguments.gpu else None
        need, held = _sizes(arguments, profile)
    except (ModelFileError, UnknownGpuError, ValueError) as error:
        raise CommandFailed(str(error), EXIT_WRONG_USAGE) from None
    if arguments.json:
        print(msgspec.json.encode(_answer(need, held)).decode())
    else:
        _show(need, held)
    return 0 if held is None or held.fits else EXIT_DOES_NOT_FIT


def _sizes(arguments: argparse.Namespace, profile: GpuProfile | None) -> tuple[Estimate, Fit | None]:
    model = read_model(arguments.model)
    asked = {"context": arguments.context, "parallel": arguments.parallel}
    need = estimate(model, **asked, kv_type=arguments.kv_type)
    return need, fit(model, profile, **asked, kv_type=arguments.kv_type) if profile else None


def _answer(need: Estimate, held: Fit | None) -> dict[str, object]:
    answer: dict[str, object] = {**msgspec.to_builtins(need), "total_bytes": need.total_bytes, "fit": None}
    if held is not None:
        answer["fit"] = {
            name: getattr(held, name) for name in ("gpu", "fits", "usable_bytes", "left_bytes", "remedies")
        }
    return answer


def _show(need: Estimate, held: Fit | None) -> None:
    rows = table("PART", "SIZE", "HOW", right=("SIZE",))
    for part, heading in _PARTS.items():
        rows.add_row(heading, _size(getattr(need, f"{part}_bytes")), need.explained[part])
    rows.add_row("total", _size(need.total_bytes), f"confidence {need.confidence}: {need.confidence_reason}")
    show(rows, *([_verdict(held)] if held is not None else []))


def _verdict(held: Fit) -> str:
    card = f"{held.gpu}, with {_size(held.usable_bytes)} to use"
    if held.fits:
        return f"fits {card}: {_size(held.left_bytes)} left over"
    would = (
        f"it would with {' or '.join(held.remedies)}" if held.remedies else "nothing that is known here would make it"
    )
    return f"does not fit {card}: {_size(-held.left_bytes)} too much; {would}"


def _size(size_bytes: int) -> str:
    return gb(size_bytes / _GB) if size_bytes >= _GB else f"{size_bytes / _MIB:.0f} MB"
