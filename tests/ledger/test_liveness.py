"""What was begun ends, a slice; ``liveness.py`` by itself runs as many histories as one likes."""

from collections import Counter

import pytest
from tests.ledger.histories import Failure
from tests.ledger.liveness import live_out, main

SLICE = 300


@pytest.mark.parametrize("first", range(0, SLICE, 100))
def test_with_cooperative_holders_everything_ends(first: int) -> None:
    """L1 and S8: from any state all leases end, and none is sent to and fro; enough give way for that to mean much."""
    outcomes = [live_out(seed) for seed in range(first, first + 100)]

    assert [outcome for outcome in outcomes if isinstance(outcome, Failure)] == []
    noted = sum((outcome for outcome in outcomes if isinstance(outcome, Counter)), Counter[str]())
    assert noted["parked when all cooperate"] > 20
    assert noted["return"] > 20


def test_main_tells_when_all_ended(capsys: pytest.CaptureFixture[str]) -> None:
    """The program says how many histories held, and exits with 0."""
    assert main(["--histories", "3", "--seed", "1"]) == 0
    assert "all 3 histories held" in capsys.readouterr().err
