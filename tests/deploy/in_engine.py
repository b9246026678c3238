"""The image and the compose files at work in a Docker engine; ``bare_root.sh`` starts one, builds, and runs this.

Only the cards are taken out (``deploy:``): the engine has none, and refuses what asks for one.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.conftest import require_part
from tests.deploy.conftest import DEPLOY, compose_program

from cf_orch.coordinator.cli import COMMANDS

SOON_S = 60.0
GROUP = "7700"
WITHOUT_CARDS = "services:\n  {name}: {{ deploy: !reset null }}\n"

HOLD = """
import sys, time
from cf_orch.client import ResourceCoordinator, VRAMSlot
with ResourceCoordinator().lease(VRAMSlot("kiwi", "recipe_llm", {vram_gb})) as lease:
    begun = time.time()
    print(lease.id, lease.local, flush=True)
    time.sleep({hold_s})
    print(begun, time.time(), flush=True)
"""
"""A product's program: takes a lease, says its id and whether it is local, holds it, says from when to when."""


def docker(*words: str, status: int | None = 0) -> str:
    """Run a docker command; what it wrote."""
    said = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert status is None or said.returncode == status, said.stderr
    return (said.stdout + said.stderr).strip()


def inspect(container: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("inspect", container))[0]
    return found


def until(what: str, happened: Callable[[], bool], said: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + SOON_S
    while not happened():
        assert time.monotonic() < deadline, f"not {what} within {SOON_S:g} s: {said()}"
        time.sleep(0.1)


class Project:
    """A Compose project of files of ours, and one service in it."""

    def __init__(self, service: str, files: list[Path], environ: dict[str, str]) -> None:
        self.service = service
        self._program = compose_program()
        self._words = ["--env-file", "/dev/null", *(word for file in files for word in ("-f", str(file)))]
        self._environ = {**os.environ, **environ}

    def __call__(self, *words: str) -> str:
        command = [str(self._program), *self._words, *words]
        said = subprocess.run(command, capture_output=True, text=True, check=False, env=self._environ)
        assert said.returncode == 0, said.stderr
        return said.stdout.strip()

    def up(self) -> None:
        """Start it, and wait until its healthcheck says that it is well."""
        self("up", "--detach", "--no-build")
        until("healthy", self.is_healthy, said=lambda: docker("logs", "--tail=12", self.container))

    @property
    def container(self) -> str:
        return self("ps", "--all", "--quiet", self.service)

    def is_healthy(self) -> bool:
        return bool(inspect(self.container)["State"]["Health"]["Status"] == "healthy")

    def inside(self, *words: str) -> str:
        return docker("exec", self.container, *words)


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture(scope="module")
def coordinator(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """deploy/compose.yml, up and healthy; with a declared card, since the engine has none."""
    extra = tmp_path_factory.mktemp("compose") / "extra.yml"
    extra.write_text(WITHOUT_CARDS.format(name="coordinator"))
    environ = {"CF_ORCH_PORT": str(port), "CF_ORCH_DEVICES": "name=RTX 4090,vram_gb=24"}
    project = Project("coordinator", [DEPLOY / "compose.yml", extra], environ)
    try:
        project.up()
        yield project
    finally:
        project("down", "--volumes")


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """deploy/compose.override.yml beside a product named kiwi, up and healthy."""
    require_part("sidecar" in COMMANDS, "cf-orch sidecar")
    folder = tmp_path_factory.mktemp("products") / "kiwi"
    folder.mkdir()
    (folder / "compose.yml").write_text("name: kiwi\n" + WITHOUT_CARDS.format(name="cf-orch-sidecar"))
    project = Project("cf-orch-sidecar", [DEPLOY / "compose.override.yml", folder / "compose.yml"], {})
    try:
        project.up()
        yield project
    finally:
        project("down")


@contextmanager
def product(script: str, *, user: str = "1234", group: str = GROUP, url: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run a product's program in a container of its own: with its own user, processes and network."""
    name = f"product-{uuid4().hex}"
    words = ["docker", "run", f"--name={name}", "--network=none", f"--user={user}:{user}", f"--group-add={group}"]
    words += ["--volume=cf-orch-run:/run/cf-orch", "--no-healthcheck", "--entrypoint=python3"]
    words += [f"--env=CF_ORCH_URL={url}", "cf-orch", "-c", script]
    program = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield program
    finally:
        docker("rm", "--force", name, status=None)
        program.kill()
        program.communicate()


# --- the image


def test_the_image_has_the_program_and_its_user_and_nothing_to_build_with() -> None:
    sh = ("run", "--rm", "--network=none", "--entrypoint=sh", "cf-orch", "-c")

    assert docker("run", "--rm", "--network=none", "cf-orch", "--version").startswith("cf-orch ")
    assert docker(*sh, "id -u; id -g").split() == ["7700", "7700"]
    assert docker(*sh, "command -v pip gcc git curl || echo none") == "none"
    assert docker(*sh, "test -e /src || echo none") == "none"
    assert (
        docker(*sh, "find / -xdev -writable -type f -not -path '/proc/*' -not -path '/sys/*' 2>/dev/null || true") == ""
    )


# --- the coordinator


def test_it_is_healthy_by_the_images_own_check(coordinator: Project) -> None:
    checks = inspect(coordinator.container)["State"]["Health"]["Log"]

    assert checks[-1]["ExitCode"] == 0
    assert "cf-orch-healthcheck" in coordinator.inside("sh", "-c", "command -v cf-orch-healthcheck")


def test_it_runs_with_no_rights_on_a_root_that_cannot_be_written(coordinator: Project) -> None:
    status = Path(f"/proc/{inspect(coordinator.container)['State']['Pid']}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    assert set(fields["Uid"].split()) == {"7700"}
    assert {int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert fields["NoNewPrivs"] == "1"
    assert coordinator.inside("sh", "-c", "touch /opt/x 2>&1 || true").endswith("Read-only file system")


def test_state_and_runtime_folder_are_its_own(coordinator: Project) -> None:
    told = coordinator.inside("stat", "-c", "%n %u:%g %a", "/var/lib/cf-orch", "/run/cf-orch", "/run/cf-orch/sock")

    assert told.splitlines() == [
        "/var/lib/cf-orch 7700:7700 700",
        "/run/cf-orch 7700:7700 2770",
        "/run/cf-orch/sock 7700:7700 660",
    ]


def test_it_sees_the_hosts_processes_and_name(coordinator: Project) -> None:
    assert coordinator.inside("test", "-d", f"/proc/{os.getpid()}") == ""
    assert coordinator.inside("hostname") == socket.gethostname()


def test_a_person_can_look_from_inside_and_from_the_host(coordinator: Project, port: int) -> None:
    from_host = subprocess.run(
        [sys.executable, "-m", "cf_orch.coordinator.cli", "status"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CF_ORCH_URL": f"http://127.0.0.1:{port}"},
    )

    assert "RTX 4090" in coordinator.inside("cf-orch", "status")
    assert "RTX 4090" in from_host.stdout


@pytest.mark.usefixtures("coordinator")
def test_another_user_of_the_group_gets_a_lease_over_the_socket() -> None:
    with product(HOLD.format(vram_gb=4, hold_s=0)) as program:
        said, errors = program.communicate(timeout=SOON_S)

    assert program.returncode == 0, errors
    assert said.split()[1] == "False", "the coordinator's, not a local one"


@pytest.mark.usefixtures("coordinator")
def test_a_user_outside_the_group_is_not_let_in() -> None:
    script = "import socket; socket.socket(socket.AF_UNIX).connect('/run/cf-orch/sock')"
    with product(script, group="4321") as program:
        _, errors = program.communicate(timeout=SOON_S)

    assert program.returncode == 1
    assert "PermissionError" in errors


def test_killed_it_comes_back_with_what_it_had_promised(coordinator: Project) -> None:
    with product(HOLD.format(vram_gb=4, hold_s=6)) as program:
        assert program.stdout is not None
        lease_id = program.stdout.readline().split()[0]
        before = inspect(coordinator.container)["State"]["Pid"]
        os.kill(before, signal.SIGKILL)
        until("back", lambda: inspect(coordinator.container)["State"]["Pid"] not in (0, before))
        until("answers", lambda: "RTX" in docker("exec", coordinator.container, "cf-orch", "status", status=None))
        held = coordinator.inside("cf-orch", "leases")
        _, errors = program.communicate(timeout=SOON_S)

    assert lease_id in held
    assert program.returncode == 0, errors


# --- the sidecar


@pytest.mark.usefixtures("coordinator", "sidecar")
def test_a_product_gets_a_lease_by_its_sidecar() -> None:
    with product(HOLD.format(vram_gb=4, hold_s=0), url="unix:///run/cf-orch/kiwi.sock") as program:
        said, errors = program.communicate(timeout=SOON_S)

    assert program.returncode == 0, errors
    assert said.split()[1] == "False"


@pytest.mark.usefixtures("coordinator")
def test_a_sidecar_sees_the_hosts_processes_and_name(sidecar: Project) -> None:
    assert sidecar.inside("test", "-d", f"/proc/{os.getpid()}") == ""
    assert sidecar.inside("hostname") == socket.gethostname()
    assert "RTX 4090" in sidecar.inside("cf-orch", "status")


# --- the end: these come last, for they stop one after the other


def test_told_to_stop_it_does_in_time(coordinator: Project) -> None:
    _stops_in_time(coordinator)


@pytest.mark.usefixtures("sidecar")
def test_without_a_coordinator_containers_of_all_users_take_turns(coordinator: Project) -> None:
    """Those that ask their sidecar, those that find nobody to ask, and root."""
    coordinator("stop")
    hold, by_sidecar = HOLD.format(vram_gb=4, hold_s=1), "unix:///run/cf-orch/kiwi.sock"
    callers = [("1234", ""), ("5678", ""), ("0", ""), ("1234", by_sidecar), ("8765", by_sidecar)]
    with ExitStack() as stack:
        programs = [stack.enter_context(product(hold, user=user, url=url)) for user, url in callers]
        said = [program.communicate(timeout=SOON_S) for program in programs]

    assert [program.returncode for program in programs] == [0] * 5, [errors for _, errors in said]
    assert all(out.split()[1] == "True" for out, _ in said), "local leases"
    turns = sorted(tuple(map(float, out.split()[2:])) for out, _ in said)
    for (_, ended), (begun, _) in pairwise(turns):
        assert ended <= begun, "two were inside at once"


def test_a_sidecar_told_to_stop_does_in_time(sidecar: Project) -> None:
    _stops_in_time(sidecar)


def _stops_in_time(project: Project) -> None:
    began = time.monotonic()
    project("stop")
    took_s = time.monotonic() - began

    assert inspect(project.container)["State"]["ExitCode"] == 0
    assert took_s < 10, "compose grants 15 s"
