"""Random histories against the oracle: ``python tests/ledger/histories.py --histories 100000 --seed 1 --jobs 2``.

Each history is drawn from its own seed.  One that breaks a rule is made small by leaving steps out, and printed.
"""

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.ledger.broken import Broken, broken
from tests.ledger.harness import Harness, Step
from tests.ledger.world import World, draw_settings

from cf_orch.ledger import Settings

__all__ = ["Failure", "drive", "in_time", "main", "named", "run", "shrink", "told"]

LONGEST_S = 10.0
CHUNK = 10
MOST_TRIES = 600


class Failure(NamedTuple):
    """A history that broke a rule."""

    seed: int
    wrong: str
    settings: Settings
    steps: list[Step]


def run(seed: int) -> Failure | Counter[str]:
    """Live through one history; returns how often each kind of event happened, or what broke."""
    rng = Random(seed)
    settings = draw_settings(rng)
    harness = Harness(settings)
    world = World(rng, harness)
    steps = world.begin()
    try:
        with in_time(LONGEST_S):
            for step in steps:
                harness.do(step)
            for _ in range(world.steps):
                steps.append(world.next())
                harness.do(steps[-1])
            harness.finish()
    except Exception as wrong:  # noqa: BLE001 - whatever the ledger throws is a finding
        return Failure(seed, named(wrong), settings, steps)
    return harness.noted


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Break off what takes longer: a ledger that plans and withdraws for ever inside one command."""

    def ring(*_: object) -> None:
        broken("L1", f"a history took longer than {seconds:g} s: some command has no end")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def named(wrong: Exception) -> str:
    return str(wrong) if isinstance(wrong, Broken) else f"{type(wrong).__name__}: {wrong}"


def again(settings: Settings, steps: Sequence[Step]) -> str | None:
    """Take the same steps anew; returns what breaks."""
    harness = Harness(settings)
    try:
        with in_time(LONGEST_S):
            for step in steps:
                harness.do(step)
            harness.finish()
    except Exception as wrong:  # noqa: BLE001 - as above
        return named(wrong)
    return None


def shrink(failure: Failure) -> Failure:
    """Leave out as many steps as still break the same rule."""
    rule, steps, wrong = failure.wrong.partition(":")[0], list(failure.steps), failure.wrong
    size, tries = len(steps) // 2, 0
    while size and tries < MOST_TRIES:
        at = 0
        while at < len(steps):
            fewer = steps[:at] + steps[at + size :]
            tries += 1
            now_wrong = again(failure.settings, fewer)
            if now_wrong is not None and now_wrong.partition(":")[0] == rule:
                steps, wrong = fewer, now_wrong
            else:
                at += size
        size //= 2
    return Failure(failure.seed, wrong, failure.settings, steps)


def told(failure: Failure) -> str:
    """Print a failure as a transcript."""
    small = shrink(failure)
    lines = [f"seed {failure.seed}: {failure.wrong}", f"smaller: {small.wrong}", str(small.settings)]
    lines += [f"{step.at:9.2f} {step.reborn} {_brief(step.command)} {step.of or ''}" for step in small.steps]
    return "\n".join(lines)


def _brief(value: object) -> str:
    """Write a value without its defaults, and bytes as GiB."""
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        told = [f"{f.name}={_brief(x)}" for f in fields if (x := getattr(value, f.name)) != f.default]
        return f"{type(value).__name__}({', '.join(told)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_brief, value))},)"
    return f"{value / 2**30:g}*GIB" if isinstance(value, int) and value >= 2**20 else repr(value)


def _run_many(seeds: range, live: Callable[[int], Failure | Counter[str]]) -> tuple[int, Counter[str], list[Failure]]:
    noted: Counter[str] = Counter()
    failures: list[Failure] = []
    for outcome in map(live, seeds):
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            noted += outcome
    return len(seeds), noted, failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run histories until one fails or all have passed."""
    return drive(run, arguments, str(__doc__))


def drive(live: Callable[[int], Failure | Counter[str]], arguments: Sequence[str] | None, about: str) -> int:
    """Run one history a seed, as the arguments of a command line say; returns its exit status."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="the seed of the first one")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--brief", action="store_true", help="only name what broke, without a transcript")
    parser.add_argument("--all", action="store_true", help="go on after a failure; count what broke in the end")
    parser.add_argument("--count", action="store_true", help="say how often each thing happened")
    options = parser.parse_args(arguments)
    last = options.seed + options.histories
    chunks = [range(seed, min(seed + CHUNK, last)) for seed in range(options.seed, last, CHUNK)]
    done, noted, broke = 0, Counter[str](), Counter[str]()
    began = time.monotonic()
    with Pool(options.jobs) as pool:
        for count, happened, failures in pool.imap_unordered(partial(_run_many, live=live), chunks):
            done, noted = done + count, noted + happened
            rate = done / (time.monotonic() - began)
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{done} histories, {noted['Granted']} grants, {rate:.0f} histories/s ")
                sys.stderr.flush()
            for failure in failures:
                rule = failure.wrong.partition(":")[0]
                if not broke[rule]:
                    sys.stdout.write(f"\n{failure.wrong if options.brief else told(failure)}\n")
                broke[rule] += 1
                if not options.all:
                    pool.terminate()
                    return 1
    if options.count:
        sys.stdout.write("".join(f"{noted[what]:9} {what}\n" for what in sorted(noted)))
    if broke:
        sys.stdout.write(f"of {done} histories broke: {dict(broke)}\n")
        return 1
    sys.stderr.write(f"\nall {done} histories held, with {noted['Granted']} grants\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
