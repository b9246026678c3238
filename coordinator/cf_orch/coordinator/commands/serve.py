"""``cf-orch serve``: put journal, engine, observer and doors together, and end them in the right order."""

import argparse
import asyncio
import os
import signal
import sys
from contextlib import suppress

from cf_orch.coordinator.doors.listen import ListenError, open_doors

from cf_orch.coordinator.config import ConfigError, ServeConfig, read_config
from cf_orch.coordinator.engine import Engine
from cf_orch.coordinator.journal import Journal, JournalError, MemoryJournal, SqliteJournal
from cf_orch.coordinator.logs import configure_logs
from cf_orch.coordinator.observation import observe
from cf_orch.gpus import host_identity
from cf_orch.sidecar.observer import Observer

__all__ = ["configure", "run"]

EXIT_FAILED = 1
EXIT_WRONG_SETTINGS = 2


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
    try:
        return asyncio.run(_serve(config))
    except (JournalError, ListenError) as error:
        print(f"cf-orch: {error}", file=sys.stderr)
        return EXIT_FAILED


async def _serve(config: ServeConfig) -> int:
    engine = Engine(_journal(config), config.policy)
    observer = Observer(host_identity(), config.devices, reserve_bytes=config.reserve_bytes)
    try:
        await engine.start()
        observing = asyncio.create_task(observe(engine, observer))
        try:
            async with open_doors(
                engine, host=config.host, port=config.port, unix_path=config.socket, token=config.token
            ) as addresses:
                _greet(addresses, observer)
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


def _greet(addresses: list[str], observer: Observer) -> None:
    print(f"cf-orch serves on {' and '.join(addresses)}", flush=True)
    if observer.missing_driver is not None:
        print(f"no NVIDIA card: {observer.missing_driver}", flush=True)


async def _until_told_to_stop(engine: Engine) -> None:
    """Wait for a signal, or for the journal to fail."""
    told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, lambda: told.done() or told.set_result(None))
    await asyncio.wait({told, engine.failure}, return_when=asyncio.FIRST_COMPLETED)
