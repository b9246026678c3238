"""Every call of the wire does what it says, through every door alike."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.doors.conftest import GIB, Door, Said

from cf_orch.coordinator.clock import HandTurnedClock
from cf_orch.coordinator.engine import Engine
from cf_orch.ledger import State
from cf_orch.protocol.operations import OPERATIONS

Case = Callable[[Door, Engine], Awaitable[None]]

CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    def put(function: Case) -> Case:
        CASES[name] = function
        return function

    return put


@pytest.mark.parametrize("name", [operation.name for operation in OPERATIONS])
async def test_the_call_does_what_it_says(name: str, door: Door, engine: Engine) -> None:
    """The happy path of the call, and its effect on the ledger, are the same through this door as through any other."""
    await CASES[name](door, engine)


async def opened(door: Door, name: str = "s1") -> str:
    said = await door.call("session.open", service="kiwi", session_id=name, host_id="h", host_name="box", pid=7)
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
    assert said.body == {"session_id": said.body["session_id"], "ttl_s": 60, "epoch": engine.epoch}
    session = engine.ledger.sessions[said.body["session_id"]]
    assert (session.service, session.host_id, session.pid, session.pid_start) == ("kiwi", "h", 7, 9)


@case("session.renew")
async def _(door: Door, engine: Engine) -> None:
    await opened(door)

    said = await door.call("session.renew", subject="s1", by="s1")

    assert said.status == 200
    assert said.body == {"session_id": "s1", "ttl_s": 30, "epoch": engine.epoch}


@case("session.sync")
async def _(door: Door, engine: Engine) -> None:
    await opened(door)
    forgotten = await held(door, by="s1", request_id="forgotten")
    kept = await held(door, by="s1", request_id="kept")
    adopted = {"request_id": "new", "state": "idle", "devices": ["d0"], "vram_gb": 2, "service": "kiwi"}

    said = await door.call("session.sync", subject="s1", by="s1", leases=[{"request_id": "kept", "id": kept}, adopted])

    assert said.status == 200
    assert [(lease["request_id"], lease["adopted"]) for lease in said.body["leases"]] == [
        ("kept", False),
        ("new", True),
    ]
    assert engine.ledger.ended[forgotten].outcome == "released"


@case("session.close")
async def _(door: Door, engine: Engine) -> None:
    await opened(door)
    lease_id = await held(door, by="s1")

    said = await door.call("session.close", subject="s1", by="s1")

    assert said == Said(204, {}, said.content_type)
    assert not engine.ledger.sessions
    assert engine.ledger.ended[lease_id].outcome == "released"


@case("lease.request")
async def _(door: Door, engine: Engine) -> None:
    await opened(door)

    said = await door.call(
        "lease.request", by="s1", service="kiwi", vram_gb=4, request_id="r1", task_type="recipe_llm", model="qwen",
        priority="interactive", peak_gb=6, residue_gb=0.5, gpus=1, host="box", device=[0], requires=["bf16"],
        evictable=True, max_wait_s=60, traceparent="00-1-2-01",
    )  # fmt: skip

    assert said.status == 201
    lease = engine.ledger.leases[said.body["id"]]
    assert (lease.state, lease.session_id, lease.caller) == (State.LOADING, "s1", "s1")
    assert lease.slot.size_bytes == 4 * GIB
    assert lease.slot.peak_bytes == 6 * GIB
    assert lease.slot.residue_bytes == GIB // 2
    assert (lease.slot.priority, lease.slot.device, lease.slot.requires) == (30, ("0",), ("bf16",))
    assert said.body == {
        "id": lease.id, "state": "loading", "outcome": None, "token": lease.token, "service": "kiwi",
        "task_type": "recipe_llm", "model": "qwen", "priority": 30, "vram_gb": 4.0, "charge_gb": 6.0,
        "devices": [{"uuid": "d0", "name": "RTX 4090", "host": "box", "index": 0}], "position": None,
        "waiting_for": None, "evictable": True, "local": False, "adopted": False, "load_overdue": False,
        "eviction": None, "rest": None, "residue_gb": None, "checkpoint_error": None,
        "request_id": "r1", "session_id": "s1", "created_at": 1_700_001_000, "granted_at": 1_700_001_000,
        "expires_at": 1_700_001_040,
        "env": {"CF_ORCH_LEASE": lease.id, "CF_ORCH_LEASE_TOKEN": str(lease.token), "CF_ORCH_VRAM_GB": "4"},
    }  # fmt: skip


@case("lease.cancel")
async def _(door: Door, engine: Engine) -> None:
    await opened(door)
    lease_id = await held(door, by="s1", request_id="r1")

    said = await door.call("lease.cancel", by="s1", request_id="r1")

    assert said.status == 204
    assert engine.ledger.ended[lease_id].outcome == "released"


@case("lease.get")
async def _(door: Door, _engine: Engine) -> None:
    holder = await held(door, gb=20)
    waiting = await door.call("lease.request", service="kiwi", vram_gb=8)
    assert waiting.status == 202

    said = await door.call("lease.get", subject=waiting.body["id"])

    assert said.status == 200
    assert (said.body["state"], said.body["position"], said.body["token"]) == ("queued", 0, None)
    assert said.body["waiting_for"] == {
        "rule": "memory", "device": "d0", "needs_gb": 8.0, "free_gb": 4.0, "behind": [holder], "eta_s": None,
    }  # fmt: skip
    assert said.body["env"] == {}


@case("lease.release")
async def _(door: Door, engine: Engine) -> None:
    lease_id = await held(door)

    said = await door.call("lease.release", subject=lease_id)
    again = await door.call("lease.release", subject=lease_id)

    assert said.status == again.status == 204
    assert engine.ledger.ended[lease_id].outcome == "released"
    assert engine.ledger.devices["d0"].charged_bytes == 0


@case("lease.renew")
async def _(door: Door, _engine: Engine) -> None:
    lease_id = await held(door)

    said = await door.call("lease.renew", subject=lease_id)

    assert said.status == 200
    assert said.body["expires_at"] == 1_700_001_040


@case("lease.loaded")
async def _(door: Door, _engine: Engine) -> None:
    lease_id = await held(door, peak_gb=6)

    said = await door.call("lease.loaded", subject=lease_id)

    assert said.status == 200
    assert (said.body["state"], said.body["charge_gb"]) == ("active", 4.0)


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
    assert engine.ledger.leases[lease_id].pids == ((4711, 5),)


async def evicted(door: Door) -> str:
    """A lease that an operator asks to leave."""
    lease_id = await held(door, by=await opened(door), gb=10, evictable=True, residue_gb=2, request_id="r1")
    assert (await door.call("lease.evict", subject=lease_id)).status == 200
    return lease_id


@case("lease.evict")
async def _(door: Door, engine: Engine) -> None:
    lease_id = await evicted(door)

    lease = (await door.call("lease.get", subject=lease_id)).body

    assert (lease["state"], lease["eviction"]) == (
        "evicting",
        {"for": "operator", "deadline_s": engine.ledger.settings.grace_s, "overdue": False},
    )


@case("lease.checkpointed")
async def _(door: Door, engine: Engine) -> None:
    lease_id = await evicted(door)

    said = await door.call("lease.checkpointed", subject=lease_id, by="s1", residue_gb=0.5)

    assert said.status == 200
    assert (said.body["state"], said.body["rest"], said.body["charge_gb"]) == ("resting", "operator", 0.5)
    assert engine.ledger.devices["d0"].charged_bytes == GIB // 2


@case("lease.resume")
async def _(door: Door, engine: Engine) -> None:
    lease_id = await evicted(door)
    first = engine.ledger.leases[lease_id].token
    await door.call("lease.checkpointed", subject=lease_id, by="s1")

    said = await door.call("lease.resume", subject=lease_id)

    assert (said.status, said.body["state"]) == (200, "loading")
    assert said.body["token"] > (first or 0)


@case("leases")
async def _(door: Door, _engine: Engine) -> None:
    first = await held(door, gb=10)
    last = (await door.call("lease.request", service="owl", vram_gb=20, priority="batch")).body["id"]
    sooner = (await door.call("lease.request", service="kiwi", vram_gb=20, priority="realtime")).body["id"]
    over = await held(door, gb=1, device="d0", priority=50)
    await door.call("lease.release", subject=over)

    async def ids(**filters: Any) -> list[str]:
        said = await door.call("leases", **filters)
        assert said.status == 200
        return [lease["id"] for lease in said.body["leases"]]

    assert await ids() == [first, sooner, last]
    assert await ids(state="queued") == [sooner, last]
    assert await ids(service="owl") == [last]
    assert await ids(state="queued", limit=1) == [sooner]
    assert await ids(state="ended") == [over]


@case("devices")
async def _(door: Door, _engine: Engine) -> None:
    lease_id = await held(door, gb=6)

    said = await door.call("devices")

    assert said.status == 200
    assert said.body["devices"] == [
        {
            "uuid": "d0", "name": "RTX 4090", "host": "box", "host_id": "h", "index": 0, "total_gb": 24.0,
            "charged_gb": 6.0, "foreign_gb": 0.0, "reserve_gb": 0.0, "free_gb": 18.0, "used_gb": None,
            "sample_age_s": None, "has_driver": False, "blind": None, "draining": False, "over_committed": False,
            "loading": None, "capabilities": ["bf16"], "leases": [lease_id], "foreign": [],
        }
    ]  # fmt: skip


@case("sessions")
async def _(door: Door, _engine: Engine) -> None:
    await opened(door)
    lease_id = await held(door, by="s1")

    said = await door.call("sessions")

    assert said.status == 200
    assert said.body["sessions"] == [
        {"id": "s1", "service": "kiwi", "host": "box", "pid": 7, "ttl_s": 30, "expires_in_s": 40, "leases": [lease_id]}
    ]


@case("status")
async def _(door: Door, engine: Engine) -> None:
    await held(door, gb=20)
    await door.call("lease.request", service="kiwi", vram_gb=8)

    said = await door.call("status")

    assert said.status == 200
    assert (said.body["ledger_id"], said.body["epoch"], said.body["seq"]) == (engine.ledger.id, 1, engine.ledger.seq)
    assert said.body["queued"] == 1
    assert [lease["state"] for lease in said.body["leases"]] == ["active", "queued"]
    assert [device["uuid"] for device in said.body["devices"]] == ["d0"]


@case("events")
async def _(door: Door, engine: Engine) -> None:
    since = engine.ledger.seq
    await held(door)

    said = await door.call("events", since=since)
    none = await door.call("events", since=said.body["next_since"])

    assert said.status == none.status == 200
    assert [(info["seq"], info["event"]["event"]) for info in said.body["events"]] == [
        (since + 1, "requested"),
        (since + 2, "granted"),
    ]
    assert none.body == {"events": [], "next_since": since + 2}


@case("gpu.profile")
async def _(door: Door, _engine: Engine) -> None:
    said = await door.call("gpu.profile", subject="RTX 4090")

    assert said.status == 200
    assert (said.body["vram_gb"], said.body["fp16"], said.body["compute_capability"]) == (24.0, True, [8, 9])
    of_another_maker = await door.call("gpu.profile", subject="RX 7900 XTX")
    assert (of_another_maker.status, of_another_maker.body["compute_capability"]) == (200, None)


@case("devices.report")
async def _(door: Door, _engine: Engine) -> None:
    process = {"pid": 99, "pid_start": 1, "name": "game", "used_bytes": 3 * GIB, "ancestors": [[1, None]]}
    card = {
        "uuid": "GPU-1", "name": "RTX 3060", "index": 1, "total_bytes": 12 * GIB, "reserve_bytes": GIB,
        "used_bytes": 3 * GIB, "free_bytes": 9 * GIB, "processes": [process], "age_s": 0.5, "capabilities": ["bf16"],
    }  # fmt: skip

    said = await door.call("devices.report", host_id="h", host_name="box", devices=[card])

    assert (said.status, said.body) == (200, {"devices": 1, "coming_back": False, "attached": []})
    shown = next(d for d in (await door.call("devices")).body["devices"] if d["uuid"] == "GPU-1")
    assert (shown["foreign_gb"], shown["used_gb"], shown["free_gb"], shown["sample_age_s"]) == (3.0, 3.0, 8.0, 0.5)
    assert shown["foreign"] == [{"pid": 99, "name": "game", "used_gb": 3.0}]


@case("device.drain")
async def _(door: Door, engine: Engine) -> None:
    said = await door.call("device.drain", subject="d0", for_s=60)

    assert said.status == 200
    assert (said.body["devices"][0]["draining"], said.body["devices"][0]["free_gb"]) == (True, 0.0)
    assert engine.ledger.devices["d0"].draining


@case("device.undrain")
async def _(door: Door, _engine: Engine) -> None:
    await door.call("device.drain", subject="d0")

    said = await door.call("device.undrain", subject="d0")

    assert said.status == 200
    assert (said.body["devices"][0]["draining"], said.body["devices"][0]["free_gb"]) == (False, 24.0)


async def test_a_holder_sees_its_cards_and_no_others(door: Door) -> None:
    """A lease on cards that CUDA knows names them by UUID in its environment; a declared device has no such name."""
    cards = [
        {"uuid": uuid, "name": "H100", "index": index, "total_bytes": 80 * GIB, "used_bytes": 0, "free_bytes": 80 * GIB}
        for index, uuid in enumerate(("GPU-a", "MIG-b"), 1)
    ]
    await door.call("devices.report", host_id="h", host_name="box", devices=cards)

    both = await door.call("lease.request", service="kiwi", vram_gb=30, gpus=2)

    assert both.body["env"] == {
        "CF_ORCH_LEASE": both.body["id"],
        "CF_ORCH_LEASE_TOKEN": str(both.body["token"]),
        "CF_ORCH_VRAM_GB": "30",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "GPU-a,MIG-b",
    }


async def test_a_blind_device_says_why(door: Door, clock: HandTurnedClock) -> None:
    """A device whose driver cannot be read, or was not read lately, has nothing free and says what is wrong."""
    card = {"uuid": "GPU-a", "name": "H100", "index": 1, "total_bytes": GIB}
    seen = card | {"used_bytes": 0, "free_bytes": GIB}

    async def blind() -> str:
        shown = (await door.call("devices")).body["devices"][1]
        assert shown["free_gb"] == 0
        return str(shown["blind"])

    await door.call("devices.report", host_id="h", host_name="box", devices=[card])
    unsaid = await blind()
    await door.call("devices.report", host_id="h", host_name="box", devices=[card | {"error": "GPU is lost"}])
    lost = await blind()
    await door.call("devices.report", host_id="h", host_name="box", devices=[seen])
    clock.turn(6)
    stale = await blind()

    assert unsaid == "the driver does not say how much memory is in use"
    assert lost == "GPU is lost"
    assert stale == "the last sample is 6.0 s old"
