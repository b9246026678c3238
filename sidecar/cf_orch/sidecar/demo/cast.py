"""Who is on stage: a coordinator, and two products with a sidecar each, all processes of their own.

A product knows its sidecar's address and nothing else.  Sidecars and products share a folder for their turns without a
coordinator that is the demo's own: nobody outside waits for them, and they wait for nobody outside.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from cf_orch.protocol.messages import DeviceInfo, DevicesAnswer
from cf_orch.protocol.operations import API_PREFIX
from cf_orch.sidecar.demo import transcriber, writer
from cf_orch.sidecar.demo.processes import Engines, NotUp, Process, running
from cf_orch.sidecar.demo.timeline import Timeline

__all__ = ["BUDGET_GB", "Cast", "Coordinator", "on_stage"]

BUDGET_GB = 0.4
"""Each product fits (0.3 GB), both do not: their models really take about 0.22 and 0.23 GB."""
UP_WITHIN_S = 30.0
LOOKED_FOR_EVERY_S = 0.02
URL = r"http://[\w.]+:\d+"
CF_ORCH = (sys.executable, "-m", "cf_orch.coordinator.cli")
PRODUCTS = {transcriber.SERVICE: transcriber.__name__, writer.SERVICE: writer.__name__}

T = TypeVar("T")


class Coordinator:
    """A coordinator of the demo's own; one that is killed can be started again, with its journal and its address."""

    def __init__(self, stack: AsyncExitStack, scratch: Path) -> None:
        """Start nothing yet; what is started ends with ``stack``."""
        self.url = ""
        self._stack = stack
        self._scratch = scratch
        self._process: Process | None = None

    async def start(self) -> None:
        """Start it, and return when it serves.  Raises Died, NotUp."""
        port = urlsplit(self.url).port or 0
        command = [*CF_ORCH, "serve", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--state-dir", str(self._scratch / "state"), "--device", f"host,vram_gb={BUDGET_GB:g}"]
        self._process = await self._stack.enter_async_context(running("coordinator", command, self._scratch, {}))
        self.url = await self._process.says(URL, UP_WITHIN_S)

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        assert self._process is not None  # noqa: S101 - it was started
        await self._process.kill()

    async def get(self, path: str, kind: type[T]) -> T:
        """Ask it.  Raises aiohttp.ClientError where it does not answer."""
        async with (
            aiohttp.ClientSession(self.url) as http,
            http.get(API_PREFIX + path, raise_for_status=True) as answer,
        ):
            return msgspec.json.decode(await answer.read(), type=kind)

    async def host_device(self) -> DeviceInfo:
        """Wait for its first look at this host's RAM; a machine may have cards beside it.  Raises NotUp."""
        try:
            async with asyncio.timeout(UP_WITHIN_S):
                while (device := await self._host_device()) is None:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(LOOKED_FOR_EVERY_S)
        except TimeoutError as late:
            raise NotUp(f"the coordinator did not see this host's RAM within {UP_WITHIN_S:g} s") from late
        return device

    async def _host_device(self) -> DeviceInfo | None:
        for device in (await self.get("/devices", DevicesAnswer)).devices:
            if device.uuid.startswith("HOST-") and device.used_gb is not None and device.blind is None:
                return device
        return None


class Cast(NamedTuple):
    """All of them, sidecars and products by the product's name; ``turns`` is the folder that these share."""

    coordinator: Coordinator
    sidecars: dict[str, Process]
    products: dict[str, Process]
    engines: Engines
    device: DeviceInfo
    turns: Path


@asynccontextmanager
async def on_stage(python: Path, scratch: Path, timeline: Timeline) -> AsyncIterator[Cast]:
    """Have everybody up and ready, the products in the Python that has the parts; ends all of them.

    Raises Died, NotUp or aiohttp.ClientError.
    """
    engines, turns = Engines(), scratch / "turns"
    environ = {"CF_ORCH_RUNTIME_DIR": str(turns)}
    async with AsyncExitStack() as stack:
        coordinator = Coordinator(stack, scratch)
        await coordinator.start()
        device = await coordinator.host_device()
        timeline.preparing(
            f"a coordinator serves on {coordinator.url} and leases {BUDGET_GB:g} GB of the {device.name}"
        )
        stack.push_async_callback(engines.gone)
        sidecars, urls, products = {}, {}, {}
        for service in PRODUCTS:
            command = [*CF_ORCH, "sidecar", "--service", service, "--url", coordinator.url, "--no-observe"]
            command += ["--host", "127.0.0.1", "--port", "0"]
            sidecars[service] = await stack.enter_async_context(
                running(f"sidecar of the {service}", command, scratch, environ)
            )
        for service, sidecar in sidecars.items():
            urls[service] = await sidecar.says(URL, UP_WITHIN_S)
        for service, module in PRODUCTS.items():
            command = [str(python), "-I", "-m", module, "--url", urls[service], "--device", device.uuid]
            products[service] = await stack.enter_async_context(running(service, command, scratch, environ))
        for service, product in products.items():
            await product.says('"ready"', UP_WITHIN_S)
            timeline.preparing(f"the {service} is ready, beside its sidecar on {urls[service]}")
        yield Cast(coordinator, sidecars, products, engines, device, turns)
