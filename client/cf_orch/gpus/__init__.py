"""Devices and what they can do: profiles by name, readers of NVIDIA, host and declared devices, sizes of models."""

from cf_orch.gpus.declared import DeclaredReader, DeviceSpec, parse_device
from cf_orch.gpus.host import HostIdentity, HostMemoryReader, host_identity
from cf_orch.gpus.nvml import NvmlReader, NvmlUnavailable
from cf_orch.gpus.processes import ProcFs
from cf_orch.gpus.profiles import GpuProfile, UnknownGpuError, capabilities_of, get_gpu_profile, live_gpu_profile
from cf_orch.gpus.samples import DeviceKind, DeviceSample, GpuProcess
from cf_orch.gpus.sizes import Estimate, ModelFileError, estimate

__all__ = [
    "DeclaredReader",
    "DeviceKind",
    "DeviceSample",
    "DeviceSpec",
    "Estimate",
    "GpuProcess",
    "GpuProfile",
    "HostIdentity",
    "HostMemoryReader",
    "ModelFileError",
    "NvmlReader",
    "NvmlUnavailable",
    "ProcFs",
    "UnknownGpuError",
    "capabilities_of",
    "estimate",
    "get_gpu_profile",
    "host_identity",
    "live_gpu_profile",
    "parse_device",
]
