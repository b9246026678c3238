"""Every no is a problem with its code and a sentence, and leaves the ledger as it was."""

import io
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.doors.conftest import GIB, Door, HttpDoor, Json, Said, connect

from cf_orch.coordinator.clock import HandTurnedClock
from cf_orch.coordinator.doors import make_app
from cf_orch.coordinator.engine import Engine
from cf_orch.doors import open_doors
from cf_orch.protocol.errors import STATUS_OF_CODE

LEASE: Json = {"service": "kiwi", "vram_gb": 4}


async def refuse_wrong_unit(door: Door) -> Said:
    return await door.call("lease.request", service="kiwi", vram_gb=6000)


async def refuse_bad_value(door: Door) -> Said:
    return await door.call("lease.request", service="kiwi", vram_gb=-1)


async def refuse_operator_only(door: Door) -> Said:
    return await door.call("device.drain", subject="d0", by="s1")


async def refuse_not_yours(door: Door) -> Said:
    return await door.call("lease.release", subject=await lease_of(door, "s1"), by="s2")


async def refuse_over_quota(door: Door) -> Said:
    return await door.call("lease.request", service="small", vram_gb=9)


async def refuse_unknown_session(door: Door) -> Said:
    return await door.call("session.renew", subject="never")


async def refuse_unknown_lease(door: Door) -> Said:
    return await door.call("lease.release", subject="never-7")


async def refuse_unknown_profile(door: Door) -> Said:
    return await door.call("gpu.profile", subject="RTX 4091")


async def refuse_device_not_found(door: Door) -> Said:
    return await door.call("device.drain", subject="d9")


async def refuse_lease_ended(door: Door) -> Said:
    return await door.call("lease.renew", subject=await ended_lease(door))


async def refuse_unknown_device(door: Door) -> Said:
    return await door.call("lease.request", **LEASE, device="RTX 5090")


async def refuse_unmet_requirement(door: Door) -> Said:
    return await door.call("lease.request", **LEASE, requires=["fp4"])


async def refuse_too_large(door: Door) -> Said:
    return await door.call("lease.request", service="kiwi", vram_gb=25)


async def refuse_not_granted(door: Door) -> Said:
    return await door.call("lease.idle", subject=(await queued_lease(door)))


async def refuse_still_loading(door: Door) -> Said:
    return await door.call("lease.idle", subject=(await loading_lease(door)))


async def refuse_not_evictable(door: Door) -> Said:
    return await door.call("lease.evict", subject=await lease_of(door, "s1"))


async def refuse_request_id_reused(door: Door) -> Said:
    return await door.call("lease.request", service="kiwi", vram_gb=5, request_id="r0")


async def refuse_queue_full(door: Door) -> Said:
    return await door.call("lease.request", service="full", vram_gb=24)


REFUSALS: dict[str, Callable[[Door], Awaitable[Said]]] = {
    name.removeprefix("refuse_"): function for name, function in list(globals().items()) if name.startswith("refuse_")
}

NUMBERS = {
    "wrong_unit": {"asked_bytes": 6000 * GIB},
    "over_quota": {"asked_bytes": 9 * GIB, "largest_bytes": 8 * GIB},
    "too_large": {"asked_bytes": 25 * GIB, "largest_bytes": 24 * GIB},
    "queue_full": {"waiting": 50, "most": 50},
}


async def lease_of(door: Door, session_id: str) -> str:
    return await _find(door, session_id=session_id)


async def queued_lease(door: Door) -> str:
    return await _find(door, state="queued")


async def loading_lease(door: Door) -> str:
    return await _find(door, state="loading")


async def ended_lease(door: Door) -> str:
    return str((await door.call("leases", state="ended")).body["leases"][0]["id"])


async def _find(door: Door, **fields: str) -> str:
    leases = (await door.call("leases")).body["leases"]
    return str(next(lease["id"] for lease in leases if fields.items() <= lease.items()))


