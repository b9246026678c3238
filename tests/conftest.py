"""What every test may need."""

import os

import pytest


def require_part(present: bool, reason: str) -> None:  # noqa: FBT001 - a condition, as in assert
    """Skip the test when a real part is missing here; fail it where CF_ORCH_REQUIRE_PARTS=1 says none may be."""
    if present:
        return
    if os.environ.get("CF_ORCH_REQUIRE_PARTS") == "1":
        pytest.fail(f"a part is missing: {reason}")
    pytest.skip(reason)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the scenarios be written anew, to be reviewed as a difference."""
    parser.addoption("--rewrite-scenarios", action="store_true", help="write tests/scenarios anew")
