"""What the calls of the doors do in a coordinator.

``app`` puts it behind the doors; ``calls`` and ``waiting`` say what each call does, ``views`` how the ledger's records
read, ``attendance`` what becomes of callers that go away, ``sse`` streams.
"""

from cf_orch.coordinator.doors.app import make_app

__all__ = ["make_app"]
