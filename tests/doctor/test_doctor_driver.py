"""The driver: there or not, whole or torn, and what its cards say; the real pynvml in the real child process."""

import shutil
import time
from pathlib import Path

import pytest
from tests.doctor.conftest import CARD, GIB, Host, one

from cf_orch.sidecar.doctor.nvidia import check_amd, check_driver, check_mismatch
from cf_orch.sidecar.doctor.windows import check_wddm

KERNEL = "NVRM version: NVIDIA UNIX {flavour}  {version}  Wed Feb  5 21:51:47 UTC 2025\nGCC version:  gcc 13\n"


def test_a_machine_without_a_card_is_told_what_it_can_share(host: Host) -> None:
    """No library, no card: something to know, not something wrong."""
    finding = one(check_driver(host.machine()), "driver")

    assert finding.level == "info"
    assert "libnvidia-ml.so.1 is not found" in finding.found
    assert "--device" in finding.do


def test_a_card_whose_driver_is_not_loaded_is_an_error(host: Host, driver_library: Path) -> None:
    """The hardware is there, so its driver should be."""
    host.card(driver=None)
    host.use_library(driver_library)

    finding = one(check_driver(host.machine()), "driver")

    assert finding.level == "error"
    assert "not loaded" in finding.found
    assert "modprobe nvidia" in finding.do


@pytest.mark.parametrize(("taker", "advice"), [("nouveau", "blacklist"), ("vfio-pci", "virtual machine")])
def test_a_card_that_another_driver_has_is_an_error(host: Host, taker: str, advice: str) -> None:
    """It says whose it is and how to get it."""
    host.card(driver=taker)

    finding = one(check_driver(host.machine()), "driver")

    assert finding.level == "error"
    assert taker in finding.why or taker in finding.do or advice in finding.do
    assert advice in finding.do


def test_a_well_card_is_shown_with_its_size(gpu_host: Host) -> None:
    """The driver's version, the CUDA it runs, and the card."""
    findings = check_driver(gpu_host.machine())

    assert one(findings, "driver").level == "ok"
    assert one(findings, "driver").found == "NVIDIA driver 570.124.06, CUDA 12.8"
    card = one(findings, "driver.card").found
    assert card == "NVIDIA GeForce RTX 4090 (GPU-0): 24 GB, compute capability 8.9, 0 programs on it"


def test_a_lost_card_does_not_hide_the_other(gpu_host: Host) -> None:
    """Each card is told of by itself."""
    gpu_host.says(CARD, f"gpu uuid=GPU-1 total={16 * GIB} lost=1 name=NVIDIA L4")

    findings = check_driver(gpu_host.machine())

    assert [finding.level for finding in findings if finding.id == "driver.card"] == ["ok", "error"]
    assert "lost" in findings[-1].found
    assert "Xid" in findings[-1].do


def test_an_upgraded_driver_is_told_to_reboot(gpu_host: Host) -> None:
    """Error 18 of NVML."""
    gpu_host.says(CARD, "fail nvmlInitWithFlags 18", "fail nvmlInit_v2 18")

    finding = one(check_driver(gpu_host.machine()), "driver")

    assert finding.level == "error"
    assert "version mismatch" in finding.found
    assert "reboot" in finding.do


def test_a_driver_that_hangs_is_left_behind(gpu_host: Host) -> None:
    """The child process is given up after its time."""
    gpu_host.says(CARD, "delay nvmlDeviceGetCount_v2 60000")
    began = time.monotonic()

    finding = one(check_driver(gpu_host.machine(child_within_s=0.7)), "driver")

    assert finding.level == "error"
    assert "no answer within 0.7 s" in finding.found
    assert time.monotonic() - began < 5.0


def test_a_driver_without_cards_is_a_warning(gpu_host: Host) -> None:
    """It answers, and there is nothing to share."""
    gpu_host.says("driver 570.124.06")

    assert one(check_driver(gpu_host.machine()), "driver").level == "warning"


@pytest.mark.parametrize("flavour", ["x86_64 Kernel Module", "Open Kernel Module for x86_64"])
def test_a_library_of_another_version_than_the_kernels_module(gpu_host: Host, flavour: str, tmp_path: Path) -> None:
    """The library's version is read off the file that was really loaded, the module's off the kernel."""
    folder = tmp_path / "lib"
    folder.mkdir()
    shutil.copy(Path(gpu_host.environ["LD_LIBRARY_PATH"]) / "libnvidia-ml.so.1", folder / "libnvidia-ml.so.570.124.06")
    (folder / "libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.570.124.06")
    gpu_host.use_library(folder / "libnvidia-ml.so.1")
    gpu_host.write("/proc/driver/nvidia/version", KERNEL.format(flavour=flavour, version="550.54.14"))

    finding = one(check_mismatch(gpu_host.machine()), "mismatch")

    assert finding.level == "error"
    assert "kernel module 550.54.14, but library 570.124.06" in finding.found

    gpu_host.write("/proc/driver/nvidia/version", KERNEL.format(flavour=flavour, version="570.124.06"))
    assert check_mismatch(gpu_host.machine()) == []


def test_wddm_is_told_of_where_the_driver_says_so(gpu_host: Host, wddm_library: Path) -> None:
    """Not supported is no WDDM; 0 is."""
    assert check_wddm(gpu_host.machine()) == []

    gpu_host.use_library(wddm_library)

    finding = one(check_wddm(gpu_host.machine()), "wddm")
    assert finding.level == "warning"
    assert "RTX 4090" in finding.found
    assert "no hard bound" in finding.why


def test_an_amd_card_without_kfd(host: Host) -> None:
    """Its memory is shown by the kernel; programs that compute on it need more."""
    host.write("/sys/class/drm/card1/device/mem_info_vram_total", f"{16 * GIB}\n")
    host.write("/sys/class/drm/card1-DP-1/status", "connected\n")

    findings = check_amd(host.machine())

    assert one(findings, "amd").found == "AMD: card1 16 GB"
    assert one(findings, "amd.kfd").level == "warning"

    host.write("/dev/kfd")
    assert [finding.id for finding in check_amd(host.machine())] == ["amd"]
