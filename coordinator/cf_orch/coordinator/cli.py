"""The command line: ``cf-orch COMMAND``.  Each command is a module, imported only when it is the one that runs."""

import argparse
import sys
from importlib import import_module
from importlib.metadata import version

__all__ = ["main"]

COMMANDS = {
    "serve": ("cf_orch.coordinator.commands.serve", "run the coordinator"),
    "sidecar": ("cf_orch.sidecar.serve", "stand beside a product and keep it safe while the coordinator is away"),
    "run": ("cf_orch.sidecar.run", "run any program under a lease"),
    "demo": ("cf_orch.sidecar.demo.command", "watch two real models yield to each other and survive their coordinator"),
    "status": ("cf_orch.coordinator.commands.status", "show who holds the cards, who waits, and why"),
    "devices": ("cf_orch.coordinator.commands.devices", "list the devices and what is on them"),
    "leases": ("cf_orch.coordinator.commands.leases", "list the leases"),
    "why": ("cf_orch.coordinator.commands.why", "explain what a lease waits for"),
    "history": ("cf_orch.coordinator.commands.history", "show what happened"),
    "drain": ("cf_orch.coordinator.commands.drain", "grant nothing new on a device"),
    "evict": ("cf_orch.coordinator.commands.evict", "ask a holder to leave"),
    "resume": ("cf_orch.coordinator.commands.resume", "let a lease come back that was evicted"),
    "hold": ("cf_orch.coordinator.commands.hold", "hold memory for yourself until you end it"),
    "fit": ("cf_orch.coordinator.commands.fit", "show what a model needs, and whether a card has it"),
    "doctor": ("cf_orch.sidecar.doctor.command", "say what is wrong with this machine, and what to do about it"),
    "bench": ("cf_orch.coordinator.commands.bench", "measure how fast it is, beside a floor in the same run"),
    "profile": ("cf_orch.coordinator.commands.profile", "show what a card can do"),
}
"""Name: the module with its ``configure(parser)`` and ``run(arguments) -> exit status``, and its one line of help."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status is its own, 2 for a wrong command line, 130 after an interrupt."""
    arguments = sys.argv[1:] if argv is None else argv
    name = next((word for word in arguments if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="cf-orch", description="Several AI products share the memory of the same GPUs without killing each other."
    )
    parser.add_argument("--version", action="version", version=f"cf-orch {version('cf-orch')}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command, (module_name, summary) in COMMANDS.items():
        subparser = subparsers.add_parser(command, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if command == name:
            import_module(module_name).configure(subparser)
    parsed = parser.parse_args(arguments)
    command_module = import_module(COMMANDS[parsed.command][0])
    try:
        return int(command_module.run(parsed))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
