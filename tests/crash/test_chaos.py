"""Whatever is killed or frozen under load, in whatever order: nothing is lost, nothing doubled, everybody is served.

A coordinator, the sidecars of two products, processes of theirs and one without a sidecar.  In each round one of them
is killed -9 and begun anew, or stopped for a while and continued; then work must go on.  20 rounds by default;

    CF_ORCH_CHAOS_ROUNDS=100 pytest tests/crash/test_chaos.py -s

runs more of them.  CF_ORCH_CHAOS_SEED=N runs one sequence again; timings differ all the same.
"""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.crash.test_kill import free_port, journaled
from tests.sidecar.conftest import get_json

from cf_orch.ledger.events import Adopted, Ended, Granted

ROUNDS = int(os.environ.get("CF_ORCH_CHAOS_ROUNDS", "20"))
CLIENTS_EACH = 3
GRANTS_A_ROUND = 10
PATIENCE_S = 30.0
LONGEST_STOP_S = 1.5
LONGEST_DOWN_S = 1.0
POLL_S = 0.01
CF_ORCH = [sys.executable, "-m", "cf_orch.coordinator.cli"]


class Victim:
    """A process that is killed and begun anew, or stopped and continued; ``begin`` starts it."""

    def __init__(self, name: str, command: list[str], environ: dict[str, str], greets: str | None, said: Path) -> None:
        self.name = name
        self.said = said
        self._command = command
        self._environ = environ
        self._greets = greets
        self.process = self._begin()

    def kill_and_begin_anew(self, down_s: float) -> None:
        """Kill -9; begin anew after so long."""
        self.process.kill()
        self.process.communicate()
        time.sleep(down_s)
        self.process = self._begin()

    def stop_and_continue(self, stopped_s: float) -> None:
        """Stop it for so long."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(stopped_s)
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, whatever process it is by now."""
        self.process.kill()

    def end(self) -> None:
        """Let it end properly, if it still can."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE_S)

    def _begin(self) -> subprocess.Popen[str]:
        with self.said.open("ab") as errors:
            process = subprocess.Popen(
                self._command, env=self._environ, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        if self._greets is not None:
            assert process.stdout is not None
            assert self._greets in process.stdout.readline()
        return process


def inside(log: Path) -> list[tuple[str, str, str]]:
    """(task, lease id, token) of every time that a task was inside."""
    return re.findall(r"^inside (\S+) (\S+) (\S+)$", log.read_text(), re.MULTILINE)


def wait_until(condition: Callable[[], bool], what: str, tell: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}\n{tell()}"
        time.sleep(POLL_S)


def story(urls: dict[str, str], runtime: Path) -> str:
    """What everybody says that is so, for a failure to be understood."""
    told = []
    for name, url in urls.items():
        leases = get_json(f"{url}/api/v1/leases")["leases"]
        told.append(name + "".join(f"\n  {lease['task_type']} {lease['id']} {lease['state']}" for lease in leases))
        for lease in leases:
            if name != "coordinator":
                known = get_json(f"{url}/api/v1/leases/{lease['id']}")
                told.append(f"  as it knows it: {known['id']} {known['state']} local={known['local']}")
    told.append((runtime / "local.json").read_text())
    return "\n".join(told)


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_kill_and_freeze_everything_at_random(tmp_path: Path) -> None:
    """No two inside at once, every task served in the end, every grant seen is journaled once, and none outlives it."""
    seed = int(os.environ.get("CF_ORCH_CHAOS_SEED", str(random.randrange(10**6))))
    print(f"seed {seed}, {ROUNDS} rounds")  # noqa: T201 - the figure
    chance = random.Random(seed)
    log, card, state = tmp_path / "log", tmp_path / "card", tmp_path / "state"
    log.touch()
    card.touch()
    environ = {**os.environ, "CF_ORCH_RUNTIME_DIR": str(tmp_path / "runtime")}
    ports = {name: free_port() for name in ("coordinator", "kiwi", "peach")}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    with ExitStack() as stack:

        def begin(name: str, command: list[str], greets: str | None = None) -> Victim:
            victim = Victim(name, command, environ, greets, tmp_path / f"{name}.err")
            stack.callback(victim.kill)
            return victim

        serve = [*CF_ORCH, "serve", "--port", str(ports["coordinator"]), "--state-dir", str(state)]
        coordinator = begin("coordinator", [*serve, "--device", "name=RTX 4090,vram_gb=24"], "serves on")
        sidecars = [
            begin(
                name,
                [*CF_ORCH, "sidecar", "--service", name, "--port", str(ports[name]), "--url", urls["coordinator"]],
                "serves on",
            )
            for name in ("kiwi", "peach")
        ]
        script = [sys.executable, str(Path(__file__).with_name("chaotic_product.py"))]
        homes = {"k1": "kiwi", "k2": "kiwi", "p1": "peach", "lone": "coordinator"}
        products = [
            begin(name, [*script, urls[home], name, str(CLIENTS_EACH), str(log), str(card)])
            for name, home in homes.items()
        ]
        everyone = [coordinator, *sidecars, *products]
        wait_until(lambda: len(inside(log)) > GRANTS_A_ROUND, "nobody has begun to work")
        slowest_s = 0.0
        for number in range(ROUNDS):
            victim = chance.choice(everyone)
            begun_at = time.monotonic()
            before = len(inside(log))
            if chance.random() < 0.5:
                victim.kill_and_begin_anew(chance.uniform(0, LONGEST_DOWN_S))
            else:
                victim.stop_and_continue(chance.uniform(0, LONGEST_STOP_S))
            wait_until(
                lambda before=before: len(inside(log)) >= before + GRANTS_A_ROUND,  # type: ignore[misc]
                f"round {number}: no work after {victim.name} was killed or stopped (seed {seed})",
                lambda: story(urls, tmp_path / "runtime"),
            )
            slowest_s = max(slowest_s, time.monotonic() - begun_at)
            assert "DOUBLE" not in log.read_text(), f"round {number}: two at once after {victim.name} (seed {seed})"
        served_before = len(inside(log))
        names = {f"{name}-{number}" for name in homes for number in range(CLIENTS_EACH)}
        wait_until(
            lambda: {name for name, _, _ in inside(log)[served_before:]} == names,
            f"some task is not served any more (seed {seed})",
            lambda: story(urls, tmp_path / "runtime"),
        )
        for victim in [*products, *sidecars, coordinator]:
            victim.end()

    said = log.read_text()
    entries = inside(log)
    local = sum(id_.startswith("local") for _, id_, _ in entries)
    print(f"{len(entries)} times inside, {local} of them locally; slowest round {slowest_s:.1f} s")  # noqa: T201 - the figure
    assert "DOUBLE" not in said
    assert [victim.process.returncode for victim in products] == [0] * len(products)
    events = asyncio.run(journaled(state))
    tokens = {event.lease_id: event.token for event in events if isinstance(event, Granted | Adopted)}
    known = [(id_, token) for _, id_, token in entries if not id_.startswith("local")]
    assert all(str(tokens[id_]) == token for id_, token in known if token != "None")
    assert max(Counter(event.lease_id for event in events if isinstance(event, Granted)).values()) == 1
    ended = {event.lease_id for event in events if isinstance(event, Ended)}
    assert set(tokens) <= ended, "a lease outlived its process"
