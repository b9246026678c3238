"""What an operator may set about the ledger's policy, and the named classes of priority."""

from typing import Literal

import msgspec

__all__ = ["PRIORITIES", "Quota", "Settings", "TaskType"]

GIB = 2**30

PRIORITIES: dict[str, int] = {"background": 0, "batch": 10, "normal": 20, "interactive": 30, "realtime": 40}
"""The named priority classes; any integer from 0 to 100 is a class, a higher one is more important."""


class Quota(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most that one service may hold at once, and the highest class it may ask for."""

    max_vram_bytes: int | None = None
    max_priority: int | None = None


class TaskType(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The class and the size that a task type has where a request names none."""

    priority: int | None = None
    vram_bytes: int | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's policy in numbers; seconds are durations, never points in time."""

    ttl_s: float = 30.0
    ttl_min_s: float = 1.0
    ttl_max_s: float = 86_400.0
    grace_factor: float = 4 / 3
    """A holder that is silent for ``ttl_s`` times this is ended: its full grace."""
    stale_after_s: float = 5.0
    """A device whose newest sample is older than this is blind: nothing is granted there."""
    reclaim_timeout_s: float = 10.0
    """How long a released lease stays charged for bytes that the driver still shows."""
    load_timeout_s: float = 300.0
    reconnect_s: float = 5.0
    """How long a waiter without a session, whose connection broke, keeps its place."""
    remember_s: float = 600.0
    """How long an ended lease can still be read, and its request id answered."""
    grace_s: float = 30.0
    """How long a holder that is asked to leave has until its eviction is overdue; it is never forced."""
    protect: Literal["strict", "cascade"] = "cascade"
    """Whether idle memory may go down to lower classes: ``strict`` never, ``cascade`` but for protected classes."""
    protected_priority: int = PRIORITIES["realtime"]
    """The lowest protected class."""
    idle_protect_s: float = 30.0
    """How long memory must be unused before it may go down to a lower class; ten times that, to one that could not
    be evicted in turn."""
    min_residency_s: float = 10.0
    """How long an idle lease, once loaded, is safe from its own class; longer if its last swap took longer."""
    aging_s: float | None = None
    """A waiter rises one class for each such wait, for order only and never to interactive; None: off."""
    max_queued_per_service: int = 10_000
    quotas: dict[str, Quota] = {}
    tasks: dict[str, TaskType] = {}

    def task(self, task_type: str) -> TaskType:
        """Look a task type up whole, else by its last part after ``_``: recipe_llm is an llm."""
        last_part = task_type.rpartition("_")[2]
        for name in (task_type, last_part):
            if name in self.tasks:
                return self.tasks[name]
        return TaskType(priority=_DEFAULT_CLASSES.get(last_part, PRIORITIES["normal"]))

    def is_protected(self, priority: int) -> bool:
        """Tell whether the idle memory of a class never goes down to a lower one."""
        return self.protect == "strict" or priority >= self.protected_priority

    def quota(self, service: str) -> Quota:
        """Return the service's quota; one without limits where none is set."""
        return self.quotas.get(service, Quota())


_DEFAULT_CLASSES = {
    "asr": PRIORITIES["realtime"],
    "tts": PRIORITIES["interactive"],
    "llm": PRIORITIES["normal"],
}
