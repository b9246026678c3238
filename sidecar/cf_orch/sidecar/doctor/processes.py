"""Checks of whether the processes that the driver names can be found here."""

import re

from cf_orch.sidecar.doctor.finding import Finding
from cf_orch.sidecar.doctor.machine import Machine
from cf_orch.sidecar.doctor.visible import container_kind

__all__ = ["check_hidden_processes", "check_pid_namespace", "check_time_namespace"]

_HOSTS_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO of include/linux/proc_ns.h: the first pid namespace has this number on every Linux."""


def check_pid_namespace(machine: Machine) -> list[Finding]:
    """Tell whether this is the host's pid namespace, whose numbers the driver speaks of."""
    namespace = machine.link("/proc/self/ns/pid")
    if namespace is None:
        return []
    if namespace == _HOSTS_PID_NAMESPACE:
        why = "the driver's process numbers are this machine's: use is attributed to its lease"
        return [Finding("pid_namespace", "ok", "in the host's pid namespace", why)]
    if machine.is_wsl:
        why = "every WSL distribution has one of its own, and the driver names no process there anyway"
        return [Finding("pid_namespace", "info", "in a pid namespace of its own", why)]
    why = (
        "the driver speaks of the host's process numbers, which mean nothing or another program here: an observer in "
        "here cannot tell whose memory it is, and can only go by how it grows"
    )
    do = {
        "docker": "start the container of the coordinator with --pid=host (pid: host in a compose file)",
        "podman": "start the container of the coordinator with --pid=host",
        "kubernetes": "set hostPID: true in the pod of the coordinator",
    }.get(container_kind(machine) or "", "run the coordinator (its observer) outside, in the host's pid namespace")
    return [Finding("pid_namespace", "warning", f"in a pid namespace of its own ({namespace})", why, do)]


def check_hidden_processes(machine: Machine) -> list[Finding]:
    """Tell whether /proc shows other users' processes."""
    for line in (machine.text("/proc/self/mounts") or "").splitlines():
        fields = line.split()
        if fields[1:3] != ["/proc", "proc"]:
            continue
        match = re.search(r"\bhidepid=(\w+)", fields[3])
        if match and match[1] not in ("0", "off"):
            why = "an observer that is not root cannot tell which program a process of another user is"
            do = "run it as root or in the group of the mount's gid=, or remount /proc without hidepid"
            return [Finding("hidden_processes", "warning", f"/proc is mounted with hidepid={match[1]}", why, do)]
    return []


def check_time_namespace(machine: Machine) -> list[Finding]:
    """Tell whether a process's beginning, as /proc has it, is the same for those outside."""
    for line in (machine.text("/proc/self/timens_offsets") or "").splitlines():
        name, *numbers = line.split()
        if name in ("boottime", "7") and any(int(number) for number in numbers):
            found = f"in a time namespace of its own (boot time shifted by {numbers[0]} s)"
            why = "a process is known by its number and its beginning, and the beginnings differ from those outside"
            do = "run the coordinator, its sidecars and its clients in the same time namespace"
            return [Finding("time_namespace", "warning", found, why, do)]
    return []
