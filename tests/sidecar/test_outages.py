"""The coordinator is killed and frozen under a sidecar's product; all real processes."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.client.conftest import Server, eventually
from tests.sidecar.conftest import StartPuppet, StartSidecar, all_renewed

LOCAL_WITHIN_S = 5.0
"""The promise is 1 s; a busy machine may take longer, and what it took is printed."""

Gone = Callable[[Server], None]


def killed(server: Server) -> None:
    server.kill()


def frozen(server: Server) -> None:
    server.signal(signal.SIGSTOP)


def back(server: Server) -> None:
    if server.process is None:
        server.start()
    else:
        server.signal(signal.SIGCONT)


@pytest.mark.parametrize("leave", [killed, frozen])
def test_work_goes_on_one_at_a_time_and_comes_back(
    leave: Gone, server: Server, start_sidecar: StartSidecar, puppet: StartPuppet
) -> None:
    """Local within 1 s of the loss, one after the other; what is held when it is back is adopted."""
    server.start()
    sidecar = start_sidecar(server.url)
    first, second = puppet(sidecar.url), puppet(sidecar.url)
    first.tell("ask", "warm-up", 1)
    assert first.says() == "held warm-up granted"
    first.tell("leave", "warm-up")
    assert first.says() == "left warm-up"

    lost_at = time.monotonic()
    leave(server)
    first.tell("ask", "a", 4)
    assert first.says() == "held a local"
    local_after_s = time.monotonic() - lost_at
    second.tell("ask", "b", 4)
    eventually(lambda: [lease["state"] for lease in sidecar.leases()] == ["active", "queued"])
    first.tell("leave", "a")
    said = first.says(), second.says()
    first.tell("ask", "c", 4)
    eventually(lambda: [lease["state"] for lease in sidecar.leases()] == ["active", "queued"])

    back(server)
    assert first.says() == "held c granted"
    eventually(lambda: [lease["state"] for lease in server.leases("puppet")] == ["active", "active"])
    shown = {lease["vram_gb"]: lease["adopted"] for lease in server.leases("puppet")}
    second.tell("idle", "b")
    idle = second.says()
    for process, name in ((first, "c"), (second, "b")):
        process.tell("leave", name)
        assert process.says() == f"left {name}"

    print(f"local {local_after_s * 1000:.0f} ms after {leave.__name__}")  # noqa: T201 - the figure
    assert local_after_s < LOCAL_WITHIN_S
    assert said == ("left a", "held b local")
    assert idle == "idle b idle"
    assert shown == {4: True} or list(shown.values()) == [False]
    eventually(lambda: server.leases("puppet") == [])


def test_a_holder_does_not_notice(server: Server, start_sidecar: StartSidecar, puppet: StartPuppet) -> None:
    """Kill -9 and a restart while a process holds and another waits: same lease, same place."""
    server.start()
    sidecar = start_sidecar(server.url)
    holder, waiter = puppet(sidecar.url, ttl_s=3), puppet(sidecar.url, ttl_s=3)
    holder.tell("ask", "a", 20)
    assert holder.says() == "held a granted"
    waiter.tell("ask", "b", 20)
    eventually(lambda: len(server.leases("puppet")) == 2)
    before = [lease["id"] for lease in server.leases("puppet")]

    server.kill()
    server.start()
    all_renewed(server, set(before))
    after = [lease["id"] for lease in server.leases("puppet")]
    holder.tell("leave", "a")

    assert after == before
    assert (holder.says(), waiter.says()) == ("left a", "held b granted")


def test_two_sidecars_take_turns_with_each_other_and_with_lone_clients(
    server: Server, start_sidecar: StartSidecar, puppet: StartPuppet
) -> None:
    """No coordinator has ever been there: whoever asks, one of them is served at a time, in the order of asking."""
    kiwi, peach = start_sidecar(server.url, "kiwi"), start_sidecar(server.url, "peach")
    processes = {"k": puppet(kiwi.url), "p": puppet(peach.url), "lone": puppet(server.url)}
    processes["k"].tell("ask", "k", 4)
    assert processes["k"].says() == "held k local"
    processes["p"].tell("ask", "p", 4)
    eventually(lambda: [lease["state"] for lease in peach.get("/leases")["leases"]] == ["queued"])
    eventually(lambda: tickets(2))
    processes["lone"].tell("ask", "lone", 4)
    eventually(lambda: tickets(3))

    processes["k"].tell("leave", "k")
    assert processes["k"].says() == "left k"
    assert processes["p"].says() == "held p local"
    assert turns() == 1
    processes["p"].tell("leave", "p")
    assert processes["p"].says() == "left p"

    assert processes["lone"].says() == "held lone local"
    assert turns() == 1


def test_a_warm_model_keeps_nobody_out(server: Server, start_sidecar: StartSidecar, puppet: StartPuppet) -> None:
    """A local lease that is idle lets the next take its turn, and takes one itself when it is busy again."""
    sidecar = start_sidecar(server.url)
    warm, other = puppet(sidecar.url), puppet(sidecar.url)
    warm.tell("ask", "a", 4)
    assert warm.says() == "held a local"

    warm.tell("idle", "a")
    assert warm.says() == "idle a idle"
    other.tell("ask", "b", 4)
    assert other.says() == "held b local"
    warm.tell("busy", "a")
    eventually(lambda: tickets(2))
    waiting = turns()
    other.tell("leave", "b")

    assert other.says() == "left b"
    assert warm.says() == "busy a active"
    assert (waiting, turns()) == (1, 1)


def tickets(number: int) -> bool:
    return len(_book()) == number


def turns() -> int:
    return sum(ticket.get("has_turn", False) for ticket in _book())


def _book() -> list[dict[str, bool]]:
    book = json.loads((Path(os.environ["CF_ORCH_RUNTIME_DIR"]) / "local.json").read_text())
    found: list[dict[str, bool]] = book["tickets"]
    return found
