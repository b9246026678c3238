"""Dispatches without a leaked slot: ``python tests/pool/dispatches.py --dispatches 100000 --tasks 64``.

Tasks contend for four servers with three models.  Many waits are cancelled or run out of time, at random moments; some
requests end in a report of an error, after which their server returns; all release, some twice.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.pool.conftest import taken, warm_pool

from cf_orch.pool import ConcurrentDispatcher, DispatcherTimeoutError, ModelNotAvailableError, NoModelsAvailableError
from cf_orch.pool.pool import ServerPool

__all__ = ["contend", "main"]

MODELS = ["A", "B", "C"]


class Contention:
    """The tasks, and what became of their submits."""

    def __init__(self, dispatches: int, seed: int) -> None:
        self.rng = Random(seed)
        self.left = dispatches
        self.pool = warm_pool(*[MODELS] * 4, max_concurrent=2, patience_s=0.05)
        self.dispatcher = ConcurrentDispatcher(self.pool)
        self.counts: Counter[str] = Counter()

    async def task(self) -> None:
        """Submit again and again, until all have been served."""
        while self.left > 0:
            model = self.rng.choice(MODELS)
            submit = asyncio.create_task(self.dispatcher.submit(model, timeout=self.rng.choice([0.001, 1.0, 60.0])))
            if self.rng.random() < 0.05:
                for _ in range(self.rng.randrange(6)):
                    await asyncio.sleep(0)
                submit.cancel()
            try:
                url = await submit
            except (DispatcherTimeoutError, NoModelsAvailableError, ModelNotAvailableError) as error:
                self.counts[type(error).__name__] += 1
            except asyncio.CancelledError:
                self.counts["cancelled"] += 1
            else:
                await self.use(url)

    async def use(self, url: str) -> None:
        """Hold the slot for a moment."""
        self.left -= 1
        self.counts["served"] += 1
        server = self.pool.servers[url]
        assert server.active_requests <= server.max_concurrent
        await asyncio.sleep(0)
        if self.rng.random() < 0.01:
            self.counts["reported"] += 1
            self.pool.report_server_error(url, "it broke")
            asyncio.get_running_loop().call_soon(self.pool._listed, server, MODELS)
        for _ in range(self.rng.choice([1, 1, 1, 2])):
            self.pool.release_server(url)


async def contend(dispatches: int, tasks: int, seed: int = 0) -> tuple[ServerPool, Counter[str]]:
    """Let so many tasks contend until so many dispatches were served; returns the pool and what happened how often."""
    contention = Contention(dispatches, seed)
    await asyncio.gather(*(contention.task() for _ in range(tasks)))
    contention.pool.close()
    return contention.pool, contention.counts


def main(argv: Sequence[str] | None = None) -> int:
    """Run it, and say what was left; exits with 1 if a slot leaked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dispatches", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(argv)
    began = time.perf_counter()
    pool, counts = asyncio.run(contend(chosen.dispatches, chosen.tasks, chosen.seed))
    took_s = time.perf_counter() - began
    happened = ", ".join(f"{count} {what}" for what, count in counts.most_common())
    pace = counts["served"] / took_s
    sys.stdout.write(f"{happened}; {took_s:.1f} s, {pace:.0f} dispatches/s; {taken(pool)} slots leaked\n")
    return 1 if taken(pool) else 0


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # a thousand servers are reported
    sys.exit(main())
