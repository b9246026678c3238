"""``cf-orch doctor``: examine this machine, or with ``doctor adapter PATH`` a PEFT adapter."""

import argparse
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cf_orch.sidecar.commands.arguments import add_json, add_url
from cf_orch.sidecar.commands.failures import EXIT_WRONG_USAGE, CommandFailed, reported
from cf_orch.sidecar.doctor.adapter import Examination, NoAdapter, examine
from cf_orch.sidecar.doctor.adapter_file import BadAdapterFile, read_adapter, write_adapter
from cf_orch.sidecar.doctor.finding import Finding, worst
from cf_orch.sidecar.doctor.peft_table import UnknownRelease, load_table
from cf_orch.sidecar.doctor.report import as_json, print_report

__all__ = ["configure", "run"]

WITHIN_S = 10.0
EXIT_ILL = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    add_url(parser)
    add_json(parser)
    parser.add_argument(
        "--python", type=Path, metavar="PATH", help="look at what this Python has installed (the one that runs cf-orch)"
    )
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="where the coordinator keeps its journal")
    parser.add_argument("--why", action="store_true", help="say of every finding why it matters, not only of bad ones")
    subjects = parser.add_subparsers(dest="subject", metavar="adapter")
    adapter = subjects.add_parser(
        "adapter",
        help="which keys of a PEFT adapter_config.json a release of peft does not know, and what may be left out",
        description="Compare an adapter_config.json with a release of peft: which keys that release does not know, "
        "which can be left out without a change of the result, and which cannot. The file is never changed.",
    )
    adapter.add_argument("path", type=Path, metavar="PATH", help="the adapter's folder, or its adapter_config.json")
    adapter.add_argument("--peft", metavar="VERSION", help="the release, as 0.6.2 (the one that is installed here)")
    adapter.add_argument(
        "--write", type=Path, metavar="OUT", help="write a copy that this release loads, into a new file or a folder"
    )
    adapter.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print the answer as JSON, for programs"
    )


@reported
def run(arguments: argparse.Namespace) -> int:
    """Exit 0 if there is no error, 1 if there is, 2 if the command line or the file is no good."""
    if arguments.subject == "adapter":
        return _run_adapter(arguments)
    return _run_doctor(arguments)


def _run_doctor(arguments: argparse.Namespace) -> int:
    from cf_orch.sidecar.doctor.checks import CHECKS  # noqa: PLC0415 - an adapter needs none of them
    from cf_orch.sidecar.doctor.checkup import check_up  # noqa: PLC0415 - as above
    from cf_orch.sidecar.doctor.machine import Machine  # noqa: PLC0415 - as above
    from cf_orch.sidecar.doctor.settings import read_settings  # noqa: PLC0415 - as above

    settings = read_settings(arguments.state_dir, os.environ)
    machine = Machine(settings, url=arguments.url, python=_python(arguments.python))
    sections = check_up(machine, CHECKS, within_s=WITHIN_S)
    findings = [finding for of_section in sections.values() for finding in of_section]
    if arguments.json:
        print(as_json(findings))
    else:
        print_report(sections, whys=arguments.why)
    return EXIT_ILL if worst(findings) == "error" else 0


def _python(path: Path | None) -> Path:
    """The Python to look at: a file, or an environment's folder."""
    if path is None:
        return Path(sys.executable)
    python = path / "bin/python" if path.is_dir() else path
    if not os.access(python, os.X_OK) or not python.is_file():
        raise CommandFailed(f"--python {path}: there is no Python to run at {python}", EXIT_WRONG_USAGE)
    return python.absolute()


def _run_adapter(arguments: argparse.Namespace) -> int:
    try:
        file, config = read_adapter(arguments.path)
        examination = examine(config, _peft(arguments.peft), load_table())
        written = [] if arguments.write is None else [_write(arguments.write, file, examination)]
    except (BadAdapterFile, NoAdapter, UnknownRelease) as error:
        raise CommandFailed(f"{arguments.path}: {error}", EXIT_WRONG_USAGE) from None
    findings = [*examination.findings(by_key=arguments.json), *written]
    if arguments.json:
        told = {name: getattr(examination, name) for name in ("peft_type", "target", "needs", "dropped", "replaced")}
        print(as_json(findings, adapter=str(file), **told))
    else:
        print_report({f"{file}, {examination.peft_type}, for peft {examination.target}": findings}, whys=True)
    return EXIT_ILL if worst(findings) == "error" else 0


def _peft(wanted: str | None) -> str:
    if wanted is not None:
        return wanted
    try:
        return version("peft")
    except PackageNotFoundError:
        raise CommandFailed("no peft is installed here: name a release, --peft 0.6.2", EXIT_WRONG_USAGE) from None


def _write(out: Path, source: Path, examination: Examination) -> Finding:
    if examination.reduced is None:
        why = "a copy without the keys that matter would hide that it is another adapter"
        return Finding("adapter.write", "error", f"nothing was written to {out}", why)
    written = write_adapter(out, source, examination.reduced)
    count = len(examination.dropped)
    without = f", without {count} key{'s' if count > 1 else ''}" if count else ", complete"
    replaced = "".join(f", with {key} = true" for key in examination.replaced)
    why = "the weights belong to it: copy or link them into the same folder"
    return Finding("adapter.write", "ok", f"{written} is written{without}{replaced}", why)
