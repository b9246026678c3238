"""The files of deploy/, read by the programs that read them for their users."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import require_part

TOP = Path(__file__).parents[2]
DEPLOY = TOP / "deploy"

Merge = Callable[..., dict[str, Any]]


def compose_program() -> str | None:
    """Where Docker Compose is, version 2 or later; get_compose.sh knows."""
    if given := os.environ.get("CF_ORCH_TEST_COMPOSE"):
        return given
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cf-orch-tests/docker-compose"
    places = [shutil.which("docker-compose"), os.environ.get("CF_ORCH_TEST_CACHE", "") + "/docker-compose", str(kept)]
    places += [f"{root}/docker/cli-plugins/docker-compose" for root in ("/usr/libexec", "/usr/local/lib", "/usr/lib")]
    return next((place for place in places if place and _is_second(place)), None)


def _is_second(program: str) -> bool:
    try:
        said = subprocess.run([program, "version", "--short"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return said.returncode == 0 and int(said.stdout.strip().lstrip("v").partition(".")[0]) >= 2


@pytest.fixture(scope="session")
def merge() -> Merge:
    """Compose's own reading of compose files, merged, with nothing set but what is given."""
    program = compose_program()
    require_part(program is not None, "Docker Compose, version 2: tests/deploy/get_compose.sh gets it")
    assert program is not None

    def read(*files: Path, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
        command = [program, "--env-file", "/dev/null", *(word for file in files for word in ("-f", str(file)))]
        said = subprocess.run(
            [*command, "config", "--format", "json"],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **(environ or {})},
        )
        assert said.returncode == 0, said.stderr
        assert said.stderr == "", "Compose has something to say against the files"
        merged: dict[str, Any] = json.loads(said.stdout)
        return merged

    return read
