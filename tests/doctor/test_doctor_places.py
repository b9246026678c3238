"""Where this runs: WSL, a container, which cards it sees, whose processes, whose clocks."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.conftest import require_part
from tests.doctor.conftest import CARD, GIB, Host, one

from cf_orch.sidecar.doctor.clocks import check_clock_source, check_clocks
from cf_orch.sidecar.doctor.processes import check_hidden_processes, check_pid_namespace, check_time_namespace
from cf_orch.sidecar.doctor.visible import check_container, check_cuda_visible, check_device_files
from cf_orch.sidecar.doctor.windows import check_wsl

WSL2 = "5.15.153.1-microsoft-standard-WSL2\n"
OTHER_CARD = f"gpu uuid=GPU-11aa total={16 * GIB} cc=8.9 name=NVIDIA L4"


def test_linux_is_no_wsl(host: Host) -> None:
    """Nothing is said of Windows where there is none."""
    assert check_wsl(host.machine()) == []


def test_wsl2_is_told_its_limits(host: Host) -> None:
    """What the driver does not tell there, and what to do."""
    host.write("/proc/sys/kernel/osrelease", WSL2)
    host.write("/dev/dxg")
    host.write("/usr/lib/wsl/lib/libcuda.so.1")
    host.link("/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1")

    findings = check_wsl(host.machine())

    assert [finding.id for finding in findings] == ["wsl"]
    assert findings[0].level == "warning"
    assert "names no process" in findings[0].why


def test_wsl2_without_windows_driver_or_with_linux_own(host: Host) -> None:
    """Both hide the one driver that works."""
    host.write("/proc/sys/kernel/osrelease", WSL2)
    host.write("/dev/dxg")
    host.write("/usr/lib/x86_64-linux-gnu/libcuda.so.1")

    missing, linux_own = [finding for finding in check_wsl(host.machine()) if finding.id == "wsl.driver"]

    assert missing.level == linux_own.level == "error"
    assert "/usr/lib/wsl/lib/libcuda.so.1" in missing.found
    assert "/usr/lib/x86_64-linux-gnu/libcuda.so.1" in linux_own.found


@pytest.mark.parametrize(("release", "advice"), [("4.4.0-19041-Microsoft\n", "set-version"), (WSL2, "wsl --update")])
def test_wsl_without_a_card(host: Host, release: str, advice: str) -> None:
    """WSL1 never has one, WSL2 needs a driver in Windows."""
    host.write("/proc/sys/kernel/osrelease", release)

    finding = one(check_wsl(host.machine()), "wsl")

    assert advice in finding.do


def test_a_container_that_was_given_its_cards(host: Host) -> None:
    """Their files are there."""
    host.write("/.dockerenv")
    host.write("/dev/nvidia0")
    host.environ["NVIDIA_VISIBLE_DEVICES"] = "all"

    finding = one(check_container(host.machine()), "container")

    assert finding.level == "ok"
    assert "docker container, NVIDIA_VISIBLE_DEVICES 'all', 1 card" in finding.found


@pytest.mark.parametrize(
    ("wanted", "level"), [("all", "error"), ("GPU-0", "error"), ("void", "info"), ("none", "info"), (None, "info")]
)
def test_a_container_without_cards(host: Host, wanted: str | None, level: str) -> None:
    """An error only where somebody asked for cards."""
    host.write("/run/.containerenv")
    if wanted is not None:
        host.environ["NVIDIA_VISIBLE_DEVICES"] = wanted

    finding = one(check_container(host.machine()), "container")

    assert finding.level == level
    assert "--gpus all" in finding.do


def test_outside_a_container_nothing_is_said_of_one(host: Host) -> None:
    """No sign of a container, no finding."""
    assert check_container(host.machine()) == []


def test_device_files_that_are_missing(host: Host) -> None:
    """Without nvidia-uvm NVML answers and CUDA does not."""
    assert check_device_files(host.machine()) == []

    host.write("/dev/nvidia0")
    host.write("/dev/nvidiactl")
    finding = one(check_device_files(host.machine()), "device_files")
    assert finding.level == "error"
    assert "/dev/nvidia-uvm" in finding.found

    host.write("/dev/nvidia-uvm")
    assert one(check_device_files(host.machine()), "device_files").level == "ok"


def test_device_files_that_may_not_be_opened(host: Host) -> None:
    """Seen as another user sees them: root may open everything."""
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        host.write(f"/dev/{name}").chmod(0o600)
    require_part(os.geteuid() == 0, "root, who can become somebody else")
    code = (
        "import os, sys, json; from pathlib import Path\n"
        "from cf_orch.sidecar.doctor.machine import Machine\n"
        "from cf_orch.sidecar.doctor.settings import ServeSettings\n"
        "from cf_orch.sidecar.doctor.visible import check_device_files\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "machine = Machine(ServeSettings(Path('/')), root=Path(sys.argv[1]))\n"
        "print(json.dumps([(one.level, one.found) for one in check_device_files(machine)]))\n"
    )
    for folder in (host.root, *host.root.parents):
        if folder.stat().st_uid == 0 and folder != Path("/") and "pytest" in str(folder):
            folder.chmod(0o755)

    answer = subprocess.run([sys.executable, "-c", code, str(host.root)], check=True, capture_output=True, text=True)

    [(level, found)] = json.loads(answer.stdout)
    assert level == "error"
    assert "/dev/nvidia0, /dev/nvidiactl, /dev/nvidia-uvm" in found


@pytest.mark.parametrize(
    ("value", "level", "word"),
    [
        (None, None, ""),
        ("", "warning", "hides all"),
        ("-1", "warning", "hides all"),
        ("GPU-11aa", "info", "GPU-11aa"),
        ("GPU-11", "info", "GPU-11"),
        ("GPU-ffff", "error", "no card here is GPU-ffff"),
        ("0,7", "error", "no card here is 7"),
        ("0,1", "warning", "by number"),
    ],
)
def test_the_variable_that_hides_cards(gpu_host: Host, value: str | None, level: str | None, word: str) -> None:
    """By number is unsure, by an unknown name is fatal."""
    gpu_host.says(CARD, OTHER_CARD)
    if value is not None:
        gpu_host.environ["CUDA_VISIBLE_DEVICES"] = value

    findings = check_cuda_visible(gpu_host.machine())

    assert [finding.level for finding in findings] == ([level] if level else [])
    assert all(word in finding.found for finding in findings)


def test_numbers_in_the_order_of_the_bus_are_sure(gpu_host: Host) -> None:
    """CUDA can be told to count as the driver does."""
    gpu_host.says(CARD, OTHER_CARD)
    gpu_host.environ |= {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    assert one(check_cuda_visible(gpu_host.machine()), "cuda_visible").level == "info"


def test_the_hosts_pid_namespace_is_told_from_others(host: Host) -> None:
    """By its number, which is the same on every Linux."""
    host.link("/proc/self/ns/pid", "pid:[4026531836]")
    assert one(check_pid_namespace(host.machine()), "pid_namespace").level == "ok"


@pytest.mark.parametrize(
    ("sign", "advice"), [("/.dockerenv", "--pid=host"), ("/run/.containerenv", "--pid=host"), (None, "outside")]
)
def test_a_namespace_of_its_own(host: Host, sign: str | None, advice: str) -> None:
    """The advice fits what it runs in."""
    host.link("/proc/self/ns/pid", "pid:[4026532999]")
    if sign is not None:
        host.write(sign)

    finding = one(check_pid_namespace(host.machine()), "pid_namespace")

    assert finding.level == "warning"
    assert advice in finding.do


def test_a_real_pid_namespace_is_noticed() -> None:
    """As the kernel really shows it."""
    unshare = shutil.which("unshare")
    command = [str(unshare), "--pid", "--fork", "--mount-proc"]
    can = unshare is not None and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    require_part(can, "the right to make a pid namespace")
    code = (
        "from pathlib import Path; from cf_orch.sidecar.doctor.machine import Machine\n"
        "from cf_orch.sidecar.doctor.settings import ServeSettings\n"
        "from cf_orch.sidecar.doctor.processes import check_pid_namespace\n"
        "print(check_pid_namespace(Machine(ServeSettings(Path('/'))))[0].level)\n"
    )

    answer = subprocess.run([*command, sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert answer.stdout.strip() == "warning"


@pytest.mark.parametrize(("options", "told"), [("rw,hidepid=invisible", True), ("rw,hidepid=2", True), ("rw", False)])
def test_processes_that_proc_hides(host: Host, options: str, told: bool) -> None:  # noqa: FBT001 - a parameter of the case
    """A mount with hidepid shows one's own only."""
    host.write("/proc/self/mounts", f"sysfs /sys sysfs rw 0 0\nproc /proc proc {options},nosuid 0 0\n")

    assert [finding.level for finding in check_hidden_processes(host.machine())] == ["warning"] * told


