"""A slice of the random histories; ``histories.py`` by itself runs as many as one likes."""

from random import Random

import pytest
from tests.ledger.broken import Broken
from tests.ledger.harness import Harness, Step
from tests.ledger.histories import Failure, main, run, shrink, told
from tests.ledger.world import draw_settings

from cf_orch.ledger import Settings
from cf_orch.ledger import commands as c

SLICE = 300


@pytest.mark.parametrize("first", range(0, SLICE, 50))
def test_random_histories_keep_all_rules(first: int) -> None:
    """No history of these seeds breaks a rule, and they grant enough for that to mean something."""
    outcomes = [run(seed) for seed in range(first, first + 50)]

    assert [outcome for outcome in outcomes if isinstance(outcome, Failure)] == []
    assert sum(outcome for outcome in outcomes if isinstance(outcome, int)) > 100


def test_a_seed_is_a_history() -> None:
    """The same seed gives the same number of grants each time."""
    assert run(7) == run(7)
    assert draw_settings(Random(7)) == draw_settings(Random(7))


def test_main_tells_when_all_held(capsys: pytest.CaptureFixture[str]) -> None:
    """The program says how many histories held, and exits with 0."""
    assert main(["--histories", "3", "--seed", "1"]) == 0
    assert "all 3 histories held" in capsys.readouterr().err


def test_a_failure_is_made_small() -> None:
    """Of a history that breaks, only the steps that break it are left."""
    found = Step(at=0.0, command=c.Found(ledger_id="x"))
    ticks = [Step(at=float(i), command=c.Tick()) for i in range(9)]
    absurd = Step(at=9.0, command=found.command, of=("web", "r1"))
    failure = Failure(0, "TypeError: founding is about no lease", Settings(), [found, *ticks, absurd])

    assert shrink(failure).steps == [absurd]
    assert "smaller" in told(failure)
    assert "ledger_id='x'" in told(failure)


def test_a_broken_rule_is_named() -> None:
    """An oracle that was not told the truth says which rule it misses."""
    harness = Harness(Settings())
    harness.do(Step(at=0.0, command=c.Found(ledger_id="x")))
    harness.ledger.handle(c.CancelRequest(caller="web", request_id="r1"), 0.0)

    with pytest.raises(Broken, match="R9"):
        harness.do(Step(at=0.0, command=c.Tick()))
