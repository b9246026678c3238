"""``cf-orch serve``: put journal, engine, observer and doors together, and end them in the right order."""

import argparse
import asyncio
import os
import signal
import sys
from contextlib import suppress

import uvloop

from cf_orch.coordinator.config import ConfigError, ServeConfig, read_config
from cf_orch.coordinator.doors import make_app
from cf_orch.coordinator.engine import Engine
from cf_orch.coordinator.journal import Journal, JournalError, MemoryJournal, SqliteJournal
from cf_orch.coordinator.logs import configure_logs
from cf_orch.coordinator.observation import look_once, observe
from cf_orch.doors import CannotListen, Doors, open_doors
from cf_orch.gpus import host_identity
from cf_orch.protocol.sizes import GIB
from cf_orch.sidecar.observer import Observer

__all__ = ["configure", "run"]

EXIT_FAILED = 1
EXIT_WRONG_SETTINGS = 2
SWITCH_EVERY_S = 0.0005
"""The journal's thread comes back from the disk for an instant; a busy loop must not keep it waiting for 5 ms."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are; the configuration file and CF_ORCH_* variables have the same names."""
    parser.add_argument("--host", help="address to serve on (127.0.0.1; others need CF_ORCH_TOKEN)")
    parser.add_argument("--port", help="port to serve on (7700)")
    parser.add_argument("--socket", metavar="PATH", help="also serve on this unix socket")
    parser.add_argument("--state-dir", metavar="DIR", help="where the journal is kept")
    parser.add_argument("--journal", help="sqlite, or memory: for trials, nothing survives a restart")
    parser.add_argument("--config", metavar="FILE", help="a TOML file with settings, quotas, task types, reserves")
    parser.add_argument(
        "--device",
        dest="devices",
        action="append",
        metavar="SPEC",
        help="declare a device: 'name=RTX 4090,vram_gb=24', or this host's RAM: 'host,vram_gb=16'",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    try:
        config = read_config(vars(arguments), os.environ)
    except ConfigError as error:
        for problem in error.problems:
            print(f"cf-orch: {problem}", file=sys.stderr)
        return EXIT_WRONG_SETTINGS
    configure_logs()
    sys.setswitchinterval(SWITCH_EVERY_S)
    try:
        return uvloop.run(_serve(config))
    except (JournalError, CannotListen) as error:
        print(f"cf-orch: {error}", file=sys.stderr)
        return EXIT_FAILED


async def _serve(config: ServeConfig) -> int:
    engine = Engine(_journal(config), config.policy)
    observer = Observer(host_identity(), config.devices, reserve_bytes=config.reserve_bytes)
    try:
        await engine.start()
        await look_once(engine, observer)  # so that the first request is judged by what is there
        observing = asyncio.create_task(observe(engine, observer))
        try:
            app = make_app(engine, token=config.token)
            async with open_doors(app, host=config.host, port=config.port, unix_path=config.socket) as doors:
                _greet(doors, engine, observer)
                await _until_told_to_stop(engine)
                engine.announce_stop()
        finally:
            observing.cancel()
            with suppress(asyncio.CancelledError):
                await observing
    finally:
        await engine.stop()
    if engine.failure.done():
        raise engine.failure.result()
    return 0


def _journal(config: ServeConfig) -> Journal:
    return MemoryJournal() if config.journal == "memory" else SqliteJournal(config.state_dir)


def _greet(doors: Doors, engine: Engine, observer: Observer) -> None:
    where = f"http://{doors.host}:{doors.port}"
    if doors.unix_path is not None:
        where += f" and unix://{doors.unix_path}"
    lines = [f"cf-orch serves on {where}"]
    lines += [
        f"  {device.name}, {device.total_bytes / GIB:.4g} GB, {device.uuid} on {device.host_name}"
        for device in engine.ledger.devices.values()
    ]
    if observer.missing_driver is not None:
        lines.append(f"  no NVIDIA card: {observer.missing_driver}")
    if not engine.ledger.devices:
        lines.append("  no device yet: requests wait. Declare one with --device 'name=RTX 4090,vram_gb=24'")
    with suppress(BrokenPipeError):  # whoever started it may read no further
        print("\n".join(lines), flush=True)


async def _until_told_to_stop(engine: Engine) -> None:
    """Wait for a signal, or for the journal to fail."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait([waiting, asyncio.ensure_future(_failed(engine))], return_when=asyncio.FIRST_COMPLETED)


async def _failed(engine: Engine) -> bool:
    await asyncio.shield(engine.failure)
    return True