def test_a_time_namespace_shifts_when_processes_began(host: Host) -> None:
    """Only a shift of the boot time matters."""
    host.write("/proc/self/timens_offsets", "monotonic           0         0\nboottime            0         0\n")
    assert check_time_namespace(host.machine()) == []

    host.write("/proc/self/timens_offsets", "monotonic           0         0\nboottime        -3600         0\n")
    assert "-3600 s" in one(check_time_namespace(host.machine()), "time_namespace").found


@pytest.mark.parametrize(
    ("ahead_s", "level", "word"),
    [(0.0, "ok", "agree"), (7261.0, "info", "2 h 1 min"), (30.0, "info", "30 s"), (-90.0, "error", "90 s behind")],
)
def test_a_machine_that_slept(host: Host, ahead_s: float, level: str, word: str) -> None:
    """The machine's own clocks, one of them moved."""

    def read(clock: int) -> float:
        return time.clock_gettime(clock) + (ahead_s if clock == time.CLOCK_BOOTTIME else 0.0)

    real_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    require_part(real_s < 1.0, "a machine that has not slept")

    finding = one(check_clocks(host.machine(read_clock=read)), "clocks")

    assert finding.level == level
    assert word in finding.found


@pytest.mark.parametrize(("source", "told"), [("tsc", False), ("kvm-clock", False), ("hpet", True)])
def test_a_slow_clock(host: Host, source: str, told: bool) -> None:  # noqa: FBT001 - a parameter of the case
    """Something to know."""
    host.write("/sys/devices/system/clocksource/clocksource0/current_clocksource", f"{source}\n")

    assert [finding.level for finding in check_clock_source(host.machine())] == ["info"] * told
