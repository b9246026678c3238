"""The observer: looks at the devices of its host and says what it sees in the words of the wire."""

from collections.abc import Iterable
from itertools import count
from typing import Protocol

from cf_orch.gpus import (
    DeclaredReader,
    DeviceSample,
    DeviceSpec,
    HostIdentity,
    HostMemoryReader,
    NvmlReader,
    NvmlUnavailable,
)
from cf_orch.protocol.messages import DeviceReportItem, DeviceReportRequest, ProcessItem

__all__ = ["DEFAULT_RESERVE_BYTES", "Observer"]

DEFAULT_RESERVE_BYTES = 512 * 2**20
"""What is left for the desktop and for the driver's own needs on a card; nothing on a device without a driver."""

Pid = tuple[int, int | None]


class Reader(Protocol):
    """One source of samples; reading may block."""

    def read(self) -> list[DeviceSample]: ...


class Observer:
    """Looks at NVIDIA cards, where the driver is there, and at what was declared.

    ``attached_pids`` are the processes whose memory counts on the host's RAM; whoever looks sets them before.
    ``missing_driver`` says, after a look, why no NVIDIA card could be asked.
    """

    def __init__(
        self,
        identity: HostIdentity,
        specs: Iterable[DeviceSpec] = (),
        *,
        reserve_bytes: dict[str, int] | None = None,
        nvidia: NvmlReader | None = None,
    ) -> None:
        """Make an observer; ``reserve_bytes`` overrides the reserve of devices by UUID."""
        specs = list(specs)
        self._identity = identity
        self._nvidia = nvidia or NvmlReader()
        self._reserve_bytes = reserve_bytes or {}
        self._declared_reserves = [spec.reserve_bytes or 0 for spec in specs if spec.kind == "declared"]
        self._host_reserve = next((spec.reserve_bytes or 0 for spec in specs if spec.kind == "host"), 0)
        self._declared = DeclaredReader(specs, identity.host_id)
        self._hosts: list[Reader] = [
            HostMemoryReader(spec.vram_bytes, lambda: self.attached_pids, identity=identity)
            for spec in specs
            if spec.kind == "host"
        ]
        self.attached_pids: tuple[Pid, ...] = ()
        self.missing_driver: str | None = None

    @property
    def host_id(self) -> str:
        """Whose devices these are."""
        return self._identity.host_id

    def look(self) -> DeviceReportRequest:
        """Look at every device once; blocks for milliseconds."""
        nvidia = self._read_nvidia()
        numbers = count(1 + max((sample.index for sample in nvidia if sample.index is not None), default=-1))
        items = [self._item(sample, sample.index, DEFAULT_RESERVE_BYTES) for sample in nvidia]
        for sample, reserve in zip(self._declared.read(), self._declared_reserves, strict=True):
            items.append(self._item(sample, next(numbers), reserve))
        for reader in self._hosts:
            items += [self._item(sample, next(numbers), self._host_reserve) for sample in reader.read()]
        return DeviceReportRequest(
            host_id=self._identity.host_id,
            host_name=self._identity.host_name,
            devices=[item for item in items if item is not None],
        )

    def _read_nvidia(self) -> list[DeviceSample]:
        try:
            samples = self._nvidia.read()
        except NvmlUnavailable as missing:
            self.missing_driver = str(missing)
            return []
        self.missing_driver = None
        return samples

    def _item(self, sample: DeviceSample, index: int | None, reserve_bytes: int) -> DeviceReportItem | None:
        if sample.uuid is None:  # it has never said who it is
            return None
        return DeviceReportItem(
            uuid=sample.uuid,
            name=sample.name,
            index=index or 0,
            total_bytes=sample.total_bytes or 0,
            reserve_bytes=self._reserve_bytes.get(sample.uuid, reserve_bytes),
            has_driver=sample.kind != "declared",
            capabilities=list(sample.capabilities),
            used_bytes=sample.used_bytes,
            free_bytes=sample.free_bytes,
            error=sample.error,
            processes=[
                ProcessItem(
                    pid=process.pid,
                    pid_start=process.pid_start,
                    name=process.name,
                    used_bytes=process.used_bytes,
                    ancestors=list(process.ancestors),
                )
                for process in sample.processes
            ],
        )
