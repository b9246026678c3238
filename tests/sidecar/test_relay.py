"""Every call of the wire does through a sidecar what it does at the coordinator, by each of its doors."""

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from tests.doors.conftest import GIB, Door, HttpDoor, Said, connect
from tests.sidecar.conftest import InProcess, until, until_said

from cf_orch.coordinator.engine import Engine
from cf_orch.gpus import host_identity
from cf_orch.protocol.operations import OPERATIONS

Case = Callable[[Door, Engine], Awaitable[None]]

CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    def put(function: Case) -> Case:
        CASES[name] = function
        return function

    return put


@pytest.mark.parametrize("name", [operation.name for operation in OPERATIONS])
async def test_the_call_reaches_the_ledger(name: str, door: Door, engine: Engine) -> None:
    """The happy path of the call, and its effect on the coordinator's ledger."""
    await CASES[name](door, engine)


async def opened(door: Door, name: str = "s1") -> str:
    said = await door.call("session.open", service="kiwi", session_id=name)
    assert said.status == 201
    return name


async def held(door: Door, by: str | None = None, gb: float = 4, **more: Any) -> str:
    said = await door.call("lease.request", service="kiwi", vram_gb=gb, by=by, **more)
    assert said.status == 201, said
    return str(said.body["id"])


@case("session.open")
async def _(door: Door, engine: Engine) -> None:
    said = await door.call("session.open", service="kiwi", host_id="h", host_name="box", pid=7, pid_start=9, ttl_s=60)

    assert said.status == 201
    assert said.body["ttl_s"] == 60
    session = await until(lambda: engine.ledger.sessions.get(said.body["session_id"]))
    assert (session.service, session.host_id, session.pid, session.pid_start) == ("kiwi", "h", 7, 9)


@case("session.renew")
async def _(door: Door, engine: Engine) -> None:
    await opened(door)
    await held(door, by="s1")

    said = await door.call("session.renew", subject="s1", by="s1")

    assert said.status == 200
    assert 0 < said.body["ttl_s"] <= 6.0
    assert said.body["ttl_s"] < engine.ledger.settings.ttl_s, "no more than the sidecar itself has left"


@case("session.sync")
async def _(door: Door, engine: Engine) -> None:
    await opened(door)
    forgotten = await held(door, by="s1", request_id="forgotten")
    kept = await held(door, by="s1", request_id="kept")

    said = await door.call("session.sync", subject="s1", by="s1", leases=[{"request_id": "kept", "id": kept}])

    assert said.status == 200
    assert [(lease["request_id"], lease["id"]) for lease in said.body["leases"]] == [("kept", kept)]
    assert engine.ledger.ended[forgotten].outcome == "released"


@case("session.close")
async def _(door: Door, engine: Engine) -> None:
    await opened(door)
    lease_id = await held(door, by="s1")

    said = await door.call("session.close", subject="s1", by="s1")

    assert said == Said(204, {}, said.content_type)
    assert "s1" not in engine.ledger.sessions
    assert engine.ledger.ended[lease_id].outcome == "released"


@case("lease.request")
async def _(door: Door, engine: Engine) -> None:
    await opened(door)
    host = host_identity().host_name

    said = await door.call(
        "lease.request", by="s1", service="kiwi", vram_gb=4, request_id="r1", task_type="recipe_llm", model="qwen",
        priority="interactive", peak_gb=6, residue_gb=0.5, gpus=1, host=host, device=[0], requires=["bf16"],
        evictable=True, max_wait_s=60, traceparent="00-1-2-01",
    )  # fmt: skip

    assert said.status == 201
    lease = engine.ledger.leases[said.body["id"]]
    assert (lease.session_id, lease.request_id, lease.slot.peak_bytes) == ("s1", "r1", 6 * GIB)
    assert (lease.slot.priority, lease.slot.device, lease.slot.requires) == (30, ("0",), ("bf16",))
    assert (said.body["token"], said.body["state"], said.body["local"]) == (lease.token, "loading", False)
    assert (said.body["request_id"], said.body["session_id"]) == ("r1", "s1")
    assert said.body["env"]["CF_ORCH_LEASE"] == lease.id


@case("lease.cancel")
async def _(door: Door, engine: Engine) -> None:
    await opened(door)
    lease_id = await held(door, by="s1", request_id="r1")

    said = await door.call("lease.cancel", by="s1", request_id="r1")
    early = await door.call("lease.cancel", by="s1", request_id="not yet")
    late = await door.call("lease.request", by="s1", service="kiwi", vram_gb=1, request_id="not yet")

    assert (said.status, early.status) == (204, 204)
    assert engine.ledger.ended[lease_id].outcome == "released"
    assert late.body["code"] == "lease_ended"


