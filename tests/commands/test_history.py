"""``cf-orch history``: what happened, in words."""

import json
import re
from typing import Any

import msgspec
import pytest
from tests.commands.conftest import Cli, Coordinator

from cf_orch.coordinator.commands.happenings import Chronicle
from cf_orch.ledger import events as e
from cf_orch.ledger.records import Slot
from cf_orch.ledger.states import Outcome, Rest

GIB = 2**30
SLOT = Slot(service="kiwi", task_type="recipe_llm", size_bytes=16 * GIB, priority=20)
LEASE = "a1b2-4"
ASKED = e.Requested(
    lease_id=LEASE,
    place=4,
    slot=SLOT,
    request_id="r",
    caller="kiwi",
    session_id=None,
    host_id=None,
    ttl_s=None,
    unix_s=0,
)
SEEN = e.DeviceSeen(
    uuid="GPU-1", name="NVIDIA GeForce RTX 4090", host_id="b00t", host_name="heron", index=0, total_bytes=24 * GIB,
    reserve_bytes=0, has_driver=True, capabilities=(),
)  # fmt: skip
OPENED = e.SessionOpened(
    session_id="s1", service="kiwi", host_id="b00t", host_name="heron", pid=12, pid_start=None, ttl_s=30
)
ADOPTED = e.Adopted(
    lease_id=LEASE, place=4, token=5, slot=SLOT, request_id="r", caller="kiwi", session_id="s1", host_id=None,
    devices=("GPU-1",), unix_s=0,
)  # fmt: skip
TOLD: list[tuple[e.DurableEvent, str]] = [
    (e.Founded(ledger_id="a1b2"), "ledger a1b2 begins"),
    (OPENED, "kiwi opens session s1 (pid 12) on heron"),
    (e.SessionEnded(session_id="s1", outcome=Outcome.EXPIRED), "session s1 is over: expired"),
    (SEEN, "RTX 4090 on heron is seen: 24 GB (GPU-1)"),
    (
        e.DrainBegun(uuid="GPU-1", for_s=7200),
        "RTX 4090 on heron is drained for 2 h 0 min: nothing new is granted there",
    ),
    (e.DrainEnded(uuid="GPU-1"), "RTX 4090 on heron grants again"),
    (ASKED, "a1b2-4 (kiwi recipe_llm) asks for 16 GB, class normal"),
    (
        e.Granted(lease_id=LEASE, token=5, devices=("GPU-1",), loading=False, unix_s=0),
        "a1b2-4 (kiwi recipe_llm) is granted on RTX 4090 on heron",
    ),
    (ADOPTED, "a1b2-4 (kiwi recipe_llm) is adopted with 16 GB on RTX 4090 on heron"),
    (e.Loaded(lease_id=LEASE), "a1b2-4 (kiwi recipe_llm) has loaded"),
    (
        e.LoadOverdue(lease_id=LEASE),
        "a1b2-4 (kiwi recipe_llm) has not loaded in time: its window closes, its peak stays counted",
    ),
    (
        e.Aged(lease_id=LEASE, priority=30),
        "a1b2-4 (kiwi recipe_llm) rises to class interactive for its long wait",
    ),
    (e.Attached(lease_id=LEASE, pid=12, pid_start=None), "a1b2-4 (kiwi recipe_llm) is used by pid 12"),
    (
        e.Planned(lease_id="a1b2-9", devices=("GPU-1",), victims=(LEASE,)),
        "a1b2-9 will be served on RTX 4090 on heron when a1b2-4 (kiwi recipe_llm) has left",
    ),
    (e.PlanEnded(lease_id=LEASE), "nothing more is evicted for a1b2-4 (kiwi recipe_llm): it would not suffice"),
    (
        e.EvictAsked(lease_id=LEASE, evicted_for="a1b2-9"),
        "a1b2-4 (kiwi recipe_llm) is asked to leave for a1b2-9",
    ),
    (
        e.EvictionOverdue(lease_id=LEASE),
        "a1b2-4 (kiwi recipe_llm) has not left in time: it keeps its memory, others are considered",
    ),
    (e.Withdrawn(lease_id=LEASE), "a1b2-4 (kiwi recipe_llm) need not leave any more"),
    (
        e.CheckpointFailed(lease_id=LEASE, error="RuntimeError: busy"),
        "a1b2-4 (kiwi recipe_llm) cannot leave, and is not asked again: RuntimeError: busy",
    ),
    (
        e.Parked(lease_id=LEASE, residue_bytes=GIB // 2, rest=None),
        "a1b2-4 (kiwi recipe_llm) gave its memory up, but for 0.5 GB: it queues at its old place",
    ),
    (e.Requeued(lease_id=LEASE, place=12), "a1b2-4 (kiwi recipe_llm) is wanted again, and queues"),
    (
        e.ResidueSeen(lease_id=LEASE, residue_bytes=GIB),
        "a1b2-4 (kiwi recipe_llm) kept 1 GB, by the driver's account",
    ),
    (
        e.Closing(lease_id=LEASE, outcome=Outcome.RELEASED),
        "a1b2-4 (kiwi recipe_llm) is released: counted until the memory is back",
    ),
    (
        e.Leaked(lease_id=LEASE, uuid="GPU-1", leaked_bytes=GIB),
        "a1b2-4 (kiwi recipe_llm) leaves 1 GB behind on RTX 4090 on heron: now foreign",
    ),
    (e.Ended(lease_id=LEASE, outcome=Outcome.TIMED_OUT), "a1b2-4 (kiwi recipe_llm) has ended: timed out"),
    (e.CancelNoted(caller="kiwi", request_id="r"), "request r is cancelled before it arrived"),
]


def test_every_event_has_its_words() -> None:
    """Each kind is told in a sentence, with names for the ids that were told of before."""
    chronicle = Chronicle([], [])
    for event in (SEEN, ASKED):
        chronicle.tell(msgspec.to_builtins(event))

    told = [(event, chronicle.tell(msgspec.to_builtins(event))) for event, _ in TOLD]

    assert told == TOLD
    assert {type(event) for event, _ in TOLD} == set(e.DurableEvent.__args__)


@pytest.mark.parametrize("event", [{"event": "moved_on", "lease_id": "a1b2-4"}, {"event": "loaded"}])
def test_what_is_not_known_is_told_as_it_came(event: dict[str, Any]) -> None:
    """A newer coordinator may say more than this program knows."""
    assert Chronicle([], []).tell(event).startswith(str(event["event"]))


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (e.EvictAsked(lease_id=LEASE, evicted_for="operator"), "a1b2-4 is asked to leave by an operator"),
        (e.EvictAsked(lease_id=LEASE, evicted_for="drain"), "a1b2-4 is asked to leave its drained device"),
        (
            e.Parked(lease_id=LEASE, residue_bytes=0, rest=Rest.OPERATOR),
            "a1b2-4 gave its memory up: it rests until an operator resumes it",
        ),
        (
            e.Granted(lease_id=LEASE, token=9, devices=("GPU-1",), loading=True, unix_s=0, returns=True),
            "a1b2-4 comes back on GPU-1, loading",
        ),
    ],
)
def test_evictions_of_other_kinds(event: e.DurableEvent, words: str) -> None:
    """By whom, why it rests, and that it came back."""
    assert Chronicle([], []).tell(msgspec.to_builtins(event)) == words


