"""The host itself: its identity, and a budget of its RAM as a device for inference on the CPU."""

import socket
from collections.abc import Callable, Iterable

import msgspec

from cf_orch.gpus.processes import ProcFs
from cf_orch.gpus.samples import DeviceSample, GpuProcess

__all__ = ["HostIdentity", "HostMemoryReader", "host_identity"]


class HostIdentity(msgspec.Struct, frozen=True):
    """Which machine this is: the kernel's boot id, the same in all its containers, and a name to show."""

    host_id: str
    host_name: str


def host_identity(procfs: ProcFs | None = None) -> HostIdentity:
    """The host that this process runs on. OSError where the kernel has no boot id (not Linux)."""
    root = (procfs or ProcFs()).root
    boot_id = (root / "sys/kernel/random/boot_id").read_text().strip()
    return HostIdentity(boot_id, socket.gethostname())


class HostMemoryReader:
    """Samples a budget of this host's RAM as one device.

    `pids` gives (pid, start ticks or None) of every process attached to a lease on it. Used is the PSS of their
    trees (what a child holds counts for its nearest attached parent); free is what is left of the budget, at most
    the kernel's MemAvailable. Reading blocks for milliseconds a process: the kernel walks its pages.
    """

    def __init__(
        self,
        vram_bytes: int,
        pids: Callable[[], Iterable[tuple[int, int | None]]],
        *,
        procfs: ProcFs | None = None,
        identity: HostIdentity | None = None,
    ) -> None:
        self._vram_bytes = vram_bytes
        self._pids = pids
        self._procfs = procfs or ProcFs()
        self._identity = identity or host_identity(self._procfs)

    def read(self) -> list[DeviceSample]:
        """The one sample; its `error` is set if the kernel does not tell, or has less than the budget."""
        total = self._procfs.field_bytes("meminfo", "MemTotal:")
        available = self._procfs.field_bytes("meminfo", "MemAvailable:")
        if total is None or available is None:
            return [self._sample(error=f"{self._procfs.root / 'meminfo'} does not tell MemTotal and MemAvailable")]
        if self._vram_bytes > total:
            asked, has = self._vram_bytes / 2**30, total / 2**30
            return [self._sample(error=f"vram_gb={asked:g} of host RAM, but the host has only {has:.1f} GB")]
        trees = self._procfs.tree_pss_bytes(self._pids())
        used = sum(trees.values())
        return [
            self._sample(
                total_bytes=self._vram_bytes,
                used_bytes=used,
                free_bytes=max(0, min(self._vram_bytes - used, available)),
                processes=tuple(self._process(pid, pss) for pid, pss in sorted(trees.items())),
            )
        ]

    def _process(self, pid: int, pss_bytes: int) -> GpuProcess:
        procfs = self._procfs
        name = procfs.name(pid) or f"pid {pid}"
        return GpuProcess(pid, procfs.start_ticks(pid), name, pss_bytes, procfs.ancestors(pid))

    def _sample(
        self,
        *,
        total_bytes: int | None = None,
        used_bytes: int | None = None,
        free_bytes: int | None = None,
        processes: tuple[GpuProcess, ...] = (),
        error: str | None = None,
    ) -> DeviceSample:
        return DeviceSample(
            uuid=f"HOST-{self._identity.host_id}",
            name=f"RAM of {self._identity.host_name}",
            kind="host",
            total_bytes=total_bytes,
            used_bytes=used_bytes,
            free_bytes=free_bytes,
            processes=processes,
            error=error,
        )
