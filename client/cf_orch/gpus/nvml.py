"""NVIDIA devices, as their driver's library (NVML) reports them."""

import contextlib
import dataclasses
import enum
import importlib
from typing import Any

from cf_orch.gpus.processes import ProcFs
from cf_orch.gpus.profiles import capabilities_of
from cf_orch.gpus.samples import DeviceSample, GpuProcess

__all__ = ["NvmlReader", "NvmlUnavailable"]


class _Code(enum.IntEnum):
    UNINITIALIZED = 1
    INVALID_ARGUMENT = 2
    NOT_SUPPORTED = 3
    NO_PERMISSION = 4
    NOT_FOUND = 6
    DRIVER_NOT_LOADED = 9
    LIBRARY_NOT_FOUND = 12
    FUNCTION_NOT_FOUND = 13
    GPU_IS_LOST = 15
    RESET_REQUIRED = 16
    LIB_RM_VERSION_MISMATCH = 18
    ARGUMENT_VERSION_MISMATCH = 25


_ADVICE: dict[int, str] = {
    _Code.NOT_SUPPORTED: (
        "the driver does not report this device's memory (unified with the host's?): "
        "lease a budget of the host's memory instead, --device host,vram_gb=N"
    ),
    _Code.NO_PERMISSION: (
        "no permission to ask the driver: check the mode of /dev/nvidia* and, in a container, its devices"
    ),
    _Code.DRIVER_NOT_LOADED: (
        "the NVIDIA driver is not loaded: run nvidia-smi; if it fails too, `modprobe nvidia` or reboot"
    ),
    _Code.LIBRARY_NOT_FOUND: (
        "the NVIDIA driver library libnvidia-ml.so.1 is not found: install the driver, "
        "or start the container with access to the GPUs (docker run --gpus all)"
    ),
    _Code.GPU_IS_LOST: "the GPU is lost (fell off the bus): look for Xid in the kernel log, then reboot",
    _Code.RESET_REQUIRED: (
        "the GPU must be reset: stop every program that uses it, this one too, then `nvidia-smi --gpu-reset` or reboot"
    ),
    _Code.LIB_RM_VERSION_MISMATCH: (
        "the NVIDIA driver was upgraded while its old kernel module runs (version mismatch): reboot"
    ),
}
# These speak of the driver, whichever call they come from; any other error of a device is its own.
_DRIVER_GONE = frozenset(
    {
        _Code.UNINITIALIZED,
        _Code.DRIVER_NOT_LOADED,
        _Code.LIBRARY_NOT_FOUND,
        _Code.LIB_RM_VERSION_MISMATCH,
    }
)
_NO_MEMORY_V2 = frozenset(
    {
        _Code.INVALID_ARGUMENT,
        _Code.NOT_SUPPORTED,
        _Code.FUNCTION_NOT_FOUND,
        _Code.ARGUMENT_VERSION_MISMATCH,
    }
)
_NOT_OFFERED = frozenset({_Code.NOT_SUPPORTED, _Code.FUNCTION_NOT_FOUND})
# Who may not see the others' processes still sees the memory.
_LIST_WITHHELD = _NOT_OFFERED | {_Code.INVALID_ARGUMENT, _Code.NO_PERMISSION}
# The versioned names: the plain ones turn "function not found" into an error that is no NVMLError.
_PROCESS_LISTS = (
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
)


class NvmlUnavailable(Exception):  # noqa: N818 - the state it names is no error on a host without NVIDIA devices
    """NVML cannot be asked at all; `code` is its error number, None if the Python module is missing."""

    def __init__(self, message: str, code: int | None) -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True, slots=True)
class _Device:
    """A card, or one of its MIG instances, that has told who it is."""

    uuid: str
    name: str
    index: int
    compute_capability: tuple[int, int] | None
    handle: Any


