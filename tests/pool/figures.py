"""Swaps, throughput and the longest waits, beside the naive policy's: ``python tests/pool/figures.py``.

Simulated time: a request takes 0.5 to 1.5 s, loading a model 8 s, which throws the one before it out.
"""

import sys
from pathlib import Path

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.pool.simulation import Client, NaivePool, Outcome, simulate

from cf_orch.pool.pool import ServerPool

__all__ = ["SCENES", "main", "play"]

SCENES: dict[str, tuple[list[Client], int, int]] = {  # clients, servers, slots on each
    "A,B,A,B one at a time, 2 servers": ([Client("AB", 100)], 2, 1),
    "one task A, one task B, 2 servers": ([Client("A", 100), Client("B", 100, 0.3)], 2, 1),
    "8 tasks A, 8 tasks B, 2 servers": ([Client("A", 25)] * 8 + [Client("B", 25)] * 8, 2, 1),
    "8 tasks A, 8 tasks B, 1 server": ([Client("A", 25)] * 8 + [Client("B", 25)] * 8, 1, 1),
    "4 tasks each of A,B,C, 2 servers": ([Client(model, 25) for model in "ABC" for _ in range(4)], 2, 1),
    "8 tasks A, now and then B, 1 server x 4": ([Client("A", 100)] * 8 + [Client("B", 5, 30.0)], 1, 4),
}


def play(name: str, pool: type[ServerPool], patience_s: float = 2.0) -> Outcome:
    """Run one scene under one policy."""
    clients, servers, slots = SCENES[name]
    return simulate(pool, clients, servers=servers, slots=slots, patience_s=patience_s)


def main() -> int:
    """Print one line for each scene and policy."""
    say = sys.stdout.write
    say(f"{'':40} {'policy':18} {'swaps':>5} {'requests/min':>13}  longest wait, s\n")
    for name in SCENES:
        for policy, outcome in (
            ("naive", play(name, NaivePool)),
            ("ours", play(name, ServerPool)),
            ("ours, patience 8 s", play(name, ServerPool, 8.0)),
        ):
            waits = ", ".join(f"{model} {wait_s:.0f}" for model, wait_s in sorted(outcome.longest_wait_s.items()))
            pace = outcome.served / outcome.took_s * 60
            say(f"{name if policy == 'naive' else '':40} {policy:18} {outcome.swaps:5} {pace:13.1f}  {waits}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
