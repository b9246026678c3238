"""A slice of the dispatches; ``dispatches.py`` by itself runs as many as one likes."""

import pytest
from tests.pool.conftest import taken
from tests.pool.dispatches import contend, main


async def test_no_slot_leaks() -> None:
    """64 tasks, cancelled, out of time, refused and served: all slots are free in the end, and nobody waits."""
    pool, counts = await contend(dispatches=4000, tasks=64)

    assert taken(pool) == 0
    assert not pool._waiters
    assert counts["served"] >= 4000
    assert all(counts[what] for what in ("cancelled", "DispatcherTimeoutError", "reported"))
    assert [server.current_model for server in pool.servers.values()] == [None] * 4
    assert not any(pool._slots.values())


def test_main_says_what_leaked(capsys: pytest.CaptureFixture[str]) -> None:
    """The program says how many slots leaked, and exits with 0 when none did."""
    assert main(["--dispatches", "200", "--tasks", "8"]) == 0
    assert "0 slots leaked" in capsys.readouterr().out