@pytest.fixture
async def busy(door: Door) -> Door:
    """Have sessions s1 and s2, a lease of s1, one of no session, one that loads, one that ended, and a full queue."""
    for session_id in ("s1", "s2"):
        await door.call("session.open", service="kiwi", session_id=session_id)
    await door.call("lease.request", **LEASE, by="s1")
    await door.call("lease.request", **LEASE, request_id="r0")
    ended = await door.call("lease.request", **LEASE)
    await door.call("lease.release", subject=ended.body["id"])
    await door.call("lease.request", **LEASE, peak_gb=5)
    for _ in range(50):
        await door.call("lease.request", service="full", vram_gb=24)
    return door


@pytest.mark.parametrize("code", REFUSALS)
async def test_a_refusal_is_a_problem_and_changes_nothing(code: str, busy: Door, engine: Engine) -> None:
    """The refusal has the status of its code, a sentence, its numbers, and the ledger is what it was."""
    before = engine.ledger.snapshot()

    said = await REFUSALS[code](busy)

    assert said.status == STATUS_OF_CODE[code]
    assert said.content_type == "application/problem+json"
    assert said.body["code"] == code
    assert said.body["status"] == said.status
    assert said.body["title"] == code.replace("_", " ")
    assert " " in said.body["detail"]
    assert said.body.get("numbers", {}) == NUMBERS.get(code, {})
    assert engine.ledger.snapshot() == before


@pytest.mark.parametrize(
    ("call", "fields"),
    [
        ("session.renew", {"subject": "s1"}),
        ("session.close", {"subject": "s1"}),
        ("session.sync", {"subject": "s1", "leases": []}),
        ("lease.request", {"session_id": "s1", **LEASE}),
    ],
)
async def test_a_session_speaks_for_itself_alone(call: str, fields: Any, busy: Door, engine: Engine) -> None:
    """A call in the name of another session than the caller's is refused."""
    before = engine.ledger.snapshot()

    said = await busy.call(call, by="s2", **fields)

    assert (said.status, said.body["code"]) == (403, "not_yours")
    assert engine.ledger.snapshot() == before


@pytest.mark.parametrize("verb", ["release", "renew", "loaded", "idle", "busy", "attach"])
async def test_nobody_commands_another_sessions_lease(verb: str, busy: Door, engine: Engine) -> None:
    """Whatever one session says of another's lease is refused; the operator may say it."""
    lease_id = await lease_of(busy, "s1")
    fields: Json = {"pid": 5} if verb == "attach" else {}
    before = engine.ledger.snapshot()

    refused = await busy.call(f"lease.{verb}", subject=lease_id, by="s2", **fields)
    unchanged = engine.ledger.snapshot() == before
    allowed = await busy.call(f"lease.{verb}", subject=lease_id, **fields)

    assert (refused.status, refused.body["code"], unchanged) == (403, "not_yours", True)
    assert allowed.status in (200, 204)


@pytest.mark.parametrize("verb", ["get", "release", "renew", "loaded", "idle", "busy", "attach"])
async def test_a_lease_that_never_was_is_not_there(verb: str, door: Door, engine: Engine) -> None:
    """An id that this ledger never gave out is unknown; one that it gave out long ago has ended."""
    fields: Json = {"pid": 5} if verb == "attach" else {}
    long_ago = f"{engine.ledger.id}-1"

    never = await door.call(f"lease.{verb}", subject="never-1", **fields)
    ended = await door.call(f"lease.{verb}", subject=long_ago, **fields)

    assert (never.status, never.body["code"]) == (404, "unknown_lease")
    if verb == "release":
        assert ended.status == 204
    else:
        assert (ended.status, ended.body["code"]) == (410, "lease_ended")


async def test_numbers_stay_readable(door: Door) -> None:
    """Whoever asks for GB but means bytes reads so; a number beyond the exact integers of JSON is a float."""
    said = await door.call("lease.request", service="kiwi", vram_gb=24 * GIB)

    assert said.body["code"] == "wrong_unit"
    assert "bytes" in said.body["detail"]
    assert isinstance(said.body["numbers"]["asked_bytes"], float)


