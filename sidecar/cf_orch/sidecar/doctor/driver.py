"""What the NVIDIA driver says; run as a program, for a driver that is ill may hold its caller for ever.

    python -m cf_orch.sidecar.doctor.driver

prints one DriverReport as JSON.  It asks NVML alone: CUDA is never started.
"""

import contextlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from cf_orch.gpus.nvml import NvmlReader, NvmlUnavailable

__all__ = ["DriverDevice", "DriverReport", "ask_driver"]

LIBRARY = "libnvidia-ml.so"


class DriverDevice(msgspec.Struct, frozen=True):
    """One card, or one of its MIG instances."""

    uuid: str | None
    name: str
    index: int | None
    total_bytes: int | None
    compute_capability: tuple[int, int] | None
    error: str | None
    is_wddm: bool
    processes: int


class DriverReport(msgspec.Struct, frozen=True):
    """The driver's own account, or in ``error`` (with NVML's number) why there is none.

    ``cuda`` is the newest CUDA that the driver runs, 12080 for 12.8; ``library`` is the file that was loaded;
    ``is_silent``: it gave no answer at all.
    """

    error: str | None
    code: int | None
    driver: str | None
    library: str | None
    cuda: int | None
    devices: list[DriverDevice]
    is_silent: bool = False


def ask_driver() -> DriverReport:
    """Ask NVML in this process; blocks for as long as the driver does."""
    reader = NvmlReader()
    try:
        samples = reader.read()
    except NvmlUnavailable as missing:
        return DriverReport(str(missing), missing.code, None, _loaded_library(), None, [])
    nvml = importlib.import_module("pynvml")
    try:
        return DriverReport(
            error=None,
            code=None,
            driver=_asked(nvml, nvml.nvmlSystemGetDriverVersion),
            library=_loaded_library(),
            cuda=_asked(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2),
            devices=[
                DriverDevice(
                    uuid=sample.uuid,
                    name=sample.name,
                    index=sample.index,
                    total_bytes=sample.total_bytes,
                    compute_capability=sample.compute_capability,
                    error=sample.error,
                    is_wddm=_is_wddm(nvml, sample.index),
                    processes=len(sample.processes),
                )
                for sample in samples
            ],
        )
    finally:
        reader.close()


def _is_wddm(nvml: Any, index: int | None) -> bool:
    def current_model() -> int:
        return int(nvml.nvmlDeviceGetCurrentDriverModel(nvml.nvmlDeviceGetHandleByIndex(index)))

    return index is not None and _asked(nvml, current_model) == nvml.NVML_DRIVER_WDDM


def _asked(nvml: Any, call: Callable[[], Any]) -> Any:
    """What a call answers, None where this driver or device does not tell."""
    with contextlib.suppress(nvml.NVMLError):
        return call()
    return None


def _loaded_library() -> str | None:
    """The driver library's file in this process; its name ends in its version."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/maps").read_text().splitlines():
            if LIBRARY in line:
                return line.split(maxsplit=5)[-1]
    return None


if __name__ == "__main__":
    print(msgspec.json.encode(ask_driver()).decode())
