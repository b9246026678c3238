"""The WebSocket: greeting, order, sessions and their notices, and what is left when it closes."""

from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from tests.doors.conftest import HttpDoor, connect

from cf_orch.coordinator.engine import Engine
from cf_orch.ledger import State
from cf_orch.protocol.operations import API_PREFIX

WHOLE = {"op": "lease.request", "service": "kiwi", "vram_gb": 24}

Socket = aiohttp.ClientWebSocketResponse


@pytest.fixture
async def socket(session: aiohttp.ClientSession, stack: AsyncExitStack) -> Socket:
    """Have greeted."""
    return await connect(session, stack)


@pytest.fixture
async def kiwi(socket: Socket) -> Socket:
    """Speak for session s1 of kiwi."""
    await socket.send_json({"id": 0, "op": "session.open", "service": "kiwi", "session_id": "s1"})
    assert (await socket.receive_json())["status"] == 201
    return socket


async def said(socket: Socket, re: int) -> dict[str, Any]:
    """Return the answer to a call, passing over what else comes."""
    while (frame := await socket.receive_json()).get("re") != re:
        pass
    return dict(frame)


async def notice(socket: Socket) -> dict[str, Any]:
    """Return the next notice, passing over answers."""
    while "notice" not in (frame := await socket.receive_json()):
        pass
    return dict(frame)


async def test_the_greeting_says_who_is_there(session: aiohttp.ClientSession, engine: Engine) -> None:
    """Each side says which protocol it speaks; the coordinator adds which start of it this is."""
    async with session.ws_connect(API_PREFIX + "/connect") as socket:
        await socket.send_json({"hello": {"protocol": 1, "version": "0.9", "role": "client", "colour": "red"}})
        hello = (await socket.receive_json())["hello"]

    assert (hello["protocol"], hello["role"], hello["epoch"]) == (1, "coordinator", engine.epoch)


@pytest.mark.parametrize("frame", ["{", '{"id": 1, "op": "devices"}', '{"hello": {"protocol": "one"}}'])
async def test_nobody_is_served_without_a_greeting(frame: str, session: aiohttp.ClientSession) -> None:
    """A socket that begins with something else is told so and closed."""
    async with session.ws_connect(API_PREFIX + "/connect") as socket:
        await socket.send_str(frame)
        answer = await socket.receive_json()
        end = await socket.receive()

    assert answer["re"] is None
    assert answer["status"] in (400, 422)
    assert end.type is aiohttp.WSMsgType.CLOSE


async def test_calls_take_effect_in_the_order_in_which_they_arrive(socket: Socket) -> None:
    """A hundred requests sent without waiting get rising places, and all are answered."""
    for number in range(100):
        await socket.send_json(
            {"id": number, **WHOLE, "request_id": f"r{number}", "vram_gb": 1, "service": f"s{number}"}
        )

    answers = [await socket.receive_json() for _ in range(100)]

    by_number = sorted(answers, key=lambda answer: answer["re"])
    places = [int(answer["body"]["id"].rpartition("-")[2]) for answer in by_number]
    assert places == sorted(places)
    assert [answer["status"] for answer in by_number] == [201] * 24 + [202] * 76


async def test_opening_a_session_waits_for_its_turn(socket: Socket, engine: Engine) -> None:
    """What was sent before session.open takes effect before it, and is not the session's."""
    since = engine.ledger.seq
    await socket.send_json({"id": 0, "op": "device.drain", "uuid": "d0"})
    await socket.send_json({"id": 1, "op": "session.open", "service": "kiwi", "session_id": "s1"})
    await socket.send_json({"id": 2, **WHOLE, "request_id": "r1"})
    answers = [await socket.receive_json() for _ in range(3)]

    assert sorted((answer["re"], answer["status"]) for answer in answers) == [(0, 200), (1, 201), (2, 202)]
    assert [type(event).__name__ for _, _, event in await engine.events(since, 10)] == [
        "DrainBegun",
        "SessionOpened",
        "Requested",
    ]
    assert engine.ledger.find_request("s1", "r1") is not None


