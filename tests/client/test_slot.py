"""What a slot says over the wire."""

import math

import pytest

from cf_orch.client import LeaseRefused, Priority, VRAMSlot


def test_all_fields_go_over_the_wire() -> None:
    """Every field of a slot is in its request, in the wire's types."""
    slot = VRAMSlot(
        "kiwi", "recipe_llm", 4, model="m", priority=Priority.BATCH, peak_gb=6, residue_gb=0.5, gpus=2, host="h",
        device=(0, "GPU-1"), requires={"fp8", "bf16"}, max_wait_s=5,
    )  # fmt: skip

    request = slot.request("r1", evictable=True)

    assert request.request_id == "r1"
    assert request.evictable
    assert request.device == [0, "GPU-1"]
    assert request.requires == ["bf16", "fp8"]
    for field in ("service", "task_type", "vram_gb", "model", "priority", "peak_gb", "residue_gb", "gpus", "host"):
        assert getattr(request, field) == getattr(slot, field)
    assert request.max_wait_s == 5


def test_what_json_cannot_say_is_refused() -> None:
    """A size that is not finite is refused like any other impossible one."""
    with pytest.raises(LeaseRefused, match="vram_gb must be a finite number") as refused:
        VRAMSlot("kiwi", "llm", math.inf).request("r1", evictable=False)

    assert refused.value.code == "bad_value"