async def test_near_names_are_given(door: Door) -> None:
    """Who misspells a card reads which names come close."""
    said = await door.call("gpu.profile", subject="RTX 4091")

    assert "RTX 4090" in said.body["detail"]


async def test_a_request_that_cannot_be_taken_back_says_what_is_missing(door: Door) -> None:
    """Who names neither a session nor a service cannot mean any request."""
    said = await door.call("lease.cancel", request_id="r1")

    assert (said.status, said.body["code"]) == (422, "bad_value")
    assert "service" in said.body["detail"]


async def test_a_cancelled_request_finds_itself_cancelled(door: Door) -> None:
    """A request that is taken back before it arrives ends as soon as it does."""
    cancelled = await door.call("lease.cancel", request_id="r1", service="kiwi")
    said = await door.call("lease.request", **LEASE, request_id="r1")

    assert (cancelled.status, said.status) == (204, 200)
    assert (said.body["state"], said.body["outcome"]) == ("ended", "cancelled")


# --- what only HTTP can get wrong


async def post(session: aiohttp.ClientSession, path: str, **more: Any) -> Said:
    async with session.post(path, **more) as answer:
        return Said(answer.status, json.loads(await answer.text()), answer.content_type)


@pytest.mark.parametrize(
    ("code", "call", "sent"),
    [
        ("bad_json", "POST /api/v1/leases", {"data": b'{"service": "ki'}),
        ("bad_json", "POST /api/v1/leases", {"data": b'{"service": "\xff"}'}),
        ("bad_value", "POST /api/v1/leases", {"data": b""}),
        ("bad_value", "POST /api/v1/sessions/s1/renew", {"json": {"more": 1}}),
        ("bad_value", "GET /api/v1/devices?colour=red", {}),
        ("bad_value", "GET /api/v1/devices", {"headers": {"Cf-Orch-Session": "no such thing"}}),
        ("bad_value", "GET /api/v1/leases?limit=0", {}),
        ("bad_value", "GET /api/v1/leases?state=tired", {}),
        ("bad_value", "GET /api/v1/events?since=yesterday", {}),
        ("bad_request", "GET /api/v1/connect", {}),
        ("bad_request", "POST /api/v1/leases", {"data": b"{}", "headers": {"Content-Encoding": "gzip"}}),
        ("body_too_large", "POST /api/v1/leases", {"data": io.BytesIO(b" " * (2**20 + 1))}),
        ("not_found", "GET /api/v1/nothing", {}),
        ("not_found", "GET /nothing", {}),
        ("method_not_allowed", "PUT /api/v1/leases", {}),
    ],
)
async def test_http_says_no_in_the_same_words(
    code: str, call: str, sent: Any, session: aiohttp.ClientSession, engine: Engine
) -> None:
    """What cannot be read, or is not there, is a problem like any other, and changes nothing."""
    before = engine.ledger.snapshot()

    async with session.request(*call.split(" "), **sent) as answer:
        body = await answer.json(content_type="application/problem+json")

    assert (answer.status, body["code"], body["status"]) == (STATUS_OF_CODE[code], code, STATUS_OF_CODE[code])
    assert " " in body["detail"]
    assert engine.ledger.snapshot() == before
    if code == "method_not_allowed":
        assert set(answer.headers["Allow"].split(",")) == {"GET", "POST", "DELETE"}


async def test_what_nobody_foresaw_shows_nothing(engine: Engine, clock: HandTurnedClock, stack: AsyncExitStack) -> None:
    """A defect is a 500 that names no file and no line."""

    async def broken(_request: web.Request) -> web.Response:
        raise RuntimeError("the secret is 42")

    app = make_app(engine, clock=clock)
    app.router.add_get("/broken", broken)
    doors = await stack.enter_async_context(open_doors(app, host="127.0.0.1"))
    session = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{doors.port}"))

    async with session.get("/broken") as answer:
        text = await answer.text()

    assert (answer.status, json.loads(text)["code"]) == (500, "internal")
    assert "42" not in text
    assert "Traceback" not in text


