"""The doors: HTTP, WebSocket and unix socket.  All decode to the same calls and answer with the same messages.

``http`` makes the application and ``listen`` serves it; ``calls`` and ``waiting`` say what each call does, ``views``
how the ledger's records read, ``attendance`` what becomes of callers that go away.
"""

from cf_orch.coordinator.doors.http import make_app
from cf_orch.coordinator.doors.listen import CannotListen, Doors, open_doors

__all__ = ["CannotListen", "Doors", "make_app", "open_doors"]
