"""Asking for memory and reading a lease: the two calls whose answer may be held back until something changes."""

import asyncio
from contextlib import suppress

from cf_orch.coordinator.doors.attendance import Seat
from cf_orch.coordinator.doors.commands import request_of
from cf_orch.coordinator.doors.desk import Desk
from cf_orch.coordinator.doors.views import lease_info, nothing
from cf_orch.coordinator.engine import EngineStopped
from cf_orch.doors.asked import Answer, Asked, Caller, belongs_to
from cf_orch.ledger import Ledger, Refusal, State, commands
from cf_orch.ledger.states import HOLDING, WAITING
from cf_orch.protocol import messages as m
from cf_orch.protocol.operations import LONGEST_WAIT_S, GetQuery, WaitQuery

__all__ = ["get_lease", "request_lease"]

BEATS_PER_TTL = 3


async def request_lease(desk: Desk, who: Caller, asked: Asked[m.LeaseRequest, WaitQuery]) -> Answer:
    """Ask for memory: 201 when it is granted, 202 while it is queued, 200 when it has ended meanwhile.

    1. The command is decided before anything is awaited, so that calls take effect in the order in which they came.
    2. While it waits on this connection, a request without a session is kept alive by it.
    3. A coordinator that stops meanwhile answers with the place that it has promised, for that survives.
    """
    body, wait_s = asked.body, _checked(asked.query.wait_s)
    session_id = belongs_to(who, body.session_id)
    command = request_of(body, session_id, body.request_id or desk.engine.new_id())
    first = _FirstLook(desk, command)
    try:
        lease = await desk.engine.do(command, first)
        if wait_s and lease.state == State.QUEUED:
            with suppress(EngineStopped):
                lease = await _changed(desk, lease, wait_s, beats=session_id is None)
    except BaseException:
        if first.seat is not None:
            await first.seat.give_up()
        raise
    return Answer(_status(lease), lease, first.seat)


class _FirstLook:
    """What a request came to, and, for one without a session, a seat for as long as its caller is not answered."""

    def __init__(self, desk: Desk, command: commands.Request) -> None:
        self.seat: Seat | None = None
        self._desk = desk
        self._key = (command.caller, command.request_id)
        known = desk.engine.ledger.find_request(*self._key)
        self._held_before = known is not None and known.state is not State.QUEUED

    def __call__(self, ledger: Ledger, now: float) -> m.LeaseInfo:
        lease = ledger.find_request(*self._key)
        if lease is None:
            raise LookupError(self._key)
        if lease.session_id is None:
            self.seat = self._desk.attendance.take_seat(lease, known_to_caller=self._held_before)
        return lease_info(ledger, lease, self._desk.moment(now))


def _status(lease: m.LeaseInfo) -> int:
    if lease.state in (State.QUEUED, State.PARKED, State.RESTING):
        return 202
    return 201 if lease.state in HOLDING else 200


async def get_lease(desk: Desk, who: Caller, asked: Asked[None, GetQuery]) -> Answer:
    """Read a lease, waiting while its state is the one given.  A poll keeps a waiter without a session alive."""
    wait_s = _checked(asked.query.wait_s)
    if asked.query.state not in State.__members__.values():
        raise Refusal("bad_value", f"state: {asked.query.state!r} is none of {', '.join(State)}")
    beats = who.session_id is None
    if beats:
        await _beat(desk, asked.subject)
    lease = await desk.lease(asked.subject)
    if lease is None:  # it ended long ago or never was: the ledger knows which, and says so
        return Answer(200, await desk.do_to_lease(commands.RenewLease(lease_id=asked.subject), asked.subject))
    if wait_s and lease.state == asked.query.state != State.ENDED:
        lease = await _changed(desk, lease, wait_s, beats=beats)
    return Answer(200, lease)


def _checked(wait_s: float) -> float:
    if not 0 <= wait_s <= LONGEST_WAIT_S:
        raise Refusal("bad_value", f"wait_s must be 0 to {LONGEST_WAIT_S:g}, not {wait_s:g}: ask again after it")
    return wait_s


async def _changed(desk: Desk, lease: m.LeaseInfo, wait_s: float, *, beats: bool) -> m.LeaseInfo:
    """Return a lease as it reads once its state is another, or after ``wait_s``."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    state = lease.state
    with desk.engine.watch(lease.id) as watch:
        while True:
            lease = await desk.lease(lease.id) or lease
            left_s = deadline - loop.time()
            if lease.state != state or left_s <= 0:
                return lease
            if not await watch.changed(min(left_s, _beat_s(desk, lease.id))) and beats:
                await _beat(desk, lease.id)


def _beat_s(desk: Desk, lease_id: str) -> float:
    lease = desk.engine.ledger.find(lease_id)
    own_ttl_s = None if lease is None else lease.ttl_s
    return (own_ttl_s or desk.engine.ledger.settings.ttl_s) / BEATS_PER_TTL


async def _beat(desk: Desk, lease_id: str) -> None:
    """Renew a lease that waits and has no session; one that is held must be renewed by its holder."""
    lease = desk.engine.ledger.find(lease_id)
    if lease is not None and lease.state in WAITING and lease.session_id is None:
        with suppress(Refusal):  # it may end this very instant, and then reads so
            await desk.engine.do(commands.RenewLease(lease_id=lease_id), nothing)
