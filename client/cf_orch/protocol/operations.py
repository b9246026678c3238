"""Every call in one table: its name on the WebSocket, its method and path on HTTP, what goes in and what comes out.

HTTP routes, WebSocket dispatch and the OpenAPI description are all made from it, so that no door knows a call that
another does not.  On the WebSocket a call is ``{id, op, ...}`` with path, query and body fields side by side.
"""

from typing import Annotated, Any

import msgspec

from cf_orch.protocol import messages as m

__all__ = ["API_PREFIX", "OPERATIONS", "CancelQuery", "EventsQuery", "GetQuery", "ListQuery", "Operation", "WaitQuery"]

API_PREFIX = "/api/v1"
LONGEST_WAIT_S = 60.0


class WaitQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How long to hold the answer back until something changes."""

    wait_s: float = 0.0


class GetQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How long to hold the answer back while the lease is in ``state``, as the caller knows it.

    A change that came before the call is so never waited for.
    """

    wait_s: float = 0.0
    state: str = "queued"


class CancelQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which request to take back; also before it has arrived.  Without a session it takes the service that asked."""

    request_id: m.Name
    service: m.Name | None = None


_Limit = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class ListQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which leases to list: those that live, or with ``state=ended`` those that ended not long ago."""

    state: str | None = None
    service: str | None = None
    limit: _Limit = 1000


class EventsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which events to list: those after ``since``."""

    since: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    limit: _Limit = 1000


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One call.  ``answer`` None means an empty 204; ``also`` lists what other status the answer may come with."""

    name: str
    method: str
    path: str
    summary: str
    body: type[Any] | None = None
    query: type[Any] | None = None
    answer: type[Any] | None = None
    status: int = 200
    also: tuple[int, ...] = ()
    operator_only: bool = False

    @property
    def subject(self) -> str | None:
        """The name of the id in the path: whom or what the call is about."""
        _, opened, rest = self.path.partition("{")
        return rest.partition("}")[0] if opened else None


def _lease_call(verb: str, summary: str, body: type[Any] | None = None, *, operator_only: bool = False) -> Operation:
    return Operation(
        name=f"lease.{verb}", method="POST", path="/leases/{lease_id}/" + verb, summary=summary, body=body,
        answer=m.LeaseInfo, operator_only=operator_only,
    )  # fmt: skip


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="session.open", method="POST", path="/sessions", summary="Register a process.",
        body=m.SessionRequest, answer=m.SessionAnswer, status=201,
    ),
    Operation(
        name="session.renew", method="POST", path="/sessions/{session_id}/renew", summary="Keep a session alive.",
        answer=m.SessionAnswer,
    ),
    Operation(
        name="session.sync", method="POST", path="/sessions/{session_id}/sync",
        summary="Say all that a session holds and wants.", body=m.SyncRequest, answer=m.LeasesAnswer,
    ),
    Operation(
        name="session.close", method="DELETE", path="/sessions/{session_id}",
        summary="End a session and all its leases.", status=204,
    ),
    Operation(
        name="lease.request", method="POST", path="/leases",
        summary="Ask for memory: 201 when it is granted, 202 while it is queued, 200 when it has ended.",
        body=m.LeaseRequest, query=WaitQuery, answer=m.LeaseInfo, status=201, also=(200, 202),
    ),
    Operation(
        name="lease.cancel", method="DELETE", path="/leases", summary="Take a request back by its id.",
        query=CancelQuery, status=204,
    ),
    Operation(
        name="lease.get", method="GET", path="/leases/{lease_id}",
        summary="Read a lease; wait, if asked to, while its state is the one given.",
        query=GetQuery, answer=m.LeaseInfo,
    ),
    Operation(
        name="lease.release", method="DELETE", path="/leases/{lease_id}",
        summary="Give memory back or leave the queue.", status=204,
    ),
    _lease_call("renew", "Keep a lease without a session alive."),
    _lease_call("loaded", "Say that the engine is up: the peak is over."),
    _lease_call("idle", "Keep the memory warm, unused."),
    _lease_call("busy", "Use the memory again."),
    _lease_call("attach", "Name a process that uses the memory.", m.AttachRequest),
    _lease_call("checkpointed", "Say that the memory is given up, or why it cannot be.", m.CheckpointedRequest),
    _lease_call("evict", "Ask a holder to leave until it is resumed.", operator_only=True),
    _lease_call("resume", "Let a lease come back that an operator evicted.", operator_only=True),
    Operation(
        name="leases", method="GET", path="/leases", summary="List leases.", query=ListQuery, answer=m.LeasesAnswer,
    ),
    Operation(name="devices", method="GET", path="/devices", summary="List devices.", answer=m.DevicesAnswer),
    Operation(name="sessions", method="GET", path="/sessions", summary="List sessions.", answer=m.SessionsAnswer),
    Operation(name="status", method="GET", path="/status", summary="The whole picture.", answer=m.StatusAnswer),
    Operation(
        name="events", method="GET", path="/events", summary="What happened, in order.",
        query=EventsQuery, answer=m.EventsAnswer,
    ),
    Operation(
        name="devices.report", method="POST", path="/devices/report", summary="Say what an observer sees.",
        body=m.DeviceReportRequest, answer=m.ReportAnswer,
    ),
    Operation(
        name="device.drain", method="POST", path="/devices/{uuid}/drain", summary="Grant nothing new on a device.",
        body=m.DrainRequest, answer=m.DevicesAnswer, operator_only=True,
    ),
    Operation(
        name="device.undrain", method="POST", path="/devices/{uuid}/undrain", summary="Let a device grant again.",
        answer=m.DevicesAnswer, operator_only=True,
    ),
    Operation(
        name="gpu.profile", method="GET", path="/gpu-profiles/{name}", summary="Say what a card can do, by its name.",
        answer=m.ProfileAnswer,
    ),
)  # fmt: skip
"""All calls of the API, by door-independent name.  Streams (SSE, WebSocket) and health are the doors' own."""
