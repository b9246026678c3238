"""The environment of the demo's parts: whole or not there, whatever happens while it is built."""

import asyncio
import fcntl
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cf_orch.sidecar.demo.environment import BuildFailed, Environment, cache_folder, running_paths

BUILD_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from cf_orch.sidecar.demo.environment import Environment
asyncio.run(Environment(Path(sys.argv[1]), sys.argv[2:], installed_mb=1).build(lambda step: print(step, flush=True)))
"""


def wheel(folder: Path) -> str:
    """A part to install that needs no registry."""
    path = folder / "demo_part-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("demo_part.py", "origin = 'its own'\n")
        archive.writestr("demo_part-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo-part\nVersion: 1.0\n")
        archive.writestr(
            "demo_part-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("demo_part-1.0.dist-info/RECORD", "")
    return str(path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("cache")
    environment = Environment(folder / "cf-orch", [wheel(folder)], installed_mb=1)
    asyncio.run(environment.build(lambda _step: None))
    return environment


def run_in(environment: Environment, code: str) -> str:
    command = [str(environment.python), "-I", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


async def test_it_is_built_once(built: Environment) -> None:
    """What is complete is neither built again nor replaced."""
    steps: list[str] = []
    before = built.folder.stat().st_ino

    await built.build(steps.append)

    assert built.complete
    assert steps == []
    assert built.folder.stat().st_ino == before
    assert not list(built.folder.parent.glob("*.partial-*"))


def test_it_imports_the_running_client_after_its_own(built: Environment, tmp_path: Path) -> None:
    """A product finds the client of this installation, and of two modules of one name its own."""
    (tmp_path / "demo_part.py").write_text("origin = 'the other'")
    built.join(["/gone/since"])
    built.join([*running_paths(), str(tmp_path)])

    found = run_in(built, "import sys, cf_orch.client, demo_part; print(demo_part.origin, '/gone/since' in sys.path)")

    assert found == "its own False"


def test_the_folder_tells_what_is_in_it(tmp_path: Path) -> None:
    """Other parts are another environment, the same are the same."""
    one = Environment(tmp_path, ["a==1"], installed_mb=1).folder

    assert one == Environment(tmp_path, ["a==1"], installed_mb=1).folder
    assert one != Environment(tmp_path, ["a==2"], installed_mb=1).folder


def test_a_failing_pip_is_told_with_its_last_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, what pip said last, and nothing left that could be taken for an environment."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    environment = Environment(tmp_path, ["no-such-part==1.0"], installed_mb=1)

    with pytest.raises(BuildFailed, match=r"pip could not install the parts \(exit status 1\)(?s:.*)no-such-part==1.0"):
        asyncio.run(environment.build(lambda _step: None))

    assert not environment.complete
    assert [path.name for path in tmp_path.iterdir()] == [f"{environment.folder.name}.lock"]


def test_a_killed_build_is_no_environment(tmp_path: Path) -> None:
    """After kill -9 in the middle nothing is complete; the next build is, and removes what was left."""
    environment = Environment(tmp_path, [wheel(tmp_path)], installed_mb=1)
    command = [
        sys.executable,
        "-c",
        BUILD_UNTIL_KILLED,
        str(tmp_path),
        str(tmp_path / "demo_part-1.0-py3-none-any.whl"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout is not None
        next(line for line in builder.stdout if "Processing" in line)
        builder.kill()

    assert not environment.complete
    assert list(tmp_path.glob("*.partial-*"))

    asyncio.run(environment.build(lambda _step: None))

    assert environment.complete
    assert run_in(environment, "import demo_part; print(demo_part.origin)") == "its own"


async def test_a_full_disk_is_told_before_anything_is_done(tmp_path: Path) -> None:
    """The sentence has what is needed, what there is, and what to do."""
    environment = Environment(tmp_path, ["a==1"], installed_mb=10**12)

    with pytest.raises(BuildFailed, match=r"need 1000000000000 MB in .*, but only \d+ MB are free there: make room"):
        await environment.build(lambda _step: None)


async def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A file where the folder should be is named, not shown as a traceback."""
    (tmp_path / "file").touch()

    with pytest.raises(BuildFailed, match=r"the parts cannot be kept in .*file"):
        await Environment(tmp_path / "file", ["a==1"], installed_mb=1).build(lambda _step: None)


async def test_two_do_not_build_at_once(built: Environment) -> None:
    """Whoever comes second says that it waits, and uses what the first has built."""
    steps: list[str] = []
    said = asyncio.Event()

    def say(step: str) -> None:
        steps.append(step)
        said.set()

    with (built.folder.parent / f"{built.folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = asyncio.create_task(built.build(say))
        await said.wait()
        assert not second.done()
    await second

    assert steps == ["another cf-orch demo is installing the parts; waiting for it"]


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_CACHE_HOME": "/x", "HOME": "/home/anna"}, "/x/cf-orch"),
        ({"HOME": "/home/anna"}, "/home/anna/.cache/cf-orch"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/home/anna"}, "/home/anna/.cache/cf-orch"),
    ],
)
def test_the_cache_is_where_the_user_keeps_it(environ: dict[str, str], folder: str) -> None:
    """XDG_CACHE_HOME is used if it is absolute, else ~/.cache."""
    assert cache_folder(environ) == Path(folder)
