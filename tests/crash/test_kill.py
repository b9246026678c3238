"""kill -9 of the coordinator under load: no acknowledged lease is lost, and none is granted twice."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cf_orch.coordinator.batch import decode_batch
from cf_orch.coordinator.journal import SqliteJournal
from cf_orch.ledger.events import Adopted, DurableEvent, Ended, Granted

KILLS = 50
PROCESSES, CLIENTS_EACH = 2, 8
GRANTS_BETWEEN_KILLS = 5
PATIENCE_S = 20.0
POLL_S = 0.01


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def serve(port: int, state_dir: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cf_orch.coordinator.cli", "serve", "--port", str(port)]
    command += ["--state-dir", str(state_dir), "--device", "name=RTX 4090,vram_gb=24", *flags]
    coordinator = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert coordinator.stdout is not None
    assert "serves on" in coordinator.stdout.readline()
    coordinator.stdout.close()
    return coordinator


@contextmanager
def busy_clients(url: str, log: Path, card: Path) -> Iterator[subprocess.Popen[str]]:
    script = Path(__file__).with_name("busy_clients.py")
    command = [sys.executable, str(script), url, str(CLIENTS_EACH), str(log), str(card)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def grants(log: Path) -> list[tuple[str, str, int]]:
    """(client, lease id, token) of every grant that reached its client."""
    found = re.findall(r"^granted (\S+) (\S+) (\d+)$", log.read_text(), re.MULTILINE)
    return [(client, lease_id, int(token)) for client, lease_id, token in found]


def wait_for_more_grants(log: Path, more: int, when: str) -> None:
    enough, deadline = len(grants(log)) + more, time.monotonic() + PATIENCE_S
    while len(grants(log)) < enough:
        assert time.monotonic() < deadline, f"{when}: no {more} grants in {PATIENCE_S:g} s"
        time.sleep(POLL_S)


async def journaled(state_dir: Path) -> list[DurableEvent]:
    journal = SqliteJournal(state_dir)
    events = [event async for entry in journal.read(1) for _, event in decode_batch(entry.body)]
    await journal.close()
    return events


@pytest.mark.slow
def test_kill_9_fifty_times_under_busy_clients(tmp_path: Path) -> None:
    """Clients never see two holders, every grant that a client saw is in the journal once, and everybody is served."""
    port, log, card, state_dir = free_port(), tmp_path / "log", tmp_path / "card", tmp_path / "state"
    log.touch()
    card.touch()
    coordinator = serve(port, state_dir)
    with ExitStack() as stack:
        url = f"http://127.0.0.1:{port}"
        loads = [stack.enter_context(busy_clients(url, log, card)) for _ in range(PROCESSES)]
        for kill in range(KILLS):
            wait_for_more_grants(log, GRANTS_BETWEEN_KILLS, f"after {kill} kills")
            coordinator.kill()
            coordinator.wait()
            coordinator = serve(port, state_dir)
        wait_for_more_grants(log, 2 * PROCESSES * CLIENTS_EACH, "after the last kill")
        for load in loads:
            load.send_signal(signal.SIGTERM)
        errors = [load.communicate(timeout=PATIENCE_S)[1] for load in loads]
        coordinator.terminate()
        coordinator.wait()

    assert [load.returncode for load in loads] == [0] * PROCESSES, errors
    assert "DOUBLE" not in log.read_text()
    seen = grants(log)
    assert len({client for client, _, _ in seen}) == PROCESSES * CLIENTS_EACH
    events = asyncio.run(journaled(state_dir))
    tokens = {event.lease_id: event.token for event in events if isinstance(event, Granted | Adopted)}
    assert all(tokens[lease_id] == token for _, lease_id, token in seen)
    assert len({lease_id for _, lease_id, _ in seen}) == len(seen), "a lease was used twice"
    assert len([e for e in events if isinstance(e, Granted)]) == len(
        {e.lease_id for e in events if isinstance(e, Granted)}
    )
    ended = {event.lease_id for event in events if isinstance(event, Ended)}
    assert set(tokens) <= ended, "a lease outlived its client"