async def test_a_call_that_waits_holds_up_no_other(kiwi: Socket) -> None:
    """While one call waits for its grant, later calls are answered, and a release among them ends the wait."""
    await kiwi.send_json({"id": 1, **WHOLE})
    holder = (await said(kiwi, 1))["body"]["id"]

    await kiwi.send_json({"id": 2, **WHOLE, "wait_s": 60})
    await kiwi.send_json({"id": 3, "op": "status"})
    status = await said(kiwi, 3)
    await kiwi.send_json({"id": 4, "op": "lease.release", "lease_id": holder})
    granted = await said(kiwi, 2)

    assert status["body"]["queued"] == 1
    assert granted["status"] == 201


async def test_an_answer_without_a_body_has_none(kiwi: Socket) -> None:
    """What is 204 on HTTP is a bare status here."""
    await kiwi.send_json({"id": 1, **WHOLE})
    holder = (await said(kiwi, 1))["body"]["id"]

    await kiwi.send_json({"id": 2, "op": "lease.release", "lease_id": holder})

    assert await said(kiwi, 2) == {"re": 2, "status": 204}


async def test_a_bound_socket_speaks_for_its_session(kiwi: Socket, engine: Engine) -> None:
    """After session.open every call is the session's, without naming it; what is the operator's is refused."""
    await kiwi.send_json({"id": 1, **WHOLE})
    lease_id = (await said(kiwi, 1))["body"]["id"]
    await kiwi.send_json({"id": 2, "op": "device.drain", "uuid": "d0"})
    refused = await said(kiwi, 2)

    assert engine.ledger.leases[lease_id].session_id == "s1"
    assert refused["body"]["code"] == "operator_only"


async def test_a_session_hears_of_its_grants(kiwi: Socket, http: HttpDoor, engine: Engine) -> None:
    """A request that was queued is told when it is granted, with the lease as it reads then."""
    holder = await http.call("lease.request", service="owl", vram_gb=24)
    await kiwi.send_json({"id": 1, **WHOLE, "request_id": "r1"})
    queued = await said(kiwi, 1)

    await http.call("lease.release", subject=holder.body["id"])
    heard = await notice(kiwi)

    assert queued["status"] == 202
    assert (heard["notice"], heard["seq"]) == ("granted", engine.ledger.seq)
    assert (heard["lease"]["request_id"], heard["lease"]["state"]) == ("r1", "active")


async def test_a_session_hears_of_its_losses(kiwi: Socket, http: HttpDoor) -> None:
    """A lease that somebody else ended is told as lost; one that the session gave back itself is not."""
    own: list[str] = []
    other: list[str] = []
    for call, leases in ((1, own), (2, other)):
        await kiwi.send_json({"id": call, **WHOLE, "vram_gb": 4})
        leases.append((await said(kiwi, call))["body"]["id"])

    await kiwi.send_json({"id": 3, "op": "lease.release", "lease_id": own[0]})
    await said(kiwi, 3)
    await http.call("lease.release", subject=other[0])
    while (heard := await notice(kiwi))["notice"] == "granted":
        pass

    assert (heard["notice"], heard["lease"]["id"]) == ("lost", other[0])


async def test_a_session_hears_that_the_coordinator_stops(kiwi: Socket, engine: Engine) -> None:
    """Who is told beforehand need not take the silence for a failure."""
    engine.announce_stop()

    assert await notice(kiwi) == {"notice": "stopping", "seq": engine.ledger.seq}


async def test_a_holder_hears_that_it_is_to_leave_and_may_come_back(kiwi: Socket, http: HttpDoor) -> None:
    """Evict with a deadline and for whom; when its memory is free again, resume with a new token."""
    await kiwi.send_json({"id": 1, **WHOLE, "evictable": True, "priority": "batch"})
    lease = (await said(kiwi, 1))["body"]
    asker = (await http.call("lease.request", service="owl", vram_gb=24, priority="realtime")).body

    evict = await notice(kiwi)
    await kiwi.send_json({"id": 2, "op": "lease.checkpointed", "lease_id": lease["id"], "residue_gb": 0})
    parked = (await said(kiwi, 2))["body"]
    await http.call("lease.release", subject=asker["id"])
    resume = await notice(kiwi)

    assert (evict["notice"], evict["for"], evict["lease"]["state"]) == ("evict", asker["id"], "evicting")
    assert 0 < evict["deadline_s"] <= 30
    assert (parked["state"], parked["charge_gb"], parked["waiting_for"]["behind"]) == ("parked", 0.0, [asker["id"]])
    assert (resume["notice"], resume["lease"]["state"]) == ("resume", "loading")
    assert resume["lease"]["token"] > lease["token"]


