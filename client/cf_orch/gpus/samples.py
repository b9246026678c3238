"""What an observer of devices sees at one moment. A number that nobody could tell is None, never 0."""

from typing import Literal

import msgspec

__all__ = ["DeviceKind", "DeviceSample", "GpuProcess"]

DeviceKind = Literal["nvidia", "host", "declared"]


class GpuProcess(msgspec.Struct, frozen=True):
    """One process that holds memory of a device."""

    #: as the driver knows it: no pid of ours if we run in a pid namespace of our own
    pid: int
    #: start in clock ticks since boot (field 22 of /proc/PID/stat); with the pid it names a process for good
    pid_start: int | None
    name: str
    used_bytes: int | None
    #: (pid, pid_start) of its parents, nearest first, without pid 1: a child counts for its parent's lease
    ancestors: tuple[tuple[int, int], ...] = ()


class DeviceSample(msgspec.Struct, frozen=True, kw_only=True):
    """One device at one moment: its memory, who holds it, or why that cannot be told.

    With `error` set every number is None. No process named does not mean that nobody is there: where the
    driver keeps its list to itself (WSL2, some containers) only `used_bytes` tells.
    """

    #: hardware UUID; None only for a card that has answered nothing since the observer began
    uuid: str | None
    name: str
    kind: DeviceKind
    #: nvidia-smi's number of the card, which its MIG instances share; None for what has no driver
    index: int | None = None
    total_bytes: int | None = None
    used_bytes: int | None = None
    free_bytes: int | None = None
    #: as a slot's `requires` names them, sorted
    capabilities: tuple[str, ...] = ()
    compute_capability: tuple[int, int] | None = None
    processes: tuple[GpuProcess, ...] = ()
    error: str | None = None
