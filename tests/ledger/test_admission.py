"""Rule 11: what is impossible or not allowed is refused at once, with the numbers, and changes nothing."""

import re
from typing import Any

import pytest
from tests.ledger.builders import GIB, ask, card, founded, lease_of, refusal_of

from cf_orch.ledger import PRIORITIES, Ledger, Quota, Settings, TaskType
from cf_orch.ledger import commands as c


def mill() -> Ledger:
    """Two cards of one host, the first with a reserve, and a small one that can do more."""
    return founded(
        card("d0", 24, name="RTX 4090", reserve_bytes=GIB, capabilities=("bf16",)),
        card("d1", 24, name="RTX 4090", index=1, capabilities=("bf16",)),
        card("d2", 12, name="RTX 3060", index=2, capabilities=("bf16", "fp8")),
        quotas={"kiwi": Quota(max_vram_bytes=60 * GIB, max_priority=PRIORITIES["interactive"])},
        tasks={"llm": TaskType(vram_bytes=4 * GIB)},
        max_queued_per_service=2,
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"service": ""}, "service is empty"),
        ({"size_bytes": 0}, "must be positive, not 0"),
        ({"size_bytes": -GIB}, "must be positive, not -1"),
        ({"size_bytes": None}, "no size is known for task type ''"),
        ({"size_bytes": None, "task_type": "asr"}, r"set \[tasks.asr\] vram_gb"),
        ({"priority": -1}, "priority must be 0 to 100, not -1 .*normal 20"),
        ({"priority": 101}, "not 101"),
        ({"gpus": 0}, "gpus must be 1 to 64, not 0"),
        ({"gpus": 65}, "not 65"),
        ({"gpus": 2, "device": ("d0",)}, "2 gpus, but device names 1"),
        ({"peak_bytes": 7 * GIB}, "peak_gb 7 is below vram_gb 8"),
        ({"residue_bytes": -1}, r"residue_gb must be 0 to vram_gb \(8\)"),
        ({"residue_bytes": 9 * GIB}, "not 9"),
        ({"max_wait_s": -0.5}, "max_wait_s must be 0 or more, and finite, not -0.5"),
        ({"max_wait_s": float("nan")}, "not nan"),
        ({"max_wait_s": float("inf")}, "not inf"),
        ({"session_id": None, "ttl_s": 0.9}, "ttl_s must be 1 to 86400, not 0.9"),
        ({"session_id": None, "ttl_s": float("nan")}, "not nan"),
    ],
)
def test_a_bad_value_is_refused(fields: dict[str, Any], says: str) -> None:
    """A value that can be no request is refused with what it was and what it may be."""
    refusal = refusal_of(mill(), ask(**fields))

    assert refusal.code == "bad_value"
    assert re.search(says, str(refusal))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (6000 * GIB, "did you mean 6000 MB? Then ask for 5.86 GB"),
        (8 * GIB * GIB, "did you mean 8589934592 bytes? Then ask for 8 GB"),
    ],
)
def test_another_unit_is_recognised(asked: int, says: str) -> None:
    """A size that no card has is taken for megabytes or bytes, and the size in GB is given."""
    refusal = refusal_of(mill(), ask(size_bytes=asked))

    assert refusal.code == "wrong_unit"
    assert says in str(refusal)
    assert refusal.numbers == {"asked_bytes": asked}


def test_a_device_larger_than_any_card_is_believed() -> None:
    """Where a host's RAM of 2,000 GB is leased, 1,500 GB are no mistake."""
    ledger = founded(card("ram", 2000))
    ledger.handle(ask(gb=1500), 0.0)

    assert lease_of(ledger).devices == ("ram",)


def test_more_than_the_quota_can_never_be_held() -> None:
    """A gang counts in full; the refusal says what the service may hold."""
    refusal = refusal_of(mill(), ask(gb=21, gpus=3))

    assert refusal.code == "over_quota"
    assert "63 GB, but may hold 60 GB" in str(refusal)
    assert refusal.numbers == {"asked_bytes": 63 * GIB, "largest_bytes": 60 * GIB}


def test_a_class_above_the_quota_is_refused_if_asked_for() -> None:
    """Who names a class that is not his is refused, and told his highest."""
    refusal = refusal_of(mill(), ask(priority=40))

    assert refusal.code == "over_quota"
    assert refusal.numbers == {"asked_priority": 40, "highest_priority": 30}


