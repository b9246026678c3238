"""Leases and waits in words."""

import pytest
from tests.commands.test_arguments import device

from cf_orch.protocol.messages import ForeignInfo, LeaseInfo, WaitingInfo
from cf_orch.sidecar.commands.wording import Names, class_name, device_name, gb, span, waits

CARD = device(0, "NVIDIA GeForce RTX 4090", foreign_gb=2.0, foreign=[ForeignInfo(pid=1, name="Xorg", used_gb=2.0)])


def lease(lease_id: str, service: str, task_type: str = "", waiting_for: WaitingInfo | None = None) -> LeaseInfo:
    return LeaseInfo(
        id=lease_id, state="queued", token=None, service=service, task_type=task_type, model=None, priority=20,
        vram_gb=16.0, charge_gb=0.0, devices=[], position=0, waiting_for=waiting_for, evictable=False, request_id="r",
        session_id=None, created_at=0.0, granted_at=None, expires_at=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "behind", "eta_s", "sentence"),
    [
        ("memory", ["a-4"], None, "for memory on RTX 4090: needs 16 GB, 8 GB free, behind kiwi's recipe_llm (a-4)"),
        ("fifo", ["a-4", "a-5", "a-6"], None,
         "its turn on RTX 4090: needs 16 GB, 8 GB free, behind kiwi's recipe_llm (a-4), a-5 and 1 more"),
        ("memory", [], 190.0, "for memory on RTX 4090: needs 16 GB, 8 GB free, about 3 min to go"),
        ("memory", [], 0.0, "for memory on RTX 4090: needs 16 GB, 8 GB free, due at any moment"),
        ("window", ["a-4"], None, "until kiwi's recipe_llm (a-4) has loaded on RTX 4090"),
        ("quota", [], None, "for merlin's quota: needs 16 GB, 8 GB left"),
        ("drain", [], None, "for a drained device: nothing new is granted on RTX 4090"),
        ("blind", [], None, "for the driver: there is no fresh reading of RTX 4090"),
        ("foreign", [], None,
         "for memory that no lease accounts for: needs 16 GB, 8 GB free on RTX 4090, 2 GB foreign (Xorg)"),
        ("residency", [], None, "for idle memory on RTX 4090 that is protected for a while: needs 16 GB, 8 GB free"),
        ("eviction", ["a1b2-2"], None, "until a1b2-2 has left RTX 4090: needs 16 GB, 8 GB free"),
        ("residue", ["a1b2-2"], None, "for what a1b2-2 kept on RTX 4090: needs 16 GB, 8 GB free"),
        ("deadlock", [], None, "(deadlock): needs 16 GB, 8 GB free on RTX 4090"),
    ],
)  # fmt: skip
def test_each_rule_has_its_sentence(rule: str, behind: list[str], eta_s: float | None, sentence: str) -> None:
    """With the numbers, whom it is behind, and how long where that is known; a rule of a newer one by its name."""
    waiting = WaitingInfo(rule=rule, device=CARD.uuid, needs_gb=16.0, free_gb=8.0, behind=behind, eta_s=eta_s)
    names = Names([CARD], [lease("a-4", "kiwi", "recipe_llm")])

    assert waits(lease("a-9", "merlin", waiting_for=waiting), names) == f"waits {sentence}"


def test_several_hosts_are_named() -> None:
    """A device's host is said where there is more than one."""
    other = device(0, "NVIDIA GeForce RTX 3090", host="kiwi")

    assert Names([CARD], []).device(CARD.uuid) == "RTX 4090"
    assert Names([CARD, other], []).device(CARD.uuid) == "RTX 4090 on heron"
    assert Names([], []).device("GPU-9") == "GPU-9"


def test_sizes_and_times() -> None:
    """No needless digits."""
    assert [gb(16.0), gb(5.5), gb(23.988), gb(0.25)] == ["16 GB", "5.5 GB", "23.99 GB", "0.25 GB"]
    assert [span(0.2), span(59), span(190), span(7500), span(180000)] == [
        "0 s",
        "59 s",
        "3 min",
        "2 h 5 min",
        "2 d 2 h",
    ]
    assert [class_name(10), class_name(25)] == ["batch", "25"]
    assert [device_name("NVIDIA GeForce RTX 4090"), device_name("NVIDIA A100"), device_name("Radeon")] == [
        "RTX 4090", "A100", "Radeon",
    ]  # fmt: skip
