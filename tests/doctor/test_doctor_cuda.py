"""The driver against the CUDA that packages and running programs bring."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import require_part
from tests.doctor.conftest import CARD, GIB, Host, one

from cf_orch.sidecar.doctor.cuda import check_cuda, check_engines, engine_needs
from cf_orch.sidecar.doctor.cuda_versions import (
    CudaNeed,
    family_floor,
    needs_of,
    parse_version,
    toolkit_driver,
    windows_driver,
)
from cf_orch.sidecar.doctor.machine import Distribution, Machine
from cf_orch.sidecar.doctor.settings import ServeSettings
from cf_orch.sidecar.doctor.versions import check_pynvml


def install(host: Host, name: str, version: str, *requires: str) -> Path:
    """Put a package's metadata where the chosen Python finds it, as pip does."""
    site = host.root / "site"
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires)]
    (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))
    host.environ["PYTHONPATH"] = str(site)
    return site


@pytest.mark.parametrize(
    ("name", "version", "requires", "need"),
    [
        ("nvidia-cuda-runtime-cu12", "12.8.90", [], (12, (12, 8))),
        ("nvidia-cuda-runtime-cu11", "11.8.89", [], (11, (11, 8))),
        ("nvidia-cuda-runtime", "13.0.48", [], (13, (13, 0))),
        ("nvidia_cublas_cu12", "12.8.4.1", [], (12, None)),
        ("torch", "2.7.1+cu128", [], (12, (12, 8))),
        ("torch", "2.1.0+cu118", [], (11, (11, 8))),
        ("torch", "2.7.1+cpu", [], None),
        ("torch", "2.7.1+rocm6.3", [], None),
        ("flash-attn", "2.7.4+cu12torch2.6cxx11abifalse", [], (12, None)),
        ("exllamav2", "0.2.8+cu121.torch2.5.0", [], (12, (12, 1))),
        ("cupy-cuda13x", "14.0.0", [], (13, None)),
        ("jax-cuda12-plugin", "0.6.0", [], (12, None)),
        ("ctranslate2", "4.8.5", [], (12, None)),
        ("ctranslate2", "3.24.0", [], (11, None)),
        ("onnxruntime-gpu", "1.22.0", ["nvidia-cuda-runtime-cu12~=12.0; extra == 'cuda'"], (12, None)),
        ("leaves-a-choice", "1", ["nvidia-cublas-cu11", "nvidia-cublas-cu12"], None),
        ("requests", "2.32.3", ["urllib3"], None),
    ],
)
def test_what_a_package_needs(
    name: str, version: str, requires: list[str], need: tuple[int, tuple[int, int] | None] | None
) -> None:
    """It is read off names, versions and requirements; nothing is imported."""
    found = needs_of([Distribution(name, version, requires, "/nowhere")])

    assert [(one.family, one.toolkit) for one in found] == ([] if need is None else [need])


@pytest.mark.parametrize("line", ["cuda: Optional[str] = '12.6'", "cuda = '12.6'"])
def test_what_torch_was_built_for_stands_in_its_files(tmp_path: Path, line: str) -> None:
    """PyPI's torch has no tag in its version."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/version.py").write_text(f"__version__ = '2.7.1'\ndebug = False\n{line}\nhip = None\n")

    assert needs_of([Distribution("torch", "2.7.1", [], str(tmp_path))]) == [CudaNeed(12, (12, 6), "torch 2.7.1")]


def test_the_tables() -> None:
    """Some of NVIDIA's numbers, and how versions are read."""
    assert family_floor(11, windows=True) == "452.39"
    assert family_floor(12, windows=False) == "525.60.13"
    assert family_floor(99, windows=False) is None
    assert toolkit_driver((12, 8), windows=False) == "570.26"
    assert toolkit_driver((13, 2), windows=True) is None
    assert parse_version("570.124.06") == (570, 124, 6)
    assert parse_version("nonsense") == ()
    assert windows_driver("31.0.15.5123") == "551.23"
    assert windows_driver("551.23") == "551.23"


@pytest.mark.parametrize(
    ("driver", "cuda", "package", "level"),
    [
        ("470.57.02", 11040, ("nvidia-cuda-runtime-cu12", "12.1.105"), "error"),
        ("451.48", 11000, ("nvidia-cuda-runtime-cu11", "11.8.89"), "warning"),
        ("440.33.01", 10020, ("nvidia-cuda-runtime-cu11", "11.8.89"), "error"),
        ("525.60.13", 12000, ("nvidia-cuda-runtime-cu12", "12.0.76"), "ok"),
        ("525.105.17", 12000, ("nvidia-cuda-runtime-cu12", "12.0.76"), "ok"),
        ("570.124.06", 12080, ("nvidia-cuda-runtime-cu12", "12.9.37"), "warning"),
        ("570.124.06", 12080, ("nvidia-cuda-runtime-cu12", "12.8.90"), "ok"),
        ("570.124.06", 12080, ("nvidia-cuda-runtime", "13.0.48"), "error"),
        ("610.43.02", 13030, ("nvidia-cuda-runtime-cu12", "12.8.90"), "ok"),
        ("610.43.02", 13030, ("cupy-cuda14x", "20.0"), "error"),
    ],
)
def test_a_driver_is_judged_by_the_family_and_then_by_the_toolkit(
    gpu_host: Host, driver: str, cuda: int, package: tuple[str, str], level: str
) -> None:
    """Below the family's floor nothing runs; below the toolkit's driver most does."""
    gpu_host.says(f"driver {driver}", f"cuda {cuda}", CARD)
    install(gpu_host, *package)

    finding = one(check_cuda(gpu_host.machine()), "cuda")

    assert finding.level == level
    assert driver in finding.found
    assert package[0] in finding.found
    assert bool(finding.do) == (level != "ok")


