"""Waiting for a grant: who is told when, and what becomes of callers that go away."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import Any

import aiohttp
import pytest
from tests.doors.conftest import GIB, Door, HttpDoor, Json, Said, connect

from cf_orch.coordinator.clock import HandTurnedClock
from cf_orch.coordinator.doors import make_app
from cf_orch.coordinator.doors.attendance import Attendance
from cf_orch.coordinator.engine import Engine
from cf_orch.coordinator.journal import MemoryJournal, Term
from cf_orch.doors import open_doors
from cf_orch.ledger import Lease, State

WHOLE: Json = {"service": "kiwi", "vram_gb": 24}
HALF: Json = {"service": "kiwi", "vram_gb": 12}
CARD = {"uuid": "d0", "name": "RTX 4090", "total_bytes": 24 * GIB, "has_driver": False}

Wait = Callable[..., Awaitable[None]]
"""Begin to wait for a request, and break the connection as soon as it stands in line."""


async def take_all(door: Door) -> str:
    """Take the whole card, for no session; returns the lease's id."""
    said = await door.call("lease.request", service="owl", vram_gb=24)
    assert said.status == 201
    return str(said.body["id"])


async def standing(engine: Engine, request_id: str, caller: str = "service:kiwi") -> Lease:
    """Wait until a request stands in line."""
    while (lease := engine.ledger.find_request(caller, request_id)) is None:  # noqa: ASYNC110 - no event tells it
        await asyncio.sleep(0)
    return lease


async def test_queued_then_granted(door: Door) -> None:
    """A request that must wait is 202 at once, and the lease is granted when the memory is back."""
    holder = await take_all(door)

    queued = await door.call("lease.request", **WHOLE)
    await door.call("lease.release", subject=holder)
    granted = await door.call("lease.get", subject=queued.body["id"])

    assert (queued.status, queued.body["state"], queued.body["token"]) == (202, "queued", None)
    assert (granted.status, granted.body["state"], granted.body["devices"][0]["uuid"]) == (200, "active", "d0")


async def test_a_wait_ends_with_the_grant(door: Door, http: HttpDoor, engine: Engine) -> None:
    """A request that waits is answered by its grant."""
    holder = await take_all(http)

    waiting = asyncio.create_task(door.call("lease.request", **WHOLE, request_id="r1", wait_s=60))
    await standing(engine, "r1")
    await http.call("lease.release", subject=holder)
    said = await waiting

    assert (said.status, said.body["state"]) == (201, "active")


async def test_a_wait_ends_with_its_time(door: Door) -> None:
    """A request that was not granted in its time is 202, and keeps its place."""
    await take_all(door)

    said = await door.call("lease.request", **WHOLE, wait_s=0.01)

    assert (said.status, said.body["state"], said.body["position"]) == (202, "queued", 0)


async def test_a_wait_ends_with_the_lease(door: Door, http: HttpDoor, engine: Engine, clock: HandTurnedClock) -> None:
    """A request whose own patience ends while its caller waits is answered as it reads then."""
    await take_all(http)

    waiting = asyncio.create_task(door.call("lease.request", **WHOLE, request_id="r1", max_wait_s=3, wait_s=60))
    await standing(engine, "r1")
    clock.turn(3)
    said = await waiting

    assert (said.status, said.body["state"], said.body["outcome"]) == (200, "ended", "timed_out")


async def test_a_wait_ends_when_the_coordinator_stops(door: Door, http: HttpDoor, engine: Engine) -> None:
    """A coordinator that stops answers those who wait with the place that it has promised."""
    await take_all(http)

    waiting = asyncio.create_task(door.call("lease.request", **WHOLE, request_id="r1", wait_s=60))
    lease = await standing(engine, "r1")
    await engine.look(lambda _ledger, _now: None)
    engine.announce_stop()
    said = await waiting

    assert (said.status, said.body["state"], said.body["id"]) == (202, "queued", lease.id)


async def test_a_read_waits_for_a_change(door: Door, http: HttpDoor) -> None:
    """Reading a lease may wait until its state is another than the caller knows."""
    holder = await take_all(http)
    queued = (await http.call("lease.request", **WHOLE, request_id="r1")).body

    early = await door.call("lease.get", subject=queued["id"], wait_s=0.01)
    waiting = asyncio.create_task(door.call("lease.get", subject=queued["id"], wait_s=60))
    await http.call("lease.release", subject=holder)
    late = await waiting

    assert (early.status, early.body["state"]) == (200, "queued")
    assert (late.status, late.body["state"]) == (200, "active")