def test_a_class_above_the_quota_is_lowered_if_it_is_the_task_types() -> None:
    """Who names no class gets his task type's, or his highest."""
    ledger = mill()
    ledger.handle(ask(task_type="ears_asr"), 0.0)

    assert lease_of(ledger).priority == 30


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"host": "attic"}, "no device is known on host 'attic'; hosts with devices: host-h0"),
        ({"device": ("d7",)}, r"no device is called 'd7'; known: 0 = RTX 4090 \(d0\) on host-h0, 1 = "),
        ({"device": ("9",)}, "no device is called '9'"),
        ({"device": ("d0", "d7")}, "no device is called 'd7'"),
    ],
)
def test_an_unknown_device_is_refused_with_the_known_ones(fields: dict[str, Any], says: str) -> None:
    """A host or pin that names nothing is refused with what could be named; one wrong pin of several too."""
    refusal = refusal_of(mill(), ask(gb=30, **fields))

    assert refusal.code == "unknown_device"
    assert re.search(says, str(refusal))


def test_an_unmet_requirement_is_refused_with_what_the_devices_have() -> None:
    """Whoever requires what no pinned device has learns what they have."""
    refusal = refusal_of(mill(), ask(requires=("fp8", "bf16"), device=("rtx 4090",)))

    assert refusal.code == "unmet_requirement"
    assert "has bf16, fp8; they have: RTX 4090: bf16; RTX 4090: bf16" in str(refusal)


@pytest.mark.parametrize(
    ("fields", "largest"),
    [
        ({"gb": 24.5}, 24),
        ({"gb": 24, "device": ("d0",)}, 23),
        ({"gb": 16, "requires": ("fp8",)}, 12),
        ({"gb": 13, "gpus": 3}, 12),
        ({"gb": 23.5, "gpus": 2}, 23),
        ({"gb": 20, "gpus": 2, "device": ("rtx 4090", "rtx 3060")}, 12),
        ({"gb": 8, "peak_bytes": 30 * GIB}, 24),
        ({"gb": 1, "gpus": 4}, 0),
        ({"gb": 1, "gpus": 2, "device": ("d0", "0")}, 0),
    ],
)
def test_what_is_too_large_is_refused_with_the_largest_possible(fields: dict[str, Any], largest: float) -> None:
    """The refusal names the largest size that the same request could ever get, which is then indeed taken."""
    ledger = mill()
    refusal = refusal_of(ledger, ask(**fields))

    assert refusal.code == "too_large"
    assert refusal.numbers["largest_bytes"] == largest * GIB
    if largest:
        assert f"the largest possible is {largest:g} GB" in str(refusal)
        possible = fields | {"gb": largest, "peak_bytes": None}
        assert ledger.handle(ask(**possible), 0.0)
    else:
        assert "no host has so many of the devices that it may use" in str(refusal)


def test_a_service_may_queue_only_so_many() -> None:
    """With two waiting of two allowed the third is refused; another service is not concerned."""
    ledger = mill()
    ledger.handle(c.Drain(uuid="d2"), 0.0)
    for request_id in ("r1", "r2"):
        ledger.handle(ask(request_id, 12, device=("d2",)), 0.0)

    refusal = refusal_of(ledger, ask("r3", 12))

    assert refusal.code == "queue_full"
    assert refusal.numbers == {"waiting": 2, "most": 2}
    assert ledger.handle(ask("r3", 12, session=None), 0.0)


def test_before_any_device_is_known_a_request_waits() -> None:
    """Nothing is impossible yet; and what turns out impossible later waits on."""
    ledger = founded()
    ledger.handle(ask(gb=500), 0.0)
    ledger.handle(ask("r2", gb=8), 0.0)
    why = ledger.waiting_for(lease_of(ledger), 0.0)
    assert why is not None
    assert (why.rule, why.device) == ("blind", None)

    ledger.handle(c.ReportDevices(host_id="h0", host_name="h", devices=(card(),)), 1.0)

    assert lease_of(ledger).state == "queued"
    assert lease_of(ledger, "r2").devices == ("d0",)


def test_the_task_type_gives_class_and_size() -> None:
    """A task type is looked up whole, else by its last part; what is configured goes before the built-in classes."""
    settings = Settings(tasks={"llm": TaskType(vram_bytes=4), "recipe_llm": TaskType(priority=5)})

    assert settings.task("recipe_llm") == TaskType(priority=5)
    assert settings.task("other_llm") == TaskType(vram_bytes=4)
    assert settings.task("ears_asr").priority == PRIORITIES["realtime"]
    assert settings.task("tts").priority == PRIORITIES["interactive"]
    assert settings.task("").priority == PRIORITIES["normal"]


def test_auto_takes_the_task_types_size() -> None:
    """Who asks for no size gets what his task type is configured to take."""
    ledger = mill()
    ledger.handle(ask(size_bytes=None, task_type="recipe_llm"), 0.0)

    assert lease_of(ledger).slot.size_bytes == 4 * GIB
    assert lease_of(ledger).priority == PRIORITIES["normal"]


def test_a_request_of_an_unknown_session_is_refused() -> None:
    """A session that is not open here asks for nothing."""
    assert refusal_of(mill(), ask(session_id="nobody")).code == "unknown_session"