@case("lease.get")
async def _(door: Door, engine: Engine) -> None:
    holder = await held(door, gb=20)
    waiting = await door.call("lease.request", service="kiwi", vram_gb=8)
    assert waiting.status == 202

    said = await door.call("lease.get", subject=waiting.body["id"])

    assert (said.status, said.body["state"], said.body["position"]) == (200, "queued", 0)
    assert said.body["waiting_for"]["behind"] == [holder]
    assert waiting.body["id"] in engine.ledger.leases


@case("lease.release")
async def _(door: Door, engine: Engine) -> None:
    lease_id = await held(door)

    said = await door.call("lease.release", subject=lease_id)
    again = await door.call("lease.release", subject=lease_id)

    assert said.status == again.status == 204
    assert engine.ledger.ended[lease_id].outcome == "released"
    assert (await door.call("lease.get", subject=lease_id)).body["state"] == "ended"


@case("lease.renew")
async def _(door: Door, engine: Engine) -> None:
    lease_id = await held(door)

    said = await door.call("lease.renew", subject=lease_id)

    assert said.status == 200
    session = engine.ledger.sessions[engine.ledger.leases[lease_id].session_id or ""]
    assert said.body["expires_at"] <= said.body["created_at"] + session.ttl_s * 4 / 3 + 1


@case("lease.loaded")
async def _(door: Door, _engine: Engine) -> None:
    lease_id = await held(door, peak_gb=6)

    said = await door.call("lease.loaded", subject=lease_id)

    assert (said.status, said.body["state"], said.body["charge_gb"]) == (200, "active", 4.0)


@case("lease.idle")
async def _(door: Door, engine: Engine) -> None:
    lease_id = await held(door)

    said = await door.call("lease.idle", subject=lease_id)

    assert said.status == 200
    assert engine.ledger.leases[lease_id].state == said.body["state"] == "idle"


@case("lease.busy")
async def _(door: Door, engine: Engine) -> None:
    lease_id = await held(door)
    await door.call("lease.idle", subject=lease_id)

    said = await door.call("lease.busy", subject=lease_id)

    assert said.status == 200
    assert engine.ledger.leases[lease_id].state == said.body["state"] == "active"


@case("lease.attach")
async def _(door: Door, engine: Engine) -> None:
    lease_id = await held(door)

    said = await door.call("lease.attach", subject=lease_id, pid=4711, pid_start=5)

    assert said.status == 200
    assert (4711, 5) in engine.ledger.leases[lease_id].pids


async def evicted(door: Door) -> str:
    """A lease that an operator asks to leave."""
    lease_id = await held(door, by=await opened(door), gb=10, evictable=True, residue_gb=2, request_id="r1")
    assert (await door.call("lease.evict", subject=lease_id)).status == 200
    await until_said(lambda: door.call("lease.get", subject=lease_id), lambda said: said.body["state"] == "evicting")
    return lease_id


@case("lease.evict")
async def _(door: Door, _engine: Engine) -> None:
    lease_id = await evicted(door)

    eviction = (await door.call("lease.get", subject=lease_id)).body["eviction"]

    assert (eviction["for"], eviction["overdue"]) == ("operator", False)


@case("lease.checkpointed")
async def _(door: Door, engine: Engine) -> None:
    lease_id = await evicted(door)

    said = await door.call("lease.checkpointed", subject=lease_id, by="s1", residue_gb=0.5)

    assert (said.status, said.body["state"]) == (200, "resting")
    assert engine.ledger.leases[lease_id].residue_bytes == GIB // 2


@case("lease.resume")
async def _(door: Door, engine: Engine) -> None:
    lease_id = await evicted(door)
    await door.call("lease.checkpointed", subject=lease_id, by="s1", residue_gb=0.5)

    said = await door.call("lease.resume", subject=lease_id)
    back = await until_said(
        lambda: door.call("lease.get", subject=lease_id), lambda said: said.body["state"] == "loading"
    )
    loaded = await door.call("lease.loaded", subject=lease_id, by="s1")

    assert said.status == 200
    assert back.body["token"] == engine.ledger.leases[lease_id].token
    assert loaded.body["state"] == engine.ledger.leases[lease_id].state == "active"


