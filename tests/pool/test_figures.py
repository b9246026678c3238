"""What the order is worth, beside the naive policy, in simulated time (figures.py prints it)."""

import pytest
from tests.pool.figures import SCENES, main, play
from tests.pool.simulation import NaivePool

from cf_orch.pool.pool import ServerPool


def test_two_warm_servers_never_swap() -> None:
    """A,B,A,B over two servers: none of 100 requests swaps, where the naive policy swaps at nearly every one."""
    name = "A,B,A,B one at a time, 2 servers"

    assert play(name, ServerPool).swaps == 0
    assert play(name, NaivePool).swaps == 99


def test_two_warm_servers_hardly_swap_with_many_tasks() -> None:
    """With eight tasks for each model the servers keep theirs; swaps come from the unequal ends only."""
    name = "8 tasks A, 8 tasks B, 2 servers"

    assert play(name, ServerPool).swaps <= 3
    assert play(name, NaivePool).swaps > 90


def test_no_model_starves() -> None:
    """Under a steady load for A, which never drains the server, B waits a few turns; naively it waits to the end."""
    name = "8 tasks A, now and then B, 1 server x 4"

    assert play(name, ServerPool).longest_wait_s["B"] < 20
    naive = play(name, NaivePool)
    assert naive.longest_wait_s["B"] > 200


@pytest.mark.parametrize("name", SCENES)
def test_never_worse_than_naive(name: str) -> None:
    """All are served in every scene, with no more swaps for each request served than the naive policy, but for one."""
    ours, naive = play(name, ServerPool), play(name, NaivePool)

    assert ours.served == naive.served
    if "now and then" in name:  # there the naive policy swaps little because it starves B
        assert ours.took_s < naive.took_s
    else:
        assert ours.swaps <= naive.swaps


def test_the_figures_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints a line for each scene and policy."""
    assert main() == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 3 * len(SCENES)
