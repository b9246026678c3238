"""Processes as /proc tells of them. A process that goes while it is read is simply absent."""

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

__all__ = ["ProcFs", "ProcessStat"]

_NAME_LENGTH = 64
# Positions after the command in /proc/PID/stat: its fields 4 and 22.
_PARENT_PID, _START_TICKS = 1, 19
_INTERPRETER = re.compile(r"(python|pypy|node|ruby|perl|bash|sh)[\d.]*")
_PLAIN_FLAG = re.compile(r"-[A-Za-z]+")
_FLAGS_WITH_A_VALUE = frozenset({"-c", "-e", "-r", "-W", "-X"})


class ProcessStat(NamedTuple):
    """The fields of /proc/PID/stat that tell who a process is."""

    pid: int
    parent_pid: int
    start_ticks: int
    command: str


class ProcFs:
    """A reader of /proc, or of a tree shaped like it."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self.root = root

    def stat(self, pid: int) -> ProcessStat | None:
        """Who this pid is now, or None if there is no such process."""
        try:
            text = (self.root / str(pid) / "stat").read_bytes().decode(errors="replace")
        except OSError:
            return None
        # The command stands in parentheses and may itself hold blanks and parentheses.
        head, _, tail = text.rpartition(")")
        fields = tail.split()
        if len(fields) <= _START_TICKS:
            return None
        return ProcessStat(pid, int(fields[_PARENT_PID]), int(fields[_START_TICKS]), head.partition("(")[2])

    def start_ticks(self, pid: int) -> int | None:
        """When the process began, in clock ticks since boot."""
        stat = self.stat(pid)
        return stat.start_ticks if stat else None

    def name(self, pid: int) -> str | None:
        """A name to show: "ollama", "python train.py", "python -m vllm".

        No other argument is in it: that may be a secret.
        """
        stat = self.stat(pid)
        if stat is None:
            return None
        try:
            cmdline = (self.root / str(pid) / "cmdline").read_bytes()
        except OSError:
            cmdline = b""
        name = _readable(cmdline.decode(errors="replace").rstrip("\0").split("\0")) or stat.command
        # Any local user chooses these bytes, and they end on terminals.
        return "".join(letter if letter.isprintable() else "?" for letter in name)[:_NAME_LENGTH]

    def ancestors(self, pid: int) -> tuple[tuple[int, int], ...]:
        """(pid, start) of its parents, nearest first, up to but without pid 1."""
        chain: list[tuple[int, int]] = []
        child = self.stat(pid)
        while child and child.parent_pid > 1:
            parent = self.stat(child.parent_pid)
            if parent is None or parent.start_ticks > child.start_ticks:
                break  # it died, and its pid may be another's by now
            chain.append((parent.pid, parent.start_ticks))
            child = parent
        return tuple(chain)

    def pss_bytes(self, pid: int) -> int | None:
        """Its share of the memory it uses (PSS); RSS, which counts shared pages in full, if PSS is denied."""
        for file, field in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
            value = self.field_bytes(f"{pid}/{file}", field)
            if value is not None:
                return value
        return None

    def field_bytes(self, file: str, field: str) -> int | None:
        """The bytes of a line "Field:  N kB" in a file of /proc, or None if it is not there or not to be read."""
        try:
            lines = (self.root / file).read_text().splitlines()
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), None)
        except (OSError, ValueError, IndexError):
            return None

    def tree_pss_bytes(self, roots: Iterable[tuple[int, int | None]]) -> dict[int, int]:
        """PSS of the process tree under each (pid, start), by pid; a root that is gone is left out.

        A process counts once, for its nearest root. A start of None takes the pid as it is now.
        """
        stats = self._snapshot()
        alive = {pid for pid, start in roots if pid in stats and start in (None, stats[pid].start_ticks)}
        totals: dict[int, int] = {}
        for pid in stats:
            owner = _nearest(pid, alive, stats)
            if owner is not None and (pss := self.pss_bytes(pid)) is not None:
                totals[owner] = totals.get(owner, 0) + pss
        return totals

    def _snapshot(self) -> dict[int, ProcessStat]:
        pids = [int(entry.name) for entry in self.root.iterdir() if entry.name.isdecimal()]
        return {pid: stat for pid in pids if (stat := self.stat(pid))}


def _nearest(pid: int, roots: set[int], stats: Mapping[int, ProcessStat]) -> int | None:
    seen: set[int] = set()
    while pid in stats and pid not in seen:
        if pid in roots:
            return pid
        seen.add(pid)
        pid = stats[pid].parent_pid
    return None


def _readable(argv: list[str]) -> str:
    program = _program(argv[0])
    if not _INTERPRETER.fullmatch(program):
        return program
    for flag, value in pairwise([*argv[1:], ""]):
        if flag == "-m":
            return f"{program} -m {value}"
        if not flag.startswith("-"):
            return f"{program} {PurePosixPath(flag).name}"
        if flag in _FLAGS_WITH_A_VALUE or not _PLAIN_FLAG.fullmatch(flag):
            break  # what follows may be a value, and values are not shown
    return program


def _program(argv0: str) -> str:
    # A title that a process gave itself ("sshd: root@pts/0") is no path.
    return argv0 if " " in argv0 and not argv0.startswith("/") else PurePosixPath(argv0).name
