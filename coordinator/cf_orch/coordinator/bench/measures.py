"""What is measured, one function a figure or a pair of figures."""

import asyncio
import time
from itertools import count
from pathlib import Path

import aiohttp

from cf_orch.client import ResourceCoordinator, VRAMSlot
from cf_orch.coordinator.bench.figures import Figure, spread_of
from cf_orch.coordinator.bench.processes import (
    coordinator_process,
    floor_port,
    import_ms,
    resident_mb,
    run_workers,
)
from cf_orch.ledger import Ledger, commands

__all__ = ["contended", "decision_cost", "hand_off", "idle_memory", "import_time", "making_way", "uncontended"]

CARD = "name=RTX 4090,vram_gb=24"
GIB = 2**30
BOUND_PAIR_MS = 2.0
BOUND_HAND_OFF_MS = 5.0
BOUND_MAKING_WAY_MS = 25.0
BOUND_GRANTS_PER_S = 1000.0
BOUND_DECISION_RATIO = 2.0
BOUND_IDLE_MB = 60.0
BOUND_IMPORT_MS = 250.0


async def uncontended(state_dir: Path, pairs: int) -> list[Figure]:
    """Acquire and release by one client, journal on disk; floors: a WebSocket echo and an HTTP handler, twice each."""
    with coordinator_process(state_dir, CARD) as (url, _), floor_port() as port:
        echo, nothing = await _floor_pairs(port, pairs)
        slot = VRAMSlot("bench", "pair", 4.0)
        taken: list[float] = []
        with ResourceCoordinator(url, fallback="fail") as coordinator:
            for _ in range(pairs):
                began = time.perf_counter()
                async with coordinator.lease(slot):
                    pass
                taken.append(time.perf_counter() - began)
    spread, echo_spread, nothing_spread = spread_of(taken), spread_of(echo), spread_of(nothing)
    return [
        Figure(
            name="acquire + release, one client, p50",
            value=spread.p50_ms,
            unit="ms",
            bound=BOUND_PAIR_MS,
            floor=echo_spread.p50_ms,
            floor_name="two WebSocket echoes",
            detail=f"p99 {spread.p99_ms}, max {spread.max_ms}, n {spread.count}; two HTTP calls that do nothing: "
            f"{nothing_spread.p50_ms}",
        )
    ]


async def _floor_pairs(port: int, pairs: int) -> tuple[list[float], list[float]]:
    echo, nothing = [], []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.ws_connect("/echo") as socket:
            for _ in range(pairs):
                began = time.perf_counter()
                for _ in range(2):
                    await socket.send_str('{"id":1,"op":"lease.release","lease_id":"a-1"}')
                    await socket.receive_str()
                echo.append(time.perf_counter() - began)
        for _ in range(pairs):
            began = time.perf_counter()
            for _ in range(2):
                async with session.post("/nothing", data=b"{}") as answer:
                    await answer.read()
            nothing.append(time.perf_counter() - began)
    return echo, nothing


async def hand_off(state_dir: Path, turns: int) -> list[Figure]:
    """From the release by one client to the next holder's first line, in another client with its own connection."""
    taken: list[float] = []
    with (
        coordinator_process(state_dir, CARD) as (url, _),
        ResourceCoordinator(url, fallback="fail") as left,
        ResourceCoordinator(url, fallback="fail") as right,
    ):
        async with aiohttp.ClientSession(url) as http:
            for turn in range(turns):
                holder, waiter = (left, right) if turn % 2 else (right, left)
                taken.append(await _one_hand_off(holder, waiter, http))
    spread = spread_of(taken)
    detail = f"p99 {spread.p99_ms}, max {spread.max_ms}, n {spread.count}"
    return [Figure(name="hand-off, p50", value=spread.p50_ms, unit="ms", bound=BOUND_HAND_OFF_MS, detail=detail)]


async def _one_hand_off(holder: ResourceCoordinator, waiter: ResourceCoordinator, http: aiohttp.ClientSession) -> float:
    slot = VRAMSlot("bench", "hand-off", 20.0)

    async def wait_for_it() -> float:
        async with waiter.lease(slot):
            return time.perf_counter()

    async with holder.lease(slot):
        waiting = asyncio.create_task(wait_for_it())
        while not await _somebody_waits(http):
            pass
        released_at = time.perf_counter()
    return await waiting - released_at


