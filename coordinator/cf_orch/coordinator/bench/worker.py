"""One process of the contended load: some clients that lease and release as fast as they get their turn.

``python -m cf_orch.coordinator.bench.worker URL CLIENTS GB SECONDS`` prints one JSON line: a :class:`Work`.
"""

import asyncio
import sys
import time

import msgspec

from cf_orch.client import LeaseError, ResourceCoordinator, VRAMSlot

__all__ = ["Work"]


class Work(msgspec.Struct):
    """What one worker did."""

    grants: int
    errors: int
    waits_s: list[float]
    seconds: float


async def _client(coordinator: ResourceCoordinator, gb: float, until: float, work: Work) -> None:
    slot = VRAMSlot("bench", "load", gb)
    while time.perf_counter() < until:
        asked = time.perf_counter()
        try:
            async with coordinator.lease(slot):
                work.waits_s.append(time.perf_counter() - asked)
                work.grants += 1
        except LeaseError as error:
            print(error, file=sys.stderr)  # noqa: T201 - a worker's only way to say it
            work.errors += 1


async def _load(url: str, clients: int, gb: float, seconds: float) -> Work:
    work = Work(0, 0, [], 0.0)
    with ResourceCoordinator(url, fallback="wait") as coordinator:
        async with coordinator.lease(VRAMSlot("bench", "warm-up", 0.001)):
            pass
        began = time.perf_counter()
        await asyncio.gather(*(_client(coordinator, gb, began + seconds, work) for _ in range(clients)))
        work.seconds = time.perf_counter() - began
    return work


if __name__ == "__main__":
    url, clients, gb, seconds = sys.argv[1:]
    result = asyncio.run(_load(url, int(clients), float(gb), float(seconds)))
    print(msgspec.json.encode(result).decode())  # noqa: T201 - whoever started it reads the line
