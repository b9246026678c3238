"""Busy clients in a process of their own: lease, hold the card for real, release, again, until told to stop.

``python busy_clients.py URL CLIENTS LOG CARD``: each grant is logged with its token, one line each, flushed.  CARD is a
file that stands for the card: whoever holds a lease locks it, and finding it locked is a double grant.
"""

import asyncio
import fcntl
import os
import random
import signal
import sys
from pathlib import Path

from cf_orch.client import ResourceCoordinator, VRAMSlot

GB = 16.0
LONGEST_HOLD_S = 0.004


async def client(coordinator: ResourceCoordinator, name: str, log: int, card: Path, stop: asyncio.Event) -> None:
    slot = VRAMSlot("busy", name, GB)
    while not stop.is_set():
        async with coordinator.lease(slot) as lease:
            descriptor = os.open(card, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(log, f"granted {name} {lease.id} {lease.token}\n".encode())
                await asyncio.sleep(random.uniform(0, LONGEST_HOLD_S))
            except BlockingIOError:
                os.write(log, f"DOUBLE {name} {lease.id} {lease.token}\n".encode())
            finally:
                os.close(descriptor)


async def main() -> None:
    url, clients, log_path, card = sys.argv[1:]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with ResourceCoordinator(url, fallback="wait") as coordinator:
        names = [f"{os.getpid()}-{number}" for number in range(int(clients))]
        await asyncio.gather(*(client(coordinator, name, log, Path(card), stop) for name in names))


if __name__ == "__main__":
    asyncio.run(main())
