"""What each operation of the wire does: one small function each, the same for every door.

All reach the engine before they await anything, so that calls take effect in the order in which they were begun.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from cf_orch.coordinator.doors import views, waiting
from cf_orch.coordinator.doors.commands import caller_key, checkpointed_of, report_of, sync_of
from cf_orch.coordinator.doors.desk import Desk
from cf_orch.coordinator.doors.views import nothing
from cf_orch.coordinator.returning import pids_on, something_comes_back
from cf_orch.doors.asked import Answer, Asked, Caller, belongs_to
from cf_orch.gpus import UnknownGpuError, get_gpu_profile
from cf_orch.ledger import Device, Lease, Ledger, Refusal, State, commands
from cf_orch.protocol import messages as m
from cf_orch.protocol.operations import OPERATIONS, CancelQuery, EventsQuery, ListQuery, Operation

__all__ = ["perform"]

Call = Callable[[Desk, Caller, Asked[Any, Any]], Awaitable[Answer]]


async def perform(desk: Desk, operation: Operation, who: Caller, asked: Asked[Any, Any]) -> Answer:
    """Do what a call asks.  Raises Refusal, EngineStopped."""
    if operation.operator_only and who.session_id is not None:
        raise Refusal(
            "operator_only",
            f"{operation.name} is the operator's: call it without naming a session (this was {who.session_id})",
        )
    return await _CALLS[operation.name](desk, who, asked)


# --- sessions


async def _open_session(desk: Desk, who: Caller, asked: Asked[m.SessionRequest, None]) -> Answer:
    body = asked.body
    session_id = belongs_to(who, body.session_id) or desk.engine.new_id()
    pid, pid_start = who.peer or (body.pid, body.pid_start)
    command = commands.OpenSession(
        session_id=session_id,
        service=body.service,
        host_id=body.host_id,
        host_name=body.host_name,
        pid=pid,
        pid_start=pid_start,
        ttl_s=body.ttl_s,
    )
    answer = await desk.engine.do(command, _session_view(desk, session_id))
    desk.watch_process(session_id)
    return Answer(201, answer)


async def _renew_session(desk: Desk, who: Caller, asked: Asked[None, None]) -> Answer:
    belongs_to(who, asked.subject)
    command = commands.RenewSession(session_id=asked.subject)
    return Answer(200, await desk.engine.do(command, _session_view(desk, asked.subject)))


def _session_view(desk: Desk, session_id: str) -> Callable[[Ledger, float], m.SessionAnswer]:
    def view(ledger: Ledger, _now: float) -> m.SessionAnswer:
        ttl_s = ledger.sessions[session_id].ttl_s
        return m.SessionAnswer(session_id=session_id, ttl_s=ttl_s, epoch=desk.engine.epoch)

    return view


async def _sync_session(desk: Desk, who: Caller, asked: Asked[m.SyncRequest, None]) -> Answer:
    belongs_to(who, asked.subject)

    def view(ledger: Ledger, now: float) -> m.LeasesAnswer:
        own = [ledger.leases[lease_id] for lease_id in ledger.sessions[asked.subject].leases]
        return m.LeasesAnswer(leases=views.leases_in_order(ledger, own, len(own), desk.moment(now)))

    return Answer(200, await desk.engine.do(sync_of(asked.subject, asked.body), view))


async def _close_session(desk: Desk, who: Caller, asked: Asked[None, None]) -> Answer:
    belongs_to(who, asked.subject)
    await desk.engine.do(commands.CloseSession(session_id=asked.subject), nothing)
    return Answer(204)


# --- leases


async def _cancel_request(desk: Desk, who: Caller, asked: Asked[None, CancelQuery]) -> Answer:
    query = asked.query
    if who.session_id is None and query.service is None:
        raise Refusal(
            "bad_value", "service: say whose request it is, by its service or by the session that asked for it"
        )
    caller = caller_key(who.session_id, query.service or "")
    await desk.engine.do(commands.CancelRequest(caller=caller, request_id=query.request_id), nothing)
    return Answer(204)


async def _release(desk: Desk, who: Caller, asked: Asked[None, None]) -> Answer:
    await desk.engine.do(commands.Release(lease_id=asked.subject, by=who.session_id), nothing)
    return Answer(204)


async def _renew_lease(desk: Desk, who: Caller, asked: Asked[None, None]) -> Answer:
    return await _about_lease(desk, commands.RenewLease(lease_id=asked.subject, by=who.session_id))


async def _loaded(desk: Desk, who: Caller, asked: Asked[None, None]) -> Answer:
    return await _about_lease(desk, commands.MarkLoaded(lease_id=asked.subject, by=who.session_id))


async def _idle(desk: Desk, who: Caller, asked: Asked[None, None]) -> Answer:
    return await _about_lease(desk, commands.MarkIdle(lease_id=asked.subject, by=who.session_id))


async def _busy(desk: Desk, who: Caller, asked: Asked[None, None]) -> Answer:
    return await _about_lease(desk, commands.MarkBusy(lease_id=asked.subject, by=who.session_id))


async def _attach(desk: Desk, who: Caller, asked: Asked[m.AttachRequest, None]) -> Answer:
    body = asked.body
    command = commands.Attach(lease_id=asked.subject, by=who.session_id, pid=body.pid, pid_start=body.pid_start)
    return await _about_lease(desk, command)


async def _checkpointed(desk: Desk, who: Caller, asked: Asked[m.CheckpointedRequest, None]) -> Answer:
    return await _about_lease(desk, checkpointed_of(asked.body, asked.subject, who.session_id))


async def _evict(desk: Desk, _who: Caller, asked: Asked[None, None]) -> Answer:
    return await _about_lease(desk, commands.Evict(lease_id=asked.subject))


async def _resume(desk: Desk, _who: Caller, asked: Asked[None, None]) -> Answer:
    return await _about_lease(desk, commands.Resume(lease_id=asked.subject))


_LeaseCommand = (
    commands.RenewLease | commands.MarkLoaded | commands.MarkIdle | commands.MarkBusy | commands.Attach
    | commands.Checkpointed | commands.Evict | commands.Resume
)  # fmt: skip


async def _about_lease(desk: Desk, command: _LeaseCommand) -> Answer:
    return Answer(200, await desk.do_to_lease(command, command.lease_id))


# --- looks


async def _leases(desk: Desk, _who: Caller, asked: Asked[None, ListQuery]) -> Answer:
    query = asked.query
    if query.state is not None and query.state not in State.__members__.values():
        raise Refusal("bad_value", f"state: {query.state!r} is none of {', '.join(State)}")

    def view(ledger: Ledger, now: float) -> m.LeasesAnswer:
        chosen = _chosen(ledger, query)
        return m.LeasesAnswer(leases=views.leases_in_order(ledger, chosen, query.limit, desk.moment(now)))

    return Answer(200, await desk.engine.look(view))


def _chosen(ledger: Ledger, query: ListQuery) -> Iterable[Lease]:
    for lease in (ledger.ended if query.state == State.ENDED else ledger.leases).values():
        if query.state in (None, lease.state) and query.service in (None, lease.slot.service):
            yield lease


async def _devices(desk: Desk, _who: Caller, _asked: Asked[None, None]) -> Answer:
    return Answer(200, await desk.engine.look(_devices_view(desk, None)))


def _devices_view(desk: Desk, uuid: str | None) -> Callable[[Ledger, float], m.DevicesAnswer]:
    def view(ledger: Ledger, now: float) -> m.DevicesAnswer:
        devices: Iterable[Device] = ledger.devices.values() if uuid is None else [ledger.devices[uuid]]
        moment = desk.moment(now)
        return m.DevicesAnswer(devices=[views.device_info(ledger, device, moment) for device in devices])

    return view


async def _sessions(desk: Desk, _who: Caller, _asked: Asked[None, None]) -> Answer:
    def view(ledger: Ledger, now: float) -> m.SessionsAnswer:
        moment = desk.moment(now)
        return m.SessionsAnswer(sessions=[views.session_info(session, moment) for session in ledger.sessions.values()])

    return Answer(200, await desk.engine.look(view))


async def _status(desk: Desk, _who: Caller, _asked: Asked[None, None]) -> Answer:
    def view(ledger: Ledger, now: float) -> m.StatusAnswer:
        return views.status_answer(ledger, desk.engine.epoch, desk.moment(now))

    return Answer(200, await desk.engine.look(view))


async def _events(desk: Desk, _who: Caller, asked: Asked[None, EventsQuery]) -> Answer:
    query = asked.query
    return Answer(200, views.events_answer(await desk.engine.events(query.since, query.limit), query.since))


async def _gpu_profile(_desk: Desk, _who: Caller, asked: Asked[None, None]) -> Answer:
    try:
        profile = get_gpu_profile(asked.subject)
    except UnknownGpuError as error:
        raise Refusal("unknown_profile", str(error)) from error
    return Answer(200, views.profile_answer(profile))


# --- devices


async def _report(desk: Desk, who: Caller, asked: Asked[m.DeviceReportRequest, None]) -> Answer:
    body = asked.body
    if who.session_id is not None:
        desk.engine.note_observer(body.host_id, who.session_id)

    def view(ledger: Ledger, _now: float) -> m.ReportAnswer:
        return m.ReportAnswer(
            devices=len(body.devices),
            coming_back=something_comes_back(ledger, body.host_id),
            attached=list(pids_on(ledger, body.host_id)),
        )

    return Answer(200, await desk.engine.do(report_of(body), view))


async def _drain(desk: Desk, _who: Caller, asked: Asked[m.DrainRequest, None]) -> Answer:
    command = commands.Drain(uuid=asked.subject, for_s=asked.body.for_s, evict=asked.body.evict)
    return Answer(200, await desk.engine.do(command, _devices_view(desk, asked.subject)))


async def _undrain(desk: Desk, _who: Caller, asked: Asked[None, None]) -> Answer:
    return Answer(200, await desk.engine.do(commands.Undrain(uuid=asked.subject), _devices_view(desk, asked.subject)))


_CALLS: dict[str, Call] = {
    "session.open": _open_session,
    "session.renew": _renew_session,
    "session.sync": _sync_session,
    "session.close": _close_session,
    "lease.request": waiting.request_lease,
    "lease.cancel": _cancel_request,
    "lease.get": waiting.get_lease,
    "lease.release": _release,
    "lease.renew": _renew_lease,
    "lease.loaded": _loaded,
    "lease.idle": _idle,
    "lease.busy": _busy,
    "lease.attach": _attach,
    "lease.checkpointed": _checkpointed,
    "lease.evict": _evict,
    "lease.resume": _resume,
    "leases": _leases,
    "devices": _devices,
    "sessions": _sessions,
    "status": _status,
    "events": _events,
    "gpu.profile": _gpu_profile,
    "devices.report": _report,
    "device.drain": _drain,
    "device.undrain": _undrain,
}
assert _CALLS.keys() == {operation.name for operation in OPERATIONS}  # noqa: S101 - a defect of this module alone
