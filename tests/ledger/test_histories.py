"""A slice of the random histories; ``histories.py`` by itself runs as many as one likes."""

from collections import Counter
from random import Random

import pytest
from tests.ledger.broken import Broken
from tests.ledger.harness import Harness, Step
from tests.ledger.histories import Failure, main, run, shrink, told
from tests.ledger.world import draw_settings

from cf_orch.ledger import Settings
from cf_orch.ledger import commands as c
from cf_orch.ledger import events as e

SLICE = 300


MUST_HAPPEN = [
    *(name for name in e.__all__ if not name.endswith("Event")),
    "return",
    "return past its residue",
    "return past one for whom it left in vain",
    "plan of a gang",
    "plan of a return",
    "plan made anew",
    "plan that counts on one asked before",
    "parked when overdue",
    "withdrawn when overdue",
]


@pytest.fixture(scope="module")
def outcomes() -> list[Failure | Counter[str]]:
    """Live through the slice once, for all tests of it."""
    return [run(seed) for seed in range(SLICE)]


def test_random_histories_keep_all_rules(outcomes: list[Failure | Counter[str]]) -> None:
    """No history of these seeds breaks a rule."""
    assert [outcome for outcome in outcomes if isinstance(outcome, Failure)] == []


def test_in_random_histories_everything_happens(outcomes: list[Failure | Counter[str]]) -> None:
    """Each kind of event, and what is rare among them: or that no rule broke would mean little."""
    noted = sum((outcome for outcome in outcomes if isinstance(outcome, Counter)), Counter[str]())

    assert [what for what in MUST_HAPPEN if not noted[what]] == []
    assert noted["Granted"] > 1000
    assert noted["Parked"] > 100


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
