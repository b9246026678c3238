"""The scenarios: transcripts that are the policy's documentation, and hold it.

``pytest tests/test_scenarios.py --rewrite-scenarios`` writes them anew; the difference is then to be reviewed.
"""

from pathlib import Path

import pytest
from tests.ledger.transcript import play

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, request: pytest.FixtureRequest) -> None:
    """What happens under each command is what the transcript says."""
    told = path.read_text()
    happened = play(told)
    if request.config.getoption("--rewrite-scenarios", default=False):
        path.write_text(happened)
        told = happened

    assert happened.splitlines() == told.splitlines()


def test_there_are_scenarios() -> None:
    """The transcripts are where they are looked for."""
    assert len(SCENARIOS) >= 100