async def test_a_read_may_wait_for_the_end(door: Door, http: HttpDoor) -> None:
    """Whoever knows that a lease is active may wait until it is not."""
    lease_id = await take_all(http)

    waiting = asyncio.create_task(door.call("lease.get", subject=lease_id, wait_s=60, state="active"))
    await http.call("lease.release", subject=lease_id)
    said = await waiting

    assert (said.status, said.body["state"]) == (200, "ended")


async def test_a_read_of_an_ended_lease_does_not_wait(door: Door) -> None:
    """Nothing changes any more once a lease has ended."""
    lease_id = await take_all(door)
    await door.call("lease.release", subject=lease_id)

    for known in ("queued", "active", "ended"):
        said = await door.call("lease.get", subject=lease_id, wait_s=60, state=known)

        assert (said.status, said.body["state"], said.body["expires_at"]) == (200, "ended", None)


async def test_polls_keep_a_waiter_alive(door: Door, http: HttpDoor, clock: HandTurnedClock) -> None:
    """A waiter without a session lives as long as somebody asks for it, and ends a full grace later."""
    await http.call("lease.request", service="owl", vram_gb=24, ttl_s=3600)
    queued = (await http.call("lease.request", **WHOLE)).body

    for _ in range(3):
        clock.turn(39)
        assert (await door.call("lease.get", subject=queued["id"])).body["state"] == "queued"
    clock.turn(41)

    said = await door.call("lease.get", subject=queued["id"])
    assert (said.body["state"], said.body["outcome"]) == ("ended", "expired")


async def test_a_look_keeps_no_holder_alive(door: Door, clock: HandTurnedClock) -> None:
    """Whoever holds memory without a session must renew it himself; that somebody looks at it is not enough."""
    lease_id = await take_all(door)

    clock.turn(39)
    await door.call("lease.get", subject=lease_id)
    clock.turn(2)

    assert (await door.call("lease.get", subject=lease_id)).body["outcome"] == "expired"


async def test_a_connection_keeps_its_waiter_alive(http: HttpDoor, engine: Engine) -> None:
    """While a request without a session waits on its connection, that renews it."""
    await take_all(http)

    waiting = asyncio.create_task(http.call("lease.request", **WHOLE, request_id="r1", ttl_s=1, wait_s=1))
    lease = await standing(engine, "r1")
    await engine.look(lambda _ledger, _now: None)
    with engine.watch(lease.id) as watch:
        renewed = await watch.changed(5)
    said = await waiting

    assert renewed
    assert said.status == 202


# --- retries


async def test_a_retry_finds_its_lease(door: Door) -> None:
    """The same id gives the same lease: granted, and after its end as it reads then."""
    first = await door.call("lease.request", **WHOLE, request_id="r1")
    again = await door.call("lease.request", **WHOLE, request_id="r1")
    await door.call("lease.release", subject=first.body["id"])
    after = await door.call("lease.request", **WHOLE, request_id="r1")

    assert (first.status, again.status, after.status) == (201, 201, 200)
    assert first.body == again.body
    assert (after.body["id"], after.body["outcome"]) == (first.body["id"], "released")


async def test_ids_are_each_callers_own(http: HttpDoor) -> None:
    """Two sessions, and two services without one, may use the same request id."""
    for session_id in ("s1", "s2"):
        await http.call("session.open", service="kiwi", session_id=session_id)

    said = [
        await http.call("lease.request", service="kiwi", vram_gb=1, request_id="r", by=by) for by in ("s1", "s2", None)
    ]
    other = await http.call("lease.request", service="owl", vram_gb=1, request_id="r")

    assert len({one.body["id"] for one in [*said, other]}) == 4


# --- callers that go away


@pytest.fixture(params=["http", "websocket"])
def wait_and_break(
    request: pytest.FixtureRequest, session: aiohttp.ClientSession, engine: Engine, stack: AsyncExitStack
) -> Wait:
    """Wait for a request by each of the doors, and break the connection when it stands in line."""

    async def by_http(request_id: str, **fields: str) -> None:
        sent = {**WHOLE, "request_id": request_id, **fields}
        waiting = asyncio.create_task(_answer(session.post("/api/v1/leases?wait_s=60", json=sent)))
        lease = await standing(engine, request_id, fields.get("session_id", "service:kiwi"))
        await _noticed(engine, lease, left=1)
        waiting.cancel()
        await _noticed(engine, lease)

    async def by_socket(request_id: str, **fields: str) -> None:
        socket = await connect(session, stack)
        sent = {"id": 1, "op": "lease.request", **WHOLE, "request_id": request_id, "wait_s": 60, **fields}
        await socket.send_json(sent)
        lease = await standing(engine, request_id, fields.get("session_id", "service:kiwi"))
        await _noticed(engine, lease, left=1)
        await socket.close()
        await _noticed(engine, lease)

    return by_http if request.param == "http" else by_socket