async def test_a_holder_hears_that_it_may_stay(kiwi: Socket, http: HttpDoor) -> None:
    """Whoever wanted the memory has gone: the holder stays, under the same token."""
    await kiwi.send_json({"id": 1, **WHOLE, "evictable": True, "priority": "batch"})
    lease = (await said(kiwi, 1))["body"]
    asker = (await http.call("lease.request", service="owl", vram_gb=24, priority="realtime")).body
    assert (await notice(kiwi))["notice"] == "evict"

    await http.call("lease.release", subject=asker["id"])
    withdrawn = await notice(kiwi)

    assert (withdrawn["notice"], withdrawn["lease"]["state"]) == ("withdrawn", "active")
    assert withdrawn["lease"]["token"] == lease["token"]


async def test_a_session_speaks_through_its_newest_socket(
    kiwi: Socket, http: HttpDoor, session: aiohttp.ClientSession, stack: AsyncExitStack
) -> None:
    """After a reconnect with the same id the session is the same, and hears its notices on the new socket."""
    holder = await http.call("lease.request", service="owl", vram_gb=24)
    await kiwi.send_json({"id": 1, **WHOLE, "request_id": "r1"})
    queued = (await said(kiwi, 1))["body"]["id"]
    await kiwi.close()

    again = await connect(session, stack)
    await again.send_json({"id": 0, "op": "session.open", "service": "kiwi", "session_id": "s1"})
    await said(again, 0)
    await again.send_json(
        {"id": 1, "op": "session.sync", "session_id": "s1", "leases": [{"request_id": "r1", "state": "queued"}]}
    )
    synced = (await said(again, 1))["body"]["leases"]
    await http.call("lease.release", subject=holder.body["id"])
    heard = await notice(again)

    assert [lease["id"] for lease in synced] == [queued]
    assert heard["lease"]["id"] == queued


async def test_a_socket_may_open_another_session(kiwi: Socket, engine: Engine) -> None:
    """A client whose session ended opens a new one on the same socket, and is that one from then on."""
    await kiwi.send_json({"id": 1, "op": "session.close", "session_id": "s1"})
    await said(kiwi, 1)
    await kiwi.send_json({"id": 2, "op": "session.open", "service": "kiwi", "session_id": "s2"})
    await said(kiwi, 2)

    await kiwi.send_json({"id": 3, **WHOLE})
    answer = await said(kiwi, 3)

    assert answer["body"]["session_id"] == "s2"
    assert set(engine._listeners._subscriptions) == {"s2"}


async def test_a_closed_socket_does_not_end_its_session(kiwi: Socket, engine: Engine) -> None:
    """A session lives by its heartbeat, not by its socket."""
    await kiwi.send_json({"id": 1, **WHOLE})
    lease_id = (await said(kiwi, 1))["body"]["id"]
    await kiwi.close()
    await engine.look(lambda _ledger, _now: None)

    assert "s1" in engine.ledger.sessions
    assert engine.ledger.leases[lease_id].state is State.ACTIVE


async def test_a_frame_that_is_too_large_closes_the_socket(socket: Socket, engine: Engine) -> None:
    """A megabyte is the most; more is not read."""
    before = engine.ledger.snapshot()

    await socket.send_str('{"id": 1, "op": "session.open", "service": "' + "x" * 2**20 + '"}')
    end = await socket.receive()

    assert end.type is aiohttp.WSMsgType.CLOSE
    assert end.data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
    assert engine.ledger.snapshot() == before


async def test_frames_may_be_binary(socket: Socket) -> None:
    """A client that sends its JSON as bytes is understood."""
    await socket.send_bytes(b'{"id": 1, "op": "devices"}')

    assert (await said(socket, 1))["status"] == 200