@case("leases")
async def _(door: Door, _engine: Engine) -> None:
    first, second = await held(door, by=await opened(door)), await held(door)

    said = await door.call("leases", service="kiwi")

    assert [lease["id"] for lease in said.body["leases"]] == [first, second]


@case("devices")
async def _(door: Door, _engine: Engine) -> None:
    assert [device["uuid"] for device in (await door.call("devices")).body["devices"]] == ["d0"]


@case("sessions")
async def _(door: Door, engine: Engine) -> None:
    said = await door.call("sessions")

    assert {session["id"] for session in said.body["sessions"]} == set(engine.ledger.sessions)


@case("status")
async def _(door: Door, engine: Engine) -> None:
    assert (await door.call("status")).body["ledger_id"] == engine.ledger.id


@case("events")
async def _(door: Door, engine: Engine) -> None:
    said = await door.call("events", since=0, limit=1)

    assert said.body["events"][0]["seq"] == said.body["next_since"] >= 1
    assert engine.ledger.seq >= 1


@case("gpu.profile")
async def _(door: Door, _engine: Engine) -> None:
    assert (await door.call("gpu.profile", subject="RTX 4090")).body["vram_gb"] == 24.0


@case("devices.report")
async def _(door: Door, engine: Engine) -> None:
    card = {"uuid": "GPU-1", "name": "RTX 3060", "total_bytes": 12 * GIB, "used_bytes": GIB, "free_bytes": 11 * GIB}

    said = await door.call("devices.report", host_id="h", host_name="box", devices=[card])

    assert (said.status, said.body["devices"]) == (200, 1)
    assert engine.ledger.devices["GPU-1"].total_bytes == 12 * GIB


@case("device.drain")
async def _(door: Door, engine: Engine) -> None:
    said = await door.call("device.drain", subject="d0", for_s=60)

    assert said.status == 200
    assert engine.ledger.devices["d0"].draining


@case("device.undrain")
async def _(door: Door, engine: Engine) -> None:
    await door.call("device.drain", subject="d0")

    said = await door.call("device.undrain", subject="d0")

    assert said.status == 200
    assert not engine.ledger.devices["d0"].draining


# --- no, and what nobody here knows


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"vram_gb": 4000}, 422, "wrong_unit"),
        ({"vram_gb": 25}, 409, "too_large"),
        ({"vram_gb": 4, "device": "GPU-none"}, 409, "unknown_device"),
        ({"vram_gb": 4, "ttl_s": 0.1}, 422, "bad_value"),
    ],
)
async def test_a_refusal_is_the_coordinators(door: Door, fields: dict[str, Any], status: int, code: str) -> None:
    """Status, code, sentence and numbers come through."""
    said = await door.call("lease.request", service="kiwi", **fields)

    assert (said.status, said.body["code"]) == (status, code)
    assert said.body["detail"]


async def test_an_id_is_used_once(door: Door) -> None:
    """The same request again is the same lease; another under its id is refused."""
    await opened(door)
    first = await held(door, by="s1", request_id="r1")

    assert await held(door, by="s1", request_id="r1") == first
    other = await door.call("lease.request", by="s1", service="kiwi", vram_gb=5, request_id="r1")
    assert (other.status, other.body["code"]) == (409, "request_id_reused")


async def test_one_session_does_not_speak_for_another(door: Door) -> None:
    """A lease of one process is not another's to release."""
    lease_id = await held(door, by=await opened(door))
    await opened(door, "s2")

    said = await door.call("lease.release", subject=lease_id, by="s2")

    assert (said.status, said.body["code"]) == (403, "not_yours")


async def test_unknown_paths_and_leases_are_the_coordinators(running: InProcess, http: HttpDoor) -> None:
    """What the table does not have goes to the coordinator as it is, and its answer comes back."""
    async with http.session.get("/api/v1/from/the/future?x=1") as answer:
        said = await answer.json()
    stranger = await http.call("lease.get", subject="never-was-1")
    async with aiohttp.ClientSession() as direct, direct.get(f"{running.coordinator_url}/api/v1/from/the/future") as it:
        expected = await it.json()

    assert (answer.status, said) == (404, expected)
    assert stranger.body["code"] == "unknown_lease"


async def test_unknown_operations_are_the_coordinators(http: HttpDoor, stack: Any) -> None:
    """Also on the WebSocket."""
    socket = await connect(http.session, stack)
    await socket.send_json({"id": 1, "op": "from.the.future", "x": 1})

    said = await socket.receive_json()

    assert (said["re"], said["status"], said["body"]["code"]) == (1, 404, "not_found")
