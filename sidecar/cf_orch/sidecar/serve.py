"""``cf-orch sidecar``: stands beside a product, speaks for each of its processes, and keeps it safe on its own."""

import argparse
import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import NamedTuple

import uvloop
from aiohttp import web

from cf_orch.client.away import nvidia_devices
from cf_orch.client.connection import Connection, connect
from cf_orch.client.local import LocalTurns, runtime_folder
from cf_orch.doors import CannotListen, Doors, make_app, open_doors
from cf_orch.gpus import NvmlReader, ProcFs, host_identity
from cf_orch.protocol.messages import Notice
from cf_orch.protocol.operations import API_PREFIX
from cf_orch.sidecar.observer import Observer
from cf_orch.sidecar.relay.backend import Relay
from cf_orch.sidecar.relay.forward import Forward
from cf_orch.sidecar.relay.session import Ways
from cf_orch.sidecar.relay.sessions import Sessions
from cf_orch.sidecar.reporting import Reporting
from cf_orch.sidecar.settings import SidecarSettings, WrongSettings, configure, read_settings

__all__ = ["Sidecar", "configure", "run", "run_sidecar"]

EXIT_FAILED = 1
EXIT_WRONG_SETTINGS = 2
CONNECTS_WITHIN_S = 1.0


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    try:
        settings = read_settings(vars(arguments), os.environ)
    except WrongSettings as error:
        for problem in error.problems:
            print(f"cf-orch: {problem}", file=sys.stderr)
        return EXIT_WRONG_SETTINGS
    try:
        uvloop.run(_serve(settings))
    except CannotListen as error:
        print(f"cf-orch: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


async def _serve(settings: SidecarSettings) -> None:
    async with run_sidecar(settings) as sidecar:
        _greet(settings, sidecar)
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        await told.wait()


class Sidecar(NamedTuple):
    """One that serves: its doors, and the product's sessions."""

    doors: Doors
    sessions: Sessions


@asynccontextmanager
async def run_sidecar(settings: SidecarSettings) -> AsyncIterator[Sidecar]:
    """Put relay, observer and doors together, and end them in the right order.

    Raises CannotListen.
    """
    observer = Observer(host_identity(), settings.devices)
    reporting = Reporting(observer)
    ways = _ways(settings)
    async with AsyncExitStack() as stack:
        sessions = Sessions(ways, settings.service, reporting.hear)
        stack.push_async_callback(sessions.leave)
        forward = Forward(settings.addresses, settings.token, lambda: sessions.own.upstream.is_away)
        stack.push_async_callback(forward.close)
        app = _app(sessions, forward, ways.epoch, settings.token)
        doors = await stack.enter_async_context(
            open_doors(app, host=settings.host, port=settings.port, unix_path=settings.socket)
        )
        beside = [asyncio.create_task(sessions.keep_time())]
        if settings.observes:
            beside.append(asyncio.create_task(reporting.report(sessions.own.upstream)))
        stack.push_async_callback(_end, beside)
        yield Sidecar(doors, sessions)


def _app(sessions: Sessions, forward: Forward, epoch: int, token: str | None) -> web.Application:
    app = make_app(Relay(sessions, forward, epoch), token=token, streams={"events": forward.relay})
    app.router.add_route("*", API_PREFIX + "/{path:.*}", forward.relay)  # what the table does not know
    return app


def _ways(settings: SidecarSettings) -> Ways:
    pid = os.getpid()
    pid_start = ProcFs().start_ticks(pid)

    async def dial(on_notice: Callable[[Notice], None]) -> Connection:
        return await connect(settings.addresses, settings.token, on_notice, within_s=CONNECTS_WITHIN_S, role="sidecar")

    return Ways(
        connect=dial,
        fallback=settings.fallback,
        host=host_identity(),
        look=partial(nvidia_devices, NvmlReader()),
        make_turns=lambda: LocalTurns(runtime_folder(), pid_start, relays=True),
        epoch=int(time.time()),
        pid=pid,
        pid_start=pid_start,
        new_id=lambda: secrets.token_hex(8),
    )


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _greet(settings: SidecarSettings, sidecar: Sidecar) -> None:
    doors = sidecar.doors
    where = [f"http://{doors.host}:{doors.port}"]
    where += [f"unix://{doors.unix_path}"] if doors.unix_path is not None else []
    coordinators = " or ".join(address.url for address in settings.addresses)
    lines = [
        f"cf-orch sidecar of {settings.service} serves on {' and '.join(where)}",
        f"  the coordinator is {coordinators}; without it: {settings.fallback}",
    ]
    with suppress(BrokenPipeError):  # whoever started it may read no further
        print("\n".join(lines), flush=True)
