"""A product's process in the chaos test: tasks that lease, hold the card for real, release, again, until told to stop.

``python chaotic_product.py URL NAME CLIENTS LOG CARD``: each time that a task is inside, a line says so.  CARD is a
file that stands for the card: whoever holds a lease locks it, and finding it locked means two at once.
"""

import asyncio
import fcntl
import os
import random
import signal
import sys
import warnings
from pathlib import Path

from cf_orch.client import CoordinatorAwayWarning, LeaseLost, ResourceCoordinator, VRAMSlot

GB = 16.0
LONGEST_HOLD_S = 0.02
TTL_S = 3.0
"""One that is killed while the coordinator is down is missed 4/3 of this after that is back: then nobody saw it die."""


async def task(coordinator: ResourceCoordinator, name: str, log: int, card: Path, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            async with coordinator.lease(VRAMSlot("chaos", name, GB)) as lease:
                await inside(name, lease.id, lease.token, log, card)
        except LeaseLost as lost:
            os.write(log, f"lost {name} {lost}\n".encode())


async def inside(name: str, lease_id: str, token: int | None, log: int, card: Path) -> None:
    """Hold the card for a moment, and say so."""
    descriptor = os.open(card, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(log, f"inside {name} {lease_id} {token}\n".encode())
        await asyncio.sleep(random.uniform(0, LONGEST_HOLD_S))
    except BlockingIOError:
        os.write(log, f"DOUBLE {name} {lease_id} {token}\n".encode())
    finally:
        os.close(descriptor)


async def main() -> None:
    url, name, clients, log_path, card = sys.argv[1:]
    warnings.simplefilter("ignore", CoordinatorAwayWarning)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with ResourceCoordinator(url, ttl_s=TTL_S) as coordinator:
        names = [f"{name}-{number}" for number in range(int(clients))]
        await asyncio.gather(*(task(coordinator, each, log, Path(card), stop) for each in names))


if __name__ == "__main__":
    asyncio.run(main())
