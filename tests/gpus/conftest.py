"""A fake NVIDIA driver under the real pynvml, a made-up /proc, and real child processes that hold memory."""

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import require_part

GIB = 2**30
Holder = Callable[..., tuple[int, list[int]]]


class FakeNvml:
    """The state file of the fake library: what the driver says from now on."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._lines: tuple[str, ...] = ()

    def says(self, *lines: str) -> None:
        """Replace all that the driver says."""
        self._lines = lines
        fresh = self._state.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in lines))
        fresh.rename(self._state)

    def also(self, *lines: str) -> None:
        """Add to what the driver says."""
        self.says(*self._lines, *lines)

    def vanish(self) -> None:
        """Unload the driver: every call answers "driver not loaded"."""
        self._state.unlink()


class FakeProc:
    """A tree shaped like /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(
        self,
        pid: int,
        *,
        parent: int = 1,
        start: int = 100,
        command: str = "prog",
        argv: tuple[str, ...] = (),
        pss_kib: int | None = None,
        rss_kib: int | None = None,
    ) -> None:
        """A process; a number that is None has no file, as for a reader without the right to it."""
        folder = self.root / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} ({command}) S {parent} " + "0 " * 17 + f"{start} 0 0\n")
        (folder / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in argv))
        if pss_kib is not None:
            (folder / "smaps_rollup").write_text(f"00-ff ---p 00000000 [rollup]\nRss: 9999 kB\nPss: {pss_kib} kB\n")
        if rss_kib is not None:
            (folder / "status").write_text(f"Name:\tprog\nVmRSS:\t{rss_kib} kB\n")

    def write(self, path: str, text: str) -> None:
        """Any other file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture(scope="session")
def fake_nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake driver library, compiled."""
    compiler = shutil.which("gcc")
    require_part(compiler is not None, "gcc, which compiles the fake NVIDIA driver library")
    source = Path(__file__).parent.parent / "fake_nvml.c"
    library = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([str(compiler), *flags, "-o", str(library), str(source)], check=True)
    return library


@pytest.fixture(scope="session")
def loaded_nvml_library(fake_nvml_library: Path) -> ctypes.CDLL:
    """The fake library in this process: glibc gives it, by its soname, to pynvml, which keeps it for good."""
    return ctypes.CDLL(str(fake_nvml_library))


@pytest.fixture
def nvml(loaded_nvml_library: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A driver with one 24 GiB card, which the test may change at any time."""
    assert loaded_nvml_library.nvmlInit_v2
    state = tmp_path / "nvml.txt"
    monkeypatch.setenv("FAKE_NVML_STATE", str(state))
    driver = FakeNvml(state)
    driver.says(f"gpu uuid=GPU-0 total={24 * GIB} reserved={GIB // 2} cc=8.9 name=NVIDIA GeForce RTX 4090")
    return driver


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    """A made-up /proc, empty."""
    root = tmp_path / "proc"
    root.mkdir()
    return FakeProc(root)


HOLDER = """
import subprocess, sys
sizes = [int(size) for size in sys.argv[1:]]
held = b"x" * (sizes[0] << 20)
child = None
if sizes[1:]:
    command = [sys.executable, "-S", __file__, *map(str, sizes[1:])]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    print(child.pid, child.stdout.readline().strip())
else:
    print("", flush=True)
sys.stdout.flush()
sys.stdin.read()
if child:
    child.communicate()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    """Starts a process that holds so many MiB, its child so many, ...: gives its pid and its descendants' pids."""
    script = tmp_path / "holder.py"
    script.write_text(HOLDER)
    started: list[subprocess.Popen[str]] = []

    def start(*sizes_mib: int) -> tuple[int, list[int]]:
        command = [sys.executable, "-S", str(script), *map(str, sizes_mib)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        return process.pid, [int(pid) for pid in process.stdout.readline().split()]

    yield start
    for process in started:
        process.communicate()