def test_history_is_a_line_an_event(cli: Cli, coordinator: Coordinator) -> None:
    """Each with its wall time and number; the last ones, or those after a number."""
    before = coordinator.get("/status")["seq"]
    lease = coordinator.ask("kiwi", 16, task_type="recipe_llm")

    last_two = cli("history", "--limit", "2").stdout.splitlines()
    since = cli("history", "--since", str(before)).stdout.splitlines()

    assert last_two == since
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d +{before + 1}  {lease} \(kiwi recipe_llm\) asks for 16 GB, class normal",
        since[0],
    )
    assert f"{lease} (kiwi recipe_llm) is granted on RTX 4090 on " in since[1]


def test_history_as_json_lines(cli: Cli, coordinator: Coordinator) -> None:
    """One JSON object a line, as the API gives them."""
    coordinator.ask("kiwi", 16)

    lines = cli("history", "--since", "0", "--json").stdout.splitlines()

    assert [json.loads(line) for line in lines] == coordinator.get("/events")["events"]


def test_history_follows(cli: Cli, coordinator: Coordinator) -> None:
    """What happens is told as it happens."""
    process = cli.start("history", "--follow", "--limit", "1")
    assert process.stdout is not None
    process.stdout.readline()

    lease = coordinator.ask("kiwi", 16)

    assert f"{lease} (kiwi) asks for 16 GB" in process.stdout.readline()
