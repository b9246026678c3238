"""A made-up machine on disk, a fake NVIDIA driver under the real pynvml, and a real coordinator."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.conftest import require_part

from cf_orch.sidecar.doctor.finding import Finding
from cf_orch.sidecar.doctor.machine import Machine
from cf_orch.sidecar.doctor.settings import ServeSettings

GIB = 2**30
CARD = f"gpu uuid=GPU-0 total={24 * GIB} reserved={GIB // 2} cc=8.9 name=NVIDIA GeForce RTX 4090"
SOON_S = 20.0

# A card as Windows' display driver model has it, over the fake driver library; the fake itself says "not supported".
WDDM_SOURCE = """
#define nvmlDeviceGetDriverModel hidden_model
#define nvmlDeviceGetDriverModel_v2 hidden_model_v2
#include "{fake}"
#undef nvmlDeviceGetDriverModel
#undef nvmlDeviceGetDriverModel_v2
nvmlReturn_t nvmlDeviceGetDriverModel_v2(nvmlDevice_t h, u32 *now, u32 *next) {{ DEV; *now = *next = 0; return OK; }}
nvmlReturn_t nvmlDeviceGetDriverModel(nvmlDevice_t h, u32 *now, u32 *next) {{
    return nvmlDeviceGetDriverModel_v2(h, now, next); }}
"""


class Host:
    """A tree shaped like / and an environment; what is not put there is not there."""

    def __init__(self, root: Path, state_dir: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not _is_ours(name)}
        self.root = root
        self.state_dir = state_dir
        self.environ = {**kept, "CF_ORCH_URL": "http://127.0.0.1:9"}
        self.says(None)
        self.write("/proc/sys/kernel/osrelease", "6.8.0-45-generic\n")

    def write(self, path: str, text: str = "") -> Path:
        """A file."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        link = self.root / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)

    def card(self, slot: str = "0000:01:00.0", driver: str | None = "nvidia") -> None:
        """An NVIDIA card on the PCI bus, taken by a driver of the kernel."""
        folder = f"/sys/bus/pci/devices/{slot}"
        self.write(f"{folder}/vendor", "0x10de\n")
        self.write(f"{folder}/class", "0x030000\n")
        if driver is not None:
            self.link(f"{folder}/driver", f"../../../bus/pci/drivers/{driver}")

    def use_library(self, library: Path) -> None:
        """Let the driver's library be found by its name, as the linker finds it."""
        self.environ["LD_LIBRARY_PATH"] = str(library.parent)

    def says(self, *lines: str | None) -> None:
        """Set what the driver says; None: the driver is not loaded."""
        state = self.root / "nvml.txt"
        self.environ["FAKE_NVML_STATE"] = str(state)
        state.unlink(missing_ok=True)
        if lines[0] is not None:
            state.write_text("".join(f"{line}\n" for line in lines))

    def machine(self, **more: Any) -> Machine:
        """The machine that the checks look at."""
        settings = more.pop("settings", ServeSettings(self.state_dir))
        return Machine(settings, root=self.root, environ=self.environ, **more)


def _is_ours(name: str) -> bool:
    return name.startswith(("CF_ORCH_", "FAKE_NVML", "CUDA_", "NVIDIA_", "KUBERNETES_")) or name in (
        "container",
        "COLUMNS",
    )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A machine without anything."""
    root, state_dir = tmp_path / "root", tmp_path / "state"
    root.mkdir()
    state_dir.mkdir()
    return Host(root, state_dir)


def _compile(source: Path, folder: Path) -> Path:
    compiler = shutil.which("gcc")
    require_part(compiler is not None, "gcc, which compiles the fake NVIDIA driver library")
    library = folder / "libnvidia-ml.so.1"
    flags = ["-std=c11", "-O1", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([str(compiler), *flags, "-o", str(library), str(source)], check=True)
    return library


FAKE = Path(__file__).parents[1] / "fake_nvml.c"


@pytest.fixture(scope="session")
def driver_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake driver library, compiled."""
    return _compile(FAKE, tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="session")
def wddm_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on Windows' display driver model."""
    folder = tmp_path_factory.mktemp("wddm")
    source = folder / "wddm.c"
    source.write_text(WDDM_SOURCE.format(fake=FAKE))
    return _compile(source, folder)


@pytest.fixture
def gpu_host(host: Host, driver_library: Path) -> Host:
    """A machine with one RTX 4090 and driver 570.124.06."""
    host.use_library(driver_library)
    host.says(CARD)
    host.card()
    return host


def one(findings: list[Finding], id_: str) -> Finding:
    """The one finding of this id."""
    found = [finding for finding in findings if finding.id == id_]
    assert len(found) == 1, f"{id_}: {[finding.id for finding in findings]}"
    return found[0]


class Served(NamedTuple):
    """A running coordinator."""

    url: str
    socket: Path


def until(condition: Callable[[], Any]) -> Any:
    """Look until something is so, and return it."""
    deadline = time.monotonic() + SOON_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A coordinator with a declared card, that asks for the token "secret"."""
    folder = tmp_path_factory.mktemp("served")
    env = {name: value for name, value in os.environ.items() if not _is_ours(name)}
    where = ["--port", "0", "--socket", str(folder / "sock"), "--state-dir", str(folder), "--journal", "memory"]
    command = [sys.executable, "-m", "cf_orch.coordinator.cli", "serve", *where]
    process = subprocess.Popen(
        [*command, "--device", "name=RTX 4090,vram_gb=24"],
        env={**env, "CF_ORCH_TOKEN": "secret"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    greeting = process.stdout.readline()
    yield Served(next(word for word in greeting.split() if word.startswith("http://")), folder / "sock")
    process.terminate()
    process.communicate(timeout=SOON_S)