async def making_way(state_dir: Path, turns: int) -> list[Figure]:
    """From the instant at which an evicted holder's memory is free to the first line of the one it left for.

    The device is declared, so that no driver need be asked whether the bytes are gone.
    """
    taken: list[float] = []
    with (
        coordinator_process(state_dir, CARD) as (url, _),
        ResourceCoordinator(url, fallback="fail") as batch,
        ResourceCoordinator(url, fallback="fail") as speech,
    ):
        freed_at = 0.0
        is_back = asyncio.Event()

        async def checkpoint() -> None:
            nonlocal freed_at
            freed_at = time.perf_counter()

        async def restore() -> None:
            is_back.set()

        slot = VRAMSlot("bench", "batch", 20.0, priority="batch")
        async with batch.lease(slot, checkpoint=checkpoint, restore=restore):
            for _ in range(turns):
                is_back.clear()
                async with speech.lease(VRAMSlot("bench", "speech", 20.0, priority="realtime")):
                    taken.append(time.perf_counter() - freed_at)
                await is_back.wait()
    spread = spread_of(taken)
    detail = f"p99 {spread.p99_ms}, max {spread.max_ms}, n {spread.count}"
    name = "evicted memory free to its next holder, p50"
    return [Figure(name=name, value=spread.p50_ms, unit="ms", bound=BOUND_MAKING_WAY_MS, detail=detail)]


async def _somebody_waits(http: aiohttp.ClientSession) -> bool:
    async with http.get("/api/v1/leases", params={"state": "queued"}) as answer:
        return bool((await answer.json())["leases"])


def contended(state_dir: Path, *, clients: int, processes: int, gb: float, seconds: float) -> list[Figure]:
    """Many clients in several processes contending for one card."""
    with coordinator_process(state_dir, CARD) as (url, _):
        work = run_workers(url, processes=processes, clients=clients, gb=gb, seconds=seconds)
    grants, errors = sum(each.grants for each in work), sum(each.errors for each in work)
    waits = spread_of([wait for each in work for wait in each.waits_s])
    at_once = int(24 // gb)
    return [
        Figure(
            name=f"{clients} clients in {processes} processes, {at_once} at a time",
            value=round(grants / max(each.seconds for each in work)),
            unit="grants/s",
            bound=BOUND_GRANTS_PER_S,
            more_is_better=True,
            detail=f"{errors} errors; wait p50 {waits.p50_ms} ms, p99 {waits.p99_ms} ms",
        )
    ]


def decision_cost(queued: tuple[int, int] = (100, 100_000), pairs: int = 2000) -> list[Figure]:
    """One request behind a long queue, and the release that serves its head, beside the same with a short queue."""
    short, long = (_microseconds_a_pair(length, pairs) for length in queued)
    return [
        Figure(
            name=f"one decision at {queued[1]:,} queued",
            value=round(long / short, 2),
            unit=f"x that at {queued[0]} queued",
            bound=BOUND_DECISION_RATIO,
            detail=f"{long:.0f} and {short:.0f} us for a release and a request",
        )
    ]


def _microseconds_a_pair(queued: int, pairs: int) -> float:
    ledger, numbers = Ledger(), count()
    ledger.handle(commands.Found(ledger_id="bench"), 0.0)
    device = commands.DeviceReport(uuid="d0", name="RTX 4090", index=0, total_bytes=24 * GIB, has_driver=False)
    ledger.handle(commands.ReportDevices(host_id="h", host_name="h", devices=(device,)), 0.0)
    sessions = [f"s{number}" for number in range(20)]
    for session in sessions:
        ledger.handle(commands.OpenSession(session_id=session, service=session, host_id="h"), 0.0)

    def ask() -> None:
        number = next(numbers)
        session = sessions[number % len(sessions)]
        ledger.handle(
            commands.Request(
                caller=session,
                session_id=session,
                request_id=f"r{number}",
                service=session,
                size_bytes=(16 + number % 5) * GIB,
            ),
            0.0,
        )

    for _ in range(queued + 1):
        ask()
    began = time.perf_counter()
    for _ in range(pairs):
        holder = next(iter(ledger.devices["d0"].holders))
        ledger.handle(commands.Release(lease_id=holder), 0.0)
        ask()
    return (time.perf_counter() - began) / pairs * 1e6


def idle_memory(state_dir: Path) -> list[Figure]:
    """What the daemon takes while nobody asks anything."""
    with coordinator_process(state_dir, CARD) as (_, pid):
        value = resident_mb(pid)
    return [Figure(name="coordinator, idle", value=value, unit="MB", bound=BOUND_IDLE_MB)]


def import_time() -> list[Figure]:
    """What a product pays for importing the client."""
    return [Figure(name="import cf_orch.client", value=import_ms(), unit="ms", bound=BOUND_IMPORT_MS)]
