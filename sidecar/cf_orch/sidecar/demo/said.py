"""What a product of the demo is told, and what it says: lines of JSON on its stdin and its stdout."""

import msgspec

__all__ = ["Said", "Task"]


class Task(msgspec.Struct):
    """What a product is to do under one lease: the numbers of its items, its class, and whether it may be evicted."""

    job: str
    items: list[int]
    priority: int
    yields: bool = False


class Said(msgspec.Struct, omit_defaults=True):
    """One thing that happened in a product; ``at`` is by CLOCK_MONOTONIC, which all of a machine's processes share.

    ``ready`` - ``asks`` - ``lease``: how it reads now, first of all that it is granted - ``started``, ``loaded``,
    ``stopped``: the process with the model - ``begins``, ``result``: an item - ``leaves``: it was asked to, and nothing
    runs any more - ``ended`` - ``failed``, and ``why``.
    """

    event: str
    at: float
    job: str = ""
    lease_id: str = ""
    token: int | None = None
    local: bool = False
    state: str = ""
    pid: int = 0
    item: int = 0
    text: str = ""
    complete: bool = False
    why: str = ""
