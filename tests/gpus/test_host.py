"""A budget of the host's RAM as a device, with real processes and on a made-up /proc."""

import os
import socket
from pathlib import Path

import pytest
from tests.gpus.conftest import GIB, FakeProc, Holder

from cf_orch.gpus import DeviceSample, GpuProcess, HostIdentity, HostMemoryReader, ProcFs, host_identity

MIB = 2**20
HOST = HostIdentity("boot-1", "kiwi-host")


def made_up(proc: FakeProc, vram_bytes: int, *pids: tuple[int, int | None]) -> DeviceSample:
    """The one sample of a budget on a made-up host with 8 GiB of RAM, 2 of them available."""
    if not (proc.root / "meminfo").exists():
        proc.write("meminfo", f"MemTotal: {8 << 20} kB\nMemAvailable: {2 << 20} kB\nHugePages_Total: 0\n")
    (sample,) = HostMemoryReader(vram_bytes, lambda: pids, procfs=ProcFs(proc.root), identity=HOST).read()
    return sample


def test_host_is_its_boot_id() -> None:
    """A host is known by the kernel's boot id and shown by its name."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    assert host_identity() == HostIdentity(boot_id, socket.gethostname())


def test_host_without_a_boot_id_is_an_error(proc: FakeProc) -> None:
    """Where the kernel tells no boot id nothing is made up."""
    with pytest.raises(FileNotFoundError, match="boot_id"):
        host_identity(ProcFs(proc.root))


def test_sample_of_a_budget(proc: FakeProc) -> None:
    """Used is what the attached trees hold, each named by its root; free is the rest of the budget."""
    proc.add(10, start=50, argv=("llama-server",), pss_kib=300 << 10)
    proc.add(11, parent=10, start=51, pss_kib=200 << 10)
    proc.add(12, parent=11, start=52, argv=("python", "whisper.py"), pss_kib=100 << 10)
    proc.add(99, pss_kib=4 << 20)

    assert made_up(proc, GIB, (12, 52), (10, 50)) == DeviceSample(
        uuid="HOST-boot-1",
        name="RAM of kiwi-host",
        kind="host",
        total_bytes=GIB,
        used_bytes=600 * MIB,
        free_bytes=424 * MIB,
        processes=(
            GpuProcess(10, 50, "llama-server", 500 * MIB),
            GpuProcess(12, 52, "python whisper.py", 100 * MIB, ((11, 51), (10, 50))),
        ),
    )


def test_free_is_bounded_by_what_the_kernel_has(proc: FakeProc) -> None:
    """A budget that others have eaten is not free, whatever the budget says."""
    assert made_up(proc, 6 * GIB).free_bytes == 2 * GIB


def test_budget_overdrawn_has_nothing_free(proc: FakeProc) -> None:
    """Trees that hold more than the budget leave 0, not less."""
    proc.add(10, pss_kib=2 << 20)

    sample = made_up(proc, GIB, (10, None))

    assert (sample.used_bytes, sample.free_bytes) == (2 * GIB, 0)


def test_process_that_is_gone_uses_nothing(proc: FakeProc) -> None:
    """A dead process, or another one with its pid, is no process of the device."""
    proc.add(10, start=50, pss_kib=1)

    sample = made_up(proc, GIB, (10, 49), (11, None))

    assert (sample.used_bytes, sample.processes) == (0, ())


def test_budget_larger_than_the_host_is_an_error(proc: FakeProc) -> None:
    """More than there is cannot be leased: both numbers are told."""
    sample = made_up(proc, 16 * GIB)

    assert sample.error == "vram_gb=16 of host RAM, but the host has only 8.0 GB"
    assert (sample.total_bytes, sample.free_bytes) == (None, None)


@pytest.mark.parametrize("meminfo", [None, "MemTotal: 1 kB\n", "MemTotal: much kB\n", "MemTotal:\n"])
def test_unreadable_memory_is_an_error(proc: FakeProc, meminfo: str | None) -> None:
    """A kernel that does not tell its memory gives a sample with the reason and no numbers."""
    if meminfo is not None:
        proc.write("meminfo", meminfo)
    (sample,) = HostMemoryReader(GIB, lambda: (), procfs=ProcFs(proc.root), identity=HOST).read()

    assert sample.error == f"{proc.root}/meminfo does not tell MemTotal and MemAvailable"
    assert (sample.uuid, sample.total_bytes, sample.used_bytes) == ("HOST-boot-1", None, None)


def test_real_processes(holder: Holder) -> None:
    """On the real /proc, what a child process allocates shows as used, and is gone from free."""
    pid, (child,) = holder(50, 30)
    attached: list[tuple[int, int | None]] = []
    reader = HostMemoryReader(GIB, lambda: attached)
    (before,) = reader.read()

    attached.append((pid, ProcFs().start_ticks(pid)))
    (after,) = reader.read()

    assert (before.used_bytes, before.free_bytes, before.processes) == (0, GIB, ())
    assert after.used_bytes is not None
    assert 80 * MIB <= after.used_bytes < 120 * MIB
    assert after.free_bytes == GIB - after.used_bytes
    (process,) = after.processes
    assert (process.pid, process.used_bytes) == (pid, after.used_bytes)
    assert process.ancestors[0][0] == os.getpid()
    assert child not in {process.pid for process in after.processes}
    assert after.uuid == f"HOST-{host_identity().host_id}"