def test_a_forward_compatible_driver_may_stand_in(gpu_host: Host) -> None:
    """NVIDIA's own containers bring one: then it is a warning, for it works on some cards only."""
    gpu_host.says("driver 535.54.03", "cuda 12020", CARD)
    install(gpu_host, "nvidia-cuda-runtime", "13.0.48")
    gpu_host.write("/usr/local/cuda/compat/libcuda.so.1")

    finding = one(check_cuda(gpu_host.machine()), "cuda")

    assert finding.level == "warning"
    assert "/usr/local/cuda/compat" in finding.do


def test_under_windows_the_drivers_have_other_numbers(gpu_host: Host) -> None:
    """451.48 is new enough for CUDA 11 on Linux, and not on Windows."""
    gpu_host.says("driver 451.48", "cuda 11000", CARD)
    gpu_host.write("/proc/sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2\n")
    install(gpu_host, "nvidia-cuda-runtime-cu11", "11.1.74")

    finding = one(check_cuda(gpu_host.machine()), "cuda")

    assert finding.level == "error"
    assert "452.39" in finding.why


def test_a_card_that_cuda_13_left_out(gpu_host: Host) -> None:
    """A Pascal card beside an Ada card: builds for CUDA 13 run on one of them."""
    gpu_host.says("driver 580.65.06", "cuda 13000", CARD, f"gpu uuid=GPU-1 total={8 * GIB} cc=6.1 name=GTX 1080")
    install(gpu_host, "nvidia-cuda-runtime", "13.0.48")

    findings = check_cuda(gpu_host.machine())

    assert one(findings, "cuda").level == "ok"
    assert one(findings, "cuda.card").found.startswith("GTX 1080 is too old for CUDA 13")


def test_without_a_driver_packages_are_only_told_of(host: Host) -> None:
    """On a machine without a card that is no warning."""
    install(host, "nvidia-cuda-runtime-cu12", "12.8.90")

    assert one(check_cuda(host.machine()), "cuda").level == "info"

    host.card(driver=None)
    assert one(check_cuda(host.machine()), "cuda").level == "warning"


def test_the_old_pynvml_is_told_of(host: Host) -> None:
    """It overwrites NVIDIA's own module; from 12 on it is only a shell around it."""
    install(host, "pynvml", "12.0.0")
    assert check_pynvml(host.machine()) == []

    shutil.rmtree(host.root / "site")
    install(host, "pynvml", "11.4.1")
    assert one(check_pynvml(host.machine()), "pynvml").level == "warning"


def test_running_programs_are_looked_into(gpu_host: Host) -> None:
    """The file of cudart tells its toolkit; cublas counts its own versions, so it tells the family."""
    stat = " S 1 " + "0 " * 17 + "100 0 0\n"
    for pid, name, libraries in (
        (41, "ollama", ["/usr/lib/ollama/cuda_v12/libcudart.so.12.9.79", "/usr/lib/ollama/libcublas.so.12.9.1.4"]),
        (42, "whisper-server", ["/venv/nvidia/cublas/lib/libcublas.so.12", "/opt/libcudart-9a1b.so.11.8.89 (deleted)"]),
        (43, "bash", ["/usr/lib/libc.so.6"]),
    ):
        gpu_host.write(f"/proc/{pid}/stat", f"{pid} ({name}){stat}")
        gpu_host.write(f"/proc/{pid}/cmdline", f"/usr/bin/{name}\0")
        maps = "".join(f"7f00-7f01 r-xp 00000000 08:01 1234    {library}\n" for library in libraries)
        gpu_host.write(f"/proc/{pid}/maps", maps)

    needs = engine_needs(gpu_host.machine())

    assert set(needs) == {
        CudaNeed(12, (12, 9), "ollama (pid 41)"),
        CudaNeed(12, None, "whisper-server (pid 42)"),
        CudaNeed(11, (11, 8), "whisper-server (pid 42)"),
    }
    levels = [finding.level for finding in check_engines(gpu_host.machine())]
    assert levels == ["ok", "warning"]


def test_a_real_program_that_has_loaded_cuda_is_found(tmp_path: Path) -> None:
    """By what the kernel really says of a process of ours."""
    compiler = shutil.which("gcc")
    require_part(compiler is not None, "gcc, which compiles a library of CUDA's name")
    library = tmp_path / "libcudart.so.12.4.127"
    (tmp_path / "empty.c").write_text("int cudart;\n")
    command = [str(compiler), "-shared", "-fPIC", "-o", str(library), str(tmp_path / "empty.c")]
    subprocess.run(command, check=True)
    code = f"import ctypes, sys; ctypes.CDLL({str(library)!r}); print('loaded', flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "loaded\n"

        needs = engine_needs(Machine(ServeSettings(tmp_path)))

        assert [need.toolkit for need in needs if f"(pid {child.pid})" in need.what] == [(12, 4)]
    finally:
        child.communicate()
