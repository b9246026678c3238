"""The image's recipe, as a parser of such recipes reads it; ``bare_root.sh`` follows it for real."""

import json
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
from dockerfile_parse import DockerfileParser
from tests.deploy.conftest import DEPLOY, TOP


class Step(NamedTuple):
    instruction: str
    value: str


@pytest.fixture(scope="module")
def recipe() -> DockerfileParser:
    return DockerfileParser(path=str(DEPLOY / "Dockerfile"))


@pytest.fixture(scope="module")
def steps(recipe: DockerfileParser) -> list[Step]:
    """The instructions of the last stage: what is in the image."""
    all_steps = [Step(step["instruction"], step["value"]) for step in recipe.structure]
    last = max(number for number, step in enumerate(all_steps) if step.instruction == "FROM")
    return [step for step in all_steps[last:] if step.instruction != "COMMENT"]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the builder is sent: the checkout less what .dockerignore leaves out."""
    patterns = [line for line in (TOP / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*", "all is left out that is not named"
    left_out = [pattern.removeprefix("**/") for pattern in patterns[1:] if pattern[0] != "!"]
    folder = tmp_path_factory.mktemp("context")
    for name in [pattern[1:] for pattern in patterns if pattern[0] == "!"]:
        source, target = TOP / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(*left_out))
        else:
            shutil.copy(source, target)
    return folder


def values(steps: list[Step], instruction: str) -> list[str]:
    return [step.value for step in steps if step.instruction == instruction]


def test_all_stages_stand_on_the_same_slim_base(recipe: DockerfileParser) -> None:
    assert recipe.is_multistage
    assert {image.split(" ")[0] for image in recipe.parent_images} == {"debian:trixie-slim"}


def test_it_runs_as_a_user_by_number_who_is_not_root(steps: list[Step]) -> None:
    assert values(steps, "USER") == ["7700:7700"]
    after = steps[[step.instruction for step in steps].index("USER") :]
    assert not values(after, "RUN"), "what is installed belongs to root, and its user cannot change it"


def test_it_asks_for_its_health_with_what_is_in_the_image(steps: list[Step]) -> None:
    (check,) = values(steps, "HEALTHCHECK")
    program, address = json.loads(check.partition("CMD")[2])
    copied = dict(value.split() for value in values(steps, "COPY") if "--from" not in value)

    assert copied["deploy/healthcheck.py"] == f"/opt/cf-orch/bin/{program}"
    assert json.loads(values(steps, "CMD")[0]) == ["serve", "--socket", address.removeprefix("unix://")]


def test_one_image_serves_both_commands(steps: list[Step]) -> None:
    assert json.loads(values(steps, "ENTRYPOINT")[0]) == ["cf-orch"]


def test_its_folders_belong_to_its_user(steps: list[Step]) -> None:
    (made,) = (run for run in values(steps, "RUN") if "useradd" in run)

    assert "groupadd --gid 7700 cf-orch" in made
    assert "useradd --uid 7700 --gid 7700" in made
    assert "install -d -o cf-orch -g cf-orch -m 0700 /var/lib/cf-orch" in made
    assert "install -d -o cf-orch -g cf-orch -m 2770 /run/cf-orch" in made


def test_nothing_secret_and_nothing_needless_is_sent_to_the_builder(context: Path) -> None:
    sent = {str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()}

    assert {"pyproject.toml", "README.md", "LICENSE", "deploy/healthcheck.py"} <= sent
    assert not [path for path in sent if path.startswith((".", "tests/")) or fnmatch(path, "*.pyc")]


def test_what_is_sent_is_enough_to_build_the_whole_program(context: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(context)]
    subprocess.run(build, check=True)

    (wheel,) = tmp_path.glob("*.whl")
    packages = {name.split("/")[1] for name in zipfile.ZipFile(wheel).namelist() if name.startswith("cf_orch/")}
    here = {path.name for root in ("client", "coordinator", "sidecar") for path in (TOP / root / "cf_orch").iterdir()}
    assert packages == here - {"__pycache__"}
