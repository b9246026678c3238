"""The doors: HTTP, WebSocket and unix socket.  All decode to the same calls and answer with the same messages.

Both the coordinator and the sidecar stand behind them, as a ``backend``.  ``http`` makes the application and
``listen`` serves it; ``access`` says who may come in, ``presence`` whose process has gone.
"""

from cf_orch.doors.backend import Backend
from cf_orch.doors.http import make_app
from cf_orch.doors.listen import CannotListen, Doors, open_doors

__all__ = ["Backend", "CannotListen", "Doors", "make_app", "open_doors"]
