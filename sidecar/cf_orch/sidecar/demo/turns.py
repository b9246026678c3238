"""The host's own line: who waits for a turn, or has one, while there is no coordinator.

``local.json`` in the folder that all of the host's processes share has a ticket for each of them (``client.local``).
"""

from pathlib import Path

import msgspec

from cf_orch.client.local import Ticket

__all__ = ["who_stands_in_line"]


class _Line(msgspec.Struct):
    tickets: list[Ticket] = []


def who_stands_in_line(folder: Path) -> list[int]:
    """The pids of those who have a ticket now, in the order of the line; none before anybody ever stood there."""
    try:
        written = (folder / "local.json").read_bytes()
    except FileNotFoundError:
        return []
    return [ticket.pid for ticket in msgspec.json.decode(written, type=_Line).tickets]