class NvmlReader:
    """Reads every NVIDIA device of this host; a card in MIG mode is replaced by its instances.

    `nvml` is the module `pynvml` (imported at the first read if not given). Calls block, for seconds on an ill
    driver, and must not overlap: run them in a thread, one after the other.
    """

    def __init__(self, nvml: Any = None, procfs: ProcFs | None = None) -> None:
        self._nvml = nvml
        self._procfs = procfs or ProcFs()
        self._initialised = False
        self._known: dict[int, list[_Device]] = {}

    def read(self) -> list[DeviceSample]:
        """One sample a device, in the driver's order; a device that cannot be read has its `error` set.

        Raises NvmlUnavailable if the driver cannot be asked. The next call begins anew: a driver that is back
        is found.
        """
        self._initialise()
        try:
            count = self._nvml.nvmlDeviceGetCount()
            return [sample for index in range(count) for sample in self._read_card(index)]
        except self._nvml.NVMLError as error:
            self.close()
            raise NvmlUnavailable(_explain(error), error.value) from error

    def close(self) -> None:
        """Let go of the driver; a later read takes hold of it again."""
        if self._initialised:
            self._initialised = False
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()

    def _initialise(self) -> None:
        if self._initialised:
            return
        if self._nvml is None:
            self._nvml = _import_pynvml()
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise NvmlUnavailable(_explain(error), error.value) from error
        self._initialised = True

    def _read_card(self, index: int) -> list[DeviceSample]:
        try:
            devices = self._devices(index)
        except self._nvml.NVMLError as error:
            text = self._device_error(error)
            known = self._known.get(index)
            if known is None:
                return [DeviceSample(uuid=None, name=f"GPU {index}", kind="nvidia", index=index, error=text)]
            return [_unreadable(device, text) for device in known]
        self._known[index] = devices
        return [self._sample(device) for device in devices]

    def _devices(self, index: int) -> list[_Device]:
        """The card of this number, or its MIG instances; no device at all for a MIG card that has none."""
        nvml = self._nvml
        card = nvml.nvmlDeviceGetHandleByIndex(index)
        name = nvml.nvmlDeviceGetName(card)
        capability = self._offered(nvml.nvmlDeviceGetCudaComputeCapability, card)
        mig_mode = self._offered(nvml.nvmlDeviceGetMigMode, card)
        if mig_mode is None or mig_mode[0] == 0:
            return [_Device(nvml.nvmlDeviceGetUUID(card), name, index, capability, card)]
        return [
            _Device(
                nvml.nvmlDeviceGetUUID(instance),
                self._offered(nvml.nvmlDeviceGetName, instance) or f"{name} MIG",
                index,
                capability,
                instance,
            )
            for instance in self._mig_instances(card)
        ]

    def _mig_instances(self, card: Any) -> list[Any]:
        instances = []
        for slot in range(self._nvml.nvmlDeviceGetMaxMigDeviceCount(card)):
            try:
                instances.append(self._nvml.nvmlDeviceGetMigDeviceHandleByIndex(card, slot))
            except self._nvml.NVMLError as error:
                if error.value != _Code.NOT_FOUND:  # an empty slot
                    raise
        return instances

    def _sample(self, device: _Device) -> DeviceSample:
        try:
            memory = self._memory(device.handle)
            processes = self._processes(device.handle)
        except self._nvml.NVMLError as error:
            return _unreadable(device, self._device_error(error))
        if not memory.total:
            return _unreadable(device, _ADVICE[_Code.NOT_SUPPORTED])
        return DeviceSample(
            uuid=device.uuid,
            name=device.name,
            kind="nvidia",
            index=device.index,
            total_bytes=memory.total,
            # Not `used`: releases differ in whether it holds what the driver keeps for itself.
            used_bytes=memory.total - memory.free,
            free_bytes=memory.free,
            capabilities=_capabilities(device),
            compute_capability=device.compute_capability,
            processes=processes,
        )

    def _memory(self, handle: Any) -> Any:
        try:
            return self._nvml.nvmlDeviceGetMemoryInfo(handle, version=self._nvml.nvmlMemory_v2)
        except self._nvml.NVMLError as error:
            if error.value not in _NO_MEMORY_V2:
                raise
        return self._nvml.nvmlDeviceGetMemoryInfo(handle)

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...]:
        """Everyone whom one of the three lists names; who stands in two holds the larger number."""
        used_by_pid: dict[int, int | None] = {}
        for name in _PROCESS_LISTS:
            for process in self._offered(getattr(self._nvml, name), handle, _LIST_WITHHELD) or ():
                sizes = (used_by_pid.get(process.pid), process.usedGpuMemory)
                used_by_pid[process.pid] = max((size for size in sizes if size is not None), default=None)
        return tuple(self._process(pid, used) for pid, used in sorted(used_by_pid.items()))

    def _process(self, pid: int, used_bytes: int | None) -> GpuProcess:
        procfs = self._procfs
        name = procfs.name(pid) or f"pid {pid}"
        return GpuProcess(pid, procfs.start_ticks(pid), name, used_bytes, procfs.ancestors(pid))

    def _offered(self, call: Any, handle: Any, refusals: frozenset[_Code] = _NOT_OFFERED) -> Any:
        """What the call answers, or None where this device or driver does not offer it."""
        try:
            return call(handle)
        except self._nvml.NVMLError as error:
            if error.value in refusals:
                return None
            raise

    def _device_error(self, error: Any) -> str:
        if error.value in _DRIVER_GONE:
            raise error
        return _explain(error)


def _capabilities(device: _Device) -> tuple[str, ...]:
    return tuple(sorted(capabilities_of(device.compute_capability))) if device.compute_capability else ()


def _unreadable(device: _Device, error: str) -> DeviceSample:
    return DeviceSample(
        uuid=device.uuid,
        name=device.name,
        kind="nvidia",
        index=device.index,
        capabilities=_capabilities(device),
        compute_capability=device.compute_capability,
        error=error,
    )


def _explain(error: Any) -> str:
    return f"{_ADVICE.get(error.value, 'the NVIDIA driver failed')} (NVML error {error.value}: {error})"


def _import_pynvml() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        message = "the Python module pynvml is missing: pip install nvidia-ml-py"
        raise NvmlUnavailable(message, None) from error
