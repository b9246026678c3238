"""All checks, in the order in which a person wants to read of them."""

from cf_orch.sidecar.doctor.checkup import Check
from cf_orch.sidecar.doctor.clocks import check_clock_source, check_clocks
from cf_orch.sidecar.doctor.coordinator import check_coordinator
from cf_orch.sidecar.doctor.cuda import check_cuda, check_engines
from cf_orch.sidecar.doctor.nvidia import check_amd, check_driver, check_mismatch
from cf_orch.sidecar.doctor.ports import check_ports
from cf_orch.sidecar.doctor.processes import check_hidden_processes, check_pid_namespace, check_time_namespace
from cf_orch.sidecar.doctor.state_folder import check_file_system, check_state_folder, check_state_space
from cf_orch.sidecar.doctor.versions import check_packages, check_pynvml, check_settings, check_versions
from cf_orch.sidecar.doctor.visible import check_container, check_cuda_visible, check_device_files
from cf_orch.sidecar.doctor.windows import check_wddm, check_wsl

__all__ = ["CHECKS"]

CHECKS: dict[str, tuple[Check, ...]] = {
    "cf-orch": (check_versions, check_settings, check_packages, check_pynvml),
    "driver": (check_driver, check_mismatch, check_amd, check_wsl, check_wddm),
    "CUDA": (check_cuda, check_engines),
    "visible here": (check_container, check_device_files, check_cuda_visible),
    "processes and clocks": (
        check_pid_namespace,
        check_hidden_processes,
        check_time_namespace,
        check_clocks,
        check_clock_source,
    ),
    "coordinator": (check_coordinator, check_ports),
    "state folder": (check_state_folder, check_file_system, check_state_space),
}
