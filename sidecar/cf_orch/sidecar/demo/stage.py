"""The run itself: a coordinator, two products that ask for their turns at once, and an eye on the memory."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec

from cf_orch.protocol.messages import DeviceInfo, DevicesAnswer, LeaseInfo, LeasesAnswer
from cf_orch.protocol.operations import API_PREFIX
from cf_orch.protocol.sizes import gb_to_bytes
from cf_orch.sidecar.demo import transcriber, writer
from cf_orch.sidecar.demo.processes import Died, Engines, Process, running
from cf_orch.sidecar.demo.record import Record, Sample, Turn
from cf_orch.sidecar.demo.timeline import Timeline, waiting_in_words

__all__ = ["BUDGET_GB", "play"]

BUDGET_GB = 0.4
"""Each product fits (0.3 GB), both do not: their models really take about 0.22 and 0.23 GB."""
TURNS_EACH = 2
SAMPLED_EVERY_S = 0.1
LOOKED_FOR_EVERY_S = 0.01
UP_WITHIN_S = 30.0
OVER_WITHIN_S = 180.0
PRODUCTS = {
    transcriber.SERVICE: (transcriber.__name__, transcriber.VRAM_GB),
    writer.SERVICE: (writer.__name__, writer.VRAM_GB),
}

T = TypeVar("T")


class _Said(msgspec.Struct):
    """One line that a product says."""

    event: str
    turn: int = 0
    lease_id: str = ""
    pid: int = 0
    text: str = ""
    complete: bool = False
    why: str = ""


async def play(python: Path, scratch: Path, timeline: Timeline) -> Record:
    """Run the whole of it, with the products in the Python that has the parts; ends all that it started.

    Raises Died, TimeoutError or aiohttp.ClientError if it cannot begin; what goes wrong later is in the record.
    """
    engines = Engines()
    async with AsyncExitStack() as stack:
        timeline.preparing("starting a coordinator")
        async with asyncio.timeout(UP_WITHIN_S):
            url = await stack.enter_async_context(_coordinator(scratch))
            http = await stack.enter_async_context(aiohttp.ClientSession(url))
            device = await _host_device(http)
            timeline.preparing(f"it serves on {url} and leases {BUDGET_GB:g} GB of the {device.name}")
            stack.push_async_callback(engines.gone)
            products = {}
            for service, (module, _) in PRODUCTS.items():
                timeline.preparing(f"starting the {service}, a process of its own")
                command = [str(python), "-I", "-m", module, "--url", url, "--device", device.uuid]
                products[service] = await stack.enter_async_context(running(service, command, scratch))
            for product in products.values():
                await product.line()  # it says that it is ready
        return await _Run(http, products, engines, device.uuid, timeline).to_its_end()


@asynccontextmanager
async def _coordinator(scratch: Path) -> AsyncIterator[str]:
    """Run a coordinator of its own, on a port that it finds; yields its URL."""
    command = [sys.executable, "-m", "cf_orch.coordinator.cli", "serve", "--host", "127.0.0.1", "--port", "0"]
    command += ["--state-dir", str(scratch / "state"), "--device", f"host,vram_gb={BUDGET_GB:g}"]
    async with running("coordinator", command, scratch) as coordinator:
        while not (url := re.search(r"http://[\w.]+:\d+", await coordinator.line())):
            pass
        yield url[0]


async def _host_device(http: aiohttp.ClientSession) -> DeviceInfo:
    """Wait for the first look at this host's RAM; a machine may have cards beside it."""
    while True:
        for device in (await _get(http, "/devices", DevicesAnswer)).devices:
            if device.uuid.startswith("HOST-") and device.used_gb is not None and device.blind is None:
                return device
        await asyncio.sleep(LOOKED_FOR_EVERY_S)


async def _get(http: aiohttp.ClientSession, path: str, kind: type[T]) -> T:
    async with http.get(API_PREFIX + path, raise_for_status=True) as response:
        return msgspec.json.decode(await response.read(), type=kind)