async def _answer(context: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> None:
    async with context as answer:
        await answer.read()


async def _noticed(engine: Engine, lease: Lease, left: int = 0) -> None:
    """Wait until so many connections are left that wait for a lease."""
    while len(engine._listeners._watches.get(lease.id, ())) != left:  # noqa: ASYNC110 - no event tells it
        await asyncio.sleep(0)


async def test_a_waiter_that_has_gone_is_passed_over_and_then_cancelled(
    wait_and_break: Wait, http: HttpDoor, engine: Engine, clock: HandTurnedClock
) -> None:
    """Who breaks off keeps its place for 5 s, is not granted meanwhile, and is cancelled then."""
    holder = await take_all(http)
    await wait_and_break("r1")
    lease = await standing(engine, "r1")

    await http.call("lease.release", subject=holder)
    clock.turn(4.9)
    await http.call("status")
    before = lease.state
    clock.turn(0.2)

    assert before is State.QUEUED
    assert (lease.state, lease.outcome) == (State.ENDED, "cancelled")


async def test_a_retry_in_time_takes_its_place_again(
    wait_and_break: Wait, http: HttpDoor, engine: Engine, clock: HandTurnedClock
) -> None:
    """Who comes back with the same id within 5 s is where it was, before those who came later."""
    holder = await take_all(http)
    await wait_and_break("r1")
    later = (await http.call("lease.request", **WHOLE, request_id="r2")).body["id"]
    clock.turn(4.9)

    again = await http.call("lease.request", **WHOLE, request_id="r1")
    clock.turn(4.9)
    await http.call("lease.release", subject=holder)

    assert (again.status, again.body["position"]) == (202, 0)
    assert engine.ledger.leases[again.body["id"]].state is State.ACTIVE
    assert engine.ledger.leases[later].state is State.QUEUED


async def test_a_waiter_with_a_session_stays(
    wait_and_break: Wait, http: HttpDoor, engine: Engine, clock: HandTurnedClock
) -> None:
    """A session's request outlives the connection that it was made on: the session's heartbeat keeps it."""
    await http.call("session.open", service="kiwi", session_id="s1")
    holder = await take_all(http)
    await wait_and_break("r1", session_id="s1")
    clock.turn(6)

    await http.call("lease.release", subject=holder)

    assert (await standing(engine, "r1", "s1")).state is State.ACTIVE


async def test_the_last_of_two_connections_counts(
    session: aiohttp.ClientSession, http: HttpDoor, engine: Engine
) -> None:
    """Where the same request waits twice, it stays while one of them is there, and that one is answered."""
    holder = await take_all(http)
    first = asyncio.create_task(http.call("lease.request", **WHOLE, request_id="r1", wait_s=60))
    lease = await standing(engine, "r1")
    second = asyncio.create_task(_answer(session.post("/api/v1/leases?wait_s=60", json={**WHOLE, "request_id": "r1"})))
    await _noticed(engine, lease, left=2)
    second.cancel()
    await _noticed(engine, lease, left=1)

    await http.call("lease.release", subject=holder)
    said: Said = await first

    assert said.status == 201
    assert lease.state is State.ACTIVE


async def test_a_grant_that_nobody_read_is_released(http: HttpDoor, engine: Engine) -> None:
    """A grant whose caller has gone before the answer could be written gives the memory back."""
    lease = engine.ledger.leases[await take_all(http)]

    seat = Attendance(engine).take_seat(lease, known_to_caller=False)
    with suppress(ConnectionResetError):
        async with seat:
            raise ConnectionResetError

    assert (lease.state, lease.outcome) == (State.ENDED, "released")


async def test_a_grant_that_was_read_before_is_kept(http: HttpDoor, engine: Engine) -> None:
    """Nothing is released because a retry, or one of two connections, could not be answered."""
    lease = engine.ledger.leases[await take_all(http)]
    attendance = Attendance(engine)

    for first, known in ((None, True), (attendance.take_seat(lease, known_to_caller=False), False)):
        with suppress(ConnectionResetError):
            async with attendance.take_seat(lease, known_to_caller=known):
                if first is not None:
                    async with first:
                        pass
                raise ConnectionResetError

    assert lease.state is State.ACTIVE


class GatedJournal(MemoryJournal):
    """A journal whose writes wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, term: Term, seq: int, wall_unix_s: float, body: bytes) -> None:
        await self.gate.wait()
        await super().append(term, seq, wall_unix_s, body)


@pytest.fixture
async def gated(stack: AsyncExitStack) -> tuple[GatedJournal, Engine, aiohttp.ClientSession]:
    """Serve one card and session s1 from a journal that can be held up."""
    journal = GatedJournal()
    engine = Engine(journal)
    await engine.start()
    stack.push_async_callback(engine.stop)
    doors = await stack.enter_async_context(open_doors(make_app(engine), host="127.0.0.1"))
    session = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{doors.port}"))
    http = HttpDoor(session)
    await http.call("devices.report", host_id="h", host_name="box", devices=[CARD])
    await http.call("session.open", service="kiwi", session_id="s1")
    return journal, engine, session


Gated = tuple[GatedJournal, Engine, aiohttp.ClientSession]


async def ask_and_go(session: aiohttp.ClientSession, engine: Engine, *, by_socket: bool, **sent: Any) -> Lease:
    """Ask for half the card, and close the connection before there is an answer."""
    key = (sent.get("session_id", "service:kiwi"), sent["request_id"])
    earlier = engine.ledger.find_request(*key)
    expired_at = None if earlier is None else earlier.expires_at
    async with AsyncExitStack() as stack:
        if by_socket:
            socket = await connect(session, stack)
            await socket.send_json({"id": 1, "op": "lease.request", **HALF, **sent})
        else:
            asking = asyncio.create_task(_answer(session.post("/api/v1/leases", json={**HALF, **sent})))
            stack.callback(asking.cancel)
        lease = await standing(engine, key[1], key[0])
        while earlier is not None and lease.expires_at == expired_at:  # noqa: ASYNC110 - a retry shows by this alone
            await asyncio.sleep(0)
    return lease


async def given_back(lease: Lease) -> None:
    """Wait until a lease is released."""
    while lease.state is State.ACTIVE:  # noqa: ASYNC110 - it is decided before anything tells of it
        await asyncio.sleep(0)


@pytest.mark.parametrize("by_socket", [False, True])
async def test_a_caller_that_goes_before_its_grant_is_on_disk_gives_it_back(*, by_socket: bool, gated: Gated) -> None:
    """Between journal and answer no grant is lost: nobody could read it, so its memory is given back."""
    journal, engine, session = gated

    journal.gate.clear()
    lease = await ask_and_go(session, engine, by_socket=by_socket, request_id="r1")
    await given_back(lease)
    journal.gate.set()
    await HttpDoor(session).call("status")

    assert lease.token is not None
    assert (lease.state, lease.outcome) == (State.ENDED, "released")


@pytest.mark.parametrize("by_socket", [False, True])
async def test_a_grant_of_a_session_waits_for_it(*, by_socket: bool, gated: Gated) -> None:
    """A session that could not read its grant still has it: it says what it holds when it is back."""
    journal, engine, session = gated

    journal.gate.clear()
    lease = await ask_and_go(session, engine, by_socket=by_socket, request_id="r1", session_id="s1")
    await given_back(await ask_and_go(session, engine, by_socket=by_socket, request_id="r2"))
    journal.gate.set()

    assert lease.state is State.ACTIVE


@pytest.mark.parametrize("by_socket", [False, True])
async def test_a_retry_that_goes_gives_nothing_back(*, by_socket: bool, gated: Gated) -> None:
    """A lease that its caller has read is not released because a retry of it could not be answered."""
    journal, engine, session = gated
    held = await HttpDoor(session).call("lease.request", **HALF, request_id="r1")

    journal.gate.clear()
    held_up = asyncio.create_task(HttpDoor(session).call("session.open", service="kiwi", session_id="s2"))
    while "s2" not in engine.ledger.sessions:  # noqa: ASYNC110 - no event tells it
        await asyncio.sleep(0)
    lease = await ask_and_go(session, engine, by_socket=by_socket, request_id="r1")
    await given_back(await ask_and_go(session, engine, by_socket=by_socket, request_id="r2"))
    journal.gate.set()
    await held_up

    assert held.body["id"] == lease.id
    assert lease.state is State.ACTIVE
