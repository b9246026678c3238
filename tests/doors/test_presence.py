"""Whose process is watched: only one that can be seen, and only while its session lives."""

import os
from pathlib import Path

import pytest

from cf_orch.doors.presence import Presence
from cf_orch.gpus import ProcFs, host_identity

OWN_START = ProcFs().start_ticks(os.getpid())
HERE = host_identity().host_id


async def never(session_id: str) -> None:
    raise AssertionError(f"the process of {session_id} lives")


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    "facts",
    [{"host_id": "elsewhere"}, {"pid": None}, {"pid_start": None}, {"pid_start": 1}, {"pid": 2**22 - 1}],
    ids="-".join,
)
async def test_who_cannot_be_seen_is_not_watched(facts: dict[str, object]) -> None:
    """Another host, no process, or one that is not what it says it is: its time to live alone tells."""
    presence = Presence(never)
    known: dict[str, object] = {"host_id": HERE, "pid": os.getpid(), "pid_start": OWN_START}
    before = open_descriptors()

    presence.watch("s1", open_ids={"s1"}, **(known | facts))  # type: ignore[arg-type]  # facts of a session

    assert open_descriptors() == before


async def test_ended_sessions_are_let_go() -> None:
    """A process that opens and closes sessions all day takes no more descriptors than it has sessions."""
    presence = Presence(never)
    before = open_descriptors()
    most = 0
    for number in range(50):
        name = f"s{number}"
        presence.watch(name, host_id=HERE, pid=os.getpid(), pid_start=OWN_START, open_ids={name})
        most = max(most, open_descriptors() - before)
    presence.close()

    assert 1 <= most <= 3
    assert open_descriptors() == before
