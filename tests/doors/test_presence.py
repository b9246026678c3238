"""Whose process is watched: only one that can be seen, and only while its session lives."""

import os
from pathlib import Path

import pytest

from cf_orch.coordinator.doors.presence import Presence
from cf_orch.coordinator.doors.views import nothing
from cf_orch.coordinator.engine import Engine
from cf_orch.gpus import ProcFs, host_identity
from cf_orch.ledger import commands

OWN_START = ProcFs().start_ticks(os.getpid())
HERE = host_identity().host_id


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def opened(engine: Engine, name: str, **facts: object) -> None:
    known: dict[str, object] = {"host_id": HERE, "pid": os.getpid(), "pid_start": OWN_START}
    command = commands.OpenSession(session_id=name, service="kiwi", **(known | facts))  # type: ignore[arg-type]  # facts of a session
    await engine.do(command, nothing)


@pytest.mark.parametrize(
    "facts",
    [{"host_id": "elsewhere"}, {"pid": None}, {"pid_start": None}, {"pid_start": 1}, {"pid": 2**22 - 1}],
    ids="-".join,
)
async def test_who_cannot_be_seen_is_not_watched(engine: Engine, facts: dict[str, object]) -> None:
    """Another host, no process, or one that is not what it says it is: its time to live alone tells."""
    presence = Presence(engine)
    await opened(engine, "s1", **facts)
    before = open_descriptors()

    presence.watch(engine.ledger.sessions["s1"])

    assert open_descriptors() == before


async def test_ended_sessions_are_let_go(engine: Engine) -> None:
    """A process that opens and closes sessions all day takes no more descriptors than it has sessions."""
    presence = Presence(engine)
    before = open_descriptors()
    most = 0
    for number in range(50):
        await opened(engine, f"s{number}")
        presence.watch(engine.ledger.sessions[f"s{number}"])
        await engine.do(commands.CloseSession(session_id=f"s{number}"), nothing)
        most = max(most, open_descriptors() - before)
    presence.close()

    assert 1 <= most <= 3
    assert open_descriptors() == before
