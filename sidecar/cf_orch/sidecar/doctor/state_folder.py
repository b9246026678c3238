"""Checks of the folder where the coordinator keeps its journal."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cf_orch.sidecar.doctor.finding import Finding, Level
from cf_orch.sidecar.doctor.machine import Machine

__all__ = ["check_file_system", "check_state_folder", "check_state_space"]

_NETWORK = (
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre",
    "fuse.sshfs", "fuse.glusterfs", "fuse.rclone",
)  # fmt: skip
_GONE_AT_REBOOT = ("tmpfs", "ramfs")
_LAYERS = ("overlay", "overlayfs", "aufs")
_LEAST_FREE_BYTES = 256 * 2**20


def check_state_folder(machine: Machine) -> list[Finding]:
    """Tell whether this user can write there."""
    folder = machine.settings.state_dir
    there = _nearest(folder)
    if there != folder:
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            why = "`cf-orch serve` makes it"
            return [Finding("state_folder", "ok", f"{folder} is not there yet, and can be made", why)]
        return [_refused(folder, f"{folder} is not there and cannot be made: {there} may not be written to")]
    if not folder.is_dir():
        return [_refused(folder, f"{folder} is no folder")]
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"cf-orch doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return [_refused(folder, f"{folder} cannot be written to: {error.strerror}")]
    closed = sorted(path.name for path in folder.iterdir() if not os.access(path, os.R_OK | os.W_OK))
    if closed:
        return [_refused(folder, f"in {folder} these may not be written to: {', '.join(closed[:5])}")]
    return [Finding("state_folder", "ok", f"{folder} can be written to", "what was granted survives a restart")]


def _refused(folder: Path, found: str) -> Finding:
    why = "the coordinator grants nothing that it cannot put down first: it does not start, or stops"
    do = f"make {folder} and give it to the user that serves (chown), or name another: --state-dir or CF_ORCH_STATE_DIR"
    return Finding("state_folder", "error", found, why, do)


def check_state_space(machine: Machine) -> list[Finding]:
    """Tell whether there is room for the journal."""
    there = _nearest(machine.settings.state_dir)
    status = os.statvfs(there)
    free_bytes = status.f_bavail * status.f_frsize
    if status.f_files and not status.f_favail:
        return [_full(there, f"no file can be made on the file system of {there}: it has no inodes left")]
    if status.f_blocks and free_bytes < _LEAST_FREE_BYTES:
        return [_full(there, f"{free_bytes / 2**20:.0f} MB are free on the file system of {there}")]
    return []


def _full(there: Path, found: str) -> Finding:
    why = "a journal that cannot be written stops the coordinator; it keeps 14 days of events"
    return Finding("state_space", "warning", found, why, f"make room beside {there}, or name another --state-dir")


def check_file_system(machine: Machine) -> list[Finding]:
    """Tell whether what is written there lasts, and whether locks hold."""
    there = _nearest(machine.settings.state_dir)
    kind, at = _file_system(machine, there)
    found = (
        f"{machine.settings.state_dir} {'is' if there == machine.settings.state_dir else 'will be'} on {kind} ({at})"
    )
    level, why, do = _judge(kind)
    return [] if kind is None else [Finding("file_system", level, found, why, do)]


def _judge(kind: str | None) -> tuple[Level, str, str]:
    if kind in _NETWORK:
        why = (
            "SQLite's write-ahead log needs memory that all its users share, and file locks that hold: over a network "
            "neither is sure, and a journal may be damaged or be written by two coordinators"
        )
        return "error", why, "keep it on a disk of this machine: --state-dir"
    if kind in _GONE_AT_REBOOT:
        why = "it is in memory: what was promised is forgotten at the next boot"
        return "warning", why, "keep it on a disk: --state-dir"
    if kind in _LAYERS:
        why = "it is a layer over a read-only image, a container's or a live system's, and is gone with that"
        return "warning", why, "mount a volume there (-v cf-orch:/var/lib/cf-orch)"
    return "ok", "what is synced to it lasts", ""


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next((path for path in (folder, *folder.parents) if os.path.lexists(path)), Path("/"))


def _file_system(machine: Machine, folder: Path) -> tuple[str | None, str]:
    """The kind of file system that a path is on, and where that is mounted: the longest, and of those the last."""
    path = folder.resolve()
    best: tuple[str | None, str] = (None, "")
    for kind, at in _mounts(machine):
        if path.is_relative_to(at) and len(at) >= len(best[1]):
            best = (kind, at)
    return best


def _mounts(machine: Machine) -> Iterator[tuple[str, str]]:
    r"""Each mount's kind and place; the kernel writes blanks in a place as \040."""
    for line in (machine.text("/proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) > 4 and kinds:  # noqa: PLR2004 - the place is the fifth field, see proc_pid_mountinfo(5)
            yield kinds[0], fields[4].encode().decode("unicode_escape", errors="replace")