async def test_a_coordinator_that_stops_says_so(http: HttpDoor, engine: Engine) -> None:
    """Calls that come while it stops are refused for now, and it is not ready; the process still lives."""
    await engine.stop()

    said = await http.call("lease.request", **LEASE)
    async with http.session.get("/readyz") as ready, http.session.get("/healthz") as lives:
        statuses = (ready.status, lives.status)

    assert (said.status, said.body["code"]) == (503, "stopping")
    assert statuses == (503, 200)


async def test_a_coordinator_that_serves_is_ready(http: HttpDoor) -> None:
    """Probers are told yes."""
    async with http.session.get("/readyz") as ready, http.session.get("/healthz") as lives:
        assert (ready.status, lives.status) == (200, 200)


async def test_a_socket_of_another_protocol_is_closed(session: aiohttp.ClientSession) -> None:
    """Whoever speaks another protocol reads which one is spoken here, and the socket closes."""
    async with session.ws_connect("/api/v1/connect") as socket:
        await socket.send_json({"hello": {"protocol": 2, "version": "9.0", "role": "client"}})
        said = await socket.receive_json()
        end = await socket.receive()

    assert (said["re"], said["status"], said["body"]["code"]) == (None, 400, "wrong_protocol")
    assert "protocol 1, not 2" in said["body"]["detail"]
    assert end.type is aiohttp.WSMsgType.CLOSE


async def test_every_code_of_the_table_is_provoked() -> None:
    """No code is left that no test has seen; those of access are seen where access is tested."""
    seen = {*REFUSALS, "bad_json", "bad_request", "body_too_large", "not_found", "method_not_allowed"}
    seen |= {"internal", "stopping", "wrong_protocol", "not_authorized", "foreign_origin"}
    seen |= {"model_not_ready"}  # a product's own, see tests/blocking

    assert seen == set(STATUS_OF_CODE)


# --- values


BAD_REQUESTS = [
    ({"vram_gb": 4}, "service"),
    ({"service": "kiwi"}, "vram_gb"),
    ({**LEASE, "vramgb": 4}, "vramgb"),
    ({**LEASE, "gpus": "2"}, "gpus"),
    ({**LEASE, "gpus": 1.5}, "gpus"),
    ({**LEASE, "gpus": 0}, "gpus"),
    ({**LEASE, "gpus": 10**30}, "gpus"),
    ({**LEASE, "vram_gb": "4"}, "vram_gb"),
    ({**LEASE, "vram_gb": True}, "vram_gb"),
    ({**LEASE, "vram_gb": 0}, "vram_gb"),
    ({**LEASE, "vram_gb": 1e308}, "vram_gb"),
    ({**LEASE, "vram_gb": "auto"}, "vram_gb"),
    ({**LEASE, "service": ""}, "service"),
    ({**LEASE, "service": "a\nb"}, "service"),
    ({**LEASE, "service": "x" * 201}, "service"),
    ({**LEASE, "request_id": "r\n"}, "request_id"),
    ({**LEASE, "session_id": "s 1"}, "session_id"),
    ({**LEASE, "priority": "urgent"}, "priority"),
    ({**LEASE, "priority": 101}, "priority"),
    ({**LEASE, "priority": 2.5}, "priority"),
    ({**LEASE, "peak_gb": 3}, "peak_gb"),
    ({**LEASE, "residue_gb": 5}, "residue_gb"),
    ({**LEASE, "ttl_s": 0.5}, "ttl_s"),
    ({**LEASE, "max_wait_s": -1}, "max_wait_s"),
    ({**LEASE, "device": {"index": 0}}, "device"),
    ({**LEASE, "requires": "bf16"}, "requires"),
    ({**LEASE, "wait_s": 61}, "wait_s"),
    ({**LEASE, "wait_s": -0.1}, "wait_s"),
]