class _Run:
    """One run, from the first request to the last release."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        products: dict[str, Process],
        engines: Engines,
        device_uuid: str,
        timeline: Timeline,
    ) -> None:
        self._http = http
        self._products = products
        self._engines = engines
        self._device_uuid = device_uuid
        self._timeline = timeline
        order = [(service, number) for number in range(1, TURNS_EACH + 1) for service in PRODUCTS]
        turns = [Turn(service, number, gb_to_bytes(PRODUCTS[service][1])) for service, number in order]
        self._record = Record(gb_to_bytes(BUDGET_GB), turns)
        self._asked = {turn.name: asyncio.Event() for turn in turns}

    async def to_its_end(self) -> Record:
        """Let the products ask for all turns at once, listen until all are over, and watch the memory meanwhile."""
        self._timeline.begin()
        turns = self._record.turns
        try:
            async with asyncio.timeout(OVER_WITHIN_S), asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch())
                listening = [group.create_task(self._listen(service)) for service in self._products]
                for turn in turns:
                    await self._ask(turn)
                await asyncio.gather(*listening)
                watching.cancel()
        except* TimeoutError:
            self._give_up(turns, f"not over after {OVER_WITHIN_S:.0f} s")
        except* aiohttp.ClientError as failures:
            self._give_up(turns, f"the coordinator does not answer: {failures.exceptions[0]}")
        return self._record

    async def _ask(self, turn: Turn) -> None:
        """Have a product ask, and wait until the coordinator knows of it, so that the order is known."""
        known = {other.lease_id for other in self._record.turns}
        self._products[turn.service].send(str(turn.number))
        while not turn.over:
            leases = (await _get(self._http, "/leases", LeasesAnswer)).leases
            new = [lease for lease in leases if lease.service == turn.service and lease.id not in known]
            if new:
                turn.lease_id = new[0].id
                turn.asked_at = new[0].created_at
                turn.waited_for = waiting_in_words(new[0], {other.lease_id: other.name for other in self._record.turns})
                self._timeline.asked(turn)
                break
            await asyncio.sleep(LOOKED_FOR_EVERY_S)
        self._asked[turn.name].set()

    async def _listen(self, service: str) -> None:
        """Hear what a product says until all its turns are over."""
        turns = [turn for turn in self._record.turns if turn.service == service]
        try:
            while not all(turn.over for turn in turns):
                said = msgspec.json.decode(await self._products[service].line(), type=_Said)
                await self._hear(turns[said.turn - 1], said)
        except Died as end:
            self._give_up(turns, str(end))

    async def _hear(self, turn: Turn, said: _Said) -> None:
        if said.event == "failed":
            self._give_up([turn], said.why)
            return
        await self._asked[turn.name].wait()
        match said.event:
            case "granted":
                lease = await _get(self._http, f"/leases/{said.lease_id}", LeaseInfo)
                turn.granted_at = lease.granted_at
                self._timeline.granted(turn)
            case "started":
                turn.pid = said.pid
                self._engines.add(said.pid)
                self._timeline.started(turn)
            case "loaded":
                self._timeline.loaded(turn)
            case "result":
                turn.text, turn.text_complete = said.text, said.complete
                self._timeline.result(turn)
            case "released":
                turn.released = True
                self._timeline.released(turn)

    def _give_up(self, turns: list[Turn], why: str) -> None:
        for turn in turns:
            if not turn.over:
                turn.trouble = why
                self._timeline.trouble(turn)

    async def _watch(self) -> None:
        """Look at the memory with three pairs of eyes: the ledger's, its driver's, and one's own."""
        while True:
            devices = (await _get(self._http, "/devices", DevicesAnswer)).devices
            device = next(device for device in devices if device.uuid == self._device_uuid)
            measured = await asyncio.to_thread(self._engines.pss_bytes)
            used = None if device.used_gb is None else gb_to_bytes(device.used_gb)
            sample = Sample(self._timeline.elapsed_s, gb_to_bytes(device.charged_gb), used, sum(measured.values()))
            self._record.samples.append(sample)
            for turn in self._record.turns:
                turn.peak_bytes = max(turn.peak_bytes, measured.get(turn.pid or 0, 0))
            self._timeline.memory(sample, self._record.budget_bytes)
            await asyncio.sleep(SAMPLED_EVERY_S)