@pytest.mark.parametrize(
    ("fields", "named"), BAD_REQUESTS, ids=[f"{named}-{i}" for i, (_, named) in enumerate(BAD_REQUESTS)]
)
async def test_a_wrong_value_is_named(fields: Any, named: str, door: Door, engine: Engine) -> None:
    """Unknown fields, wrong types and values out of range are refused with the field's name, and change nothing."""
    before = engine.ledger.snapshot()

    said = await door.call("lease.request", **fields)

    assert (said.status, said.body["code"]) == (422, "bad_value")
    assert named in said.body["detail"]
    assert engine.ledger.snapshot() == before


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["vram_gb", "peak_gb", "ttl_s", "max_wait_s"])
async def test_what_is_no_number_is_refused(
    number: str, field: str, session: aiohttp.ClientSession, engine: Engine
) -> None:
    """NaN and the infinities are no JSON, and a number that no float holds is out of range."""
    values = {"service": '"kiwi"', "vram_gb": "4"} | {field: number}
    body = "{" + ", ".join(f'"{key}": {value}' for key, value in values.items()) + "}"
    before = engine.ledger.snapshot()

    said = await post(session, "/api/v1/leases", data=body)

    assert (said.status, said.body["code"]) in ((400, "bad_json"), (422, "bad_value"))
    assert engine.ledger.snapshot() == before


@pytest.mark.parametrize("wait_s", ["nan", "inf", "-1", "60.1", "soon", ""])
async def test_a_wait_out_of_range_is_refused(wait_s: str, http: HttpDoor) -> None:
    """One waits 0 to 60 seconds for an answer; whoever wants to wait longer asks again."""
    said = await post(http.session, f"/api/v1/leases?wait_s={wait_s}", json=LEASE)

    assert (said.status, said.body["code"]) == (422, "bad_value")
    assert "wait_s" in said.body["detail"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"total_bytes": -1}, "devices[0].total_bytes"),
        ({"total_bytes": 2**60}, "devices[0].total_bytes"),
        ({"age_s": -1}, "devices[0].age_s"),
        ({"uuid": "a\tb"}, "devices[0].uuid"),
        ({"processes": [{"pid": -1}]}, "devices[0].processes[0].pid"),
        ({"temperature": 40}, "temperature"),
    ],
)
async def test_an_absurd_report_is_refused(fields: Any, named: str, door: Door, engine: Engine) -> None:
    """What an observer cannot have seen is refused as a whole, with the place named."""
    before = engine.ledger.snapshot()
    card = {"uuid": "d1", "name": "card", "total_bytes": GIB} | fields

    said = await door.call("devices.report", host_id="h", host_name="box", devices=[card])

    assert (said.status, said.body["code"]) == (422, "bad_value")
    assert named in said.body["detail"]
    assert engine.ledger.snapshot() == before


async def test_an_absurd_holding_is_refused(door: Door, engine: Engine) -> None:
    """A state that no lease is in is refused, with the place named."""
    await door.call("session.open", service="kiwi", session_id="s1")
    before = engine.ledger.snapshot()

    said = await door.call("session.sync", subject="s1", leases=[{"request_id": "r", "state": "asleep"}])

    assert (said.status, said.body["code"]) == (422, "bad_value")
    assert "leases[0].state" in said.body["detail"]
    assert engine.ledger.snapshot() == before


async def test_a_frame_that_cannot_be_read_is_answered(session: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    """A frame without an id is answered to nobody in particular; the socket goes on."""
    socket = await connect(session, stack)

    answers = []
    for frame in ("{", "[]", '{"op": "status"}', '{"id": 1, "op": "dance"}', '{"id": 2, "op": "devices", "x": 1}'):
        await socket.send_str(frame)
        answer = await socket.receive_json()
        answers.append((answer["re"], answer["status"], answer["body"]["code"]))
    await socket.send_json({"id": 3, "op": "devices"})

    assert answers == [
        (None, 400, "bad_json"),
        (None, 422, "bad_value"),
        (None, 422, "bad_value"),
        (1, 404, "not_found"),
        (2, 422, "bad_value"),
    ]
    assert (await socket.receive_json())["status"] == 200
