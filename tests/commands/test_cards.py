"""What the commands say of a card with a driver, on another host, and of cards that are only named."""

import json
import re

import pytest
from tests.commands.conftest import Cli, Coordinator, said

from cf_orch.coordinator.cli import main


def test_status_says_what_is_wrong_with_a_device(cli: Cli, coordinator: Coordinator) -> None:
    """Foreign processes by name, over-committed, blind and draining in words."""
    coordinator.report(used_gb=48)
    full = said(cli, "status")
    coordinator.report(error="the driver does not answer")
    blind = said(cli, "status")
    cli("drain", "GPU-5b0c")
    draining = said(cli, "status")
    cli("drain", "GPU-5b0c", "--undo")

    assert "0 RTX 6000 Ada Generation on heron" in full
    assert "foreign Xorg (pid 812) 48 GB" in full
    assert "over-committed: 48.5 GB of 48 GB in use; nothing is granted until it fits" in full
    assert "blind: the driver does not answer; nothing is granted" in blind
    assert "draining: nothing new is granted" in draining


def test_a_name_cannot_steer_the_terminal(cli: Cli, coordinator: Coordinator) -> None:
    """A process may have any name; what would be a control sequence is not passed on."""
    coordinator.report(processes=[{"pid": 812, "name": "\x1b[2Jevil[red]", "used_bytes": 2**30}])

    assert "foreign ?[2Jevil[red] (pid 812) 1 GB" in said(cli, "status")


def test_devices(cli: Cli, coordinator: Coordinator) -> None:
    """A row for each, in GB, with UUID, what it computes in, and its state."""
    coordinator.report(used_gb=10)
    coordinator.ask("kiwi", 16, device="RTX 4090")

    shown = said(cli, "devices")

    assert "# DEVICE TOTAL HELD FOREIGN RESERVE FREE 0 RTX 4090 on " in shown
    assert " 24 16 0 0 8 DECL-" in shown
    assert "0 RTX 6000 Ada Generation on heron 48 0 10 0.5 37.5 GPU-5b0c bf16, fp8" in shown


def profile(capsys: pytest.CaptureFixture[str], *name: str) -> str:
    assert main(["profile", *name]) == 0
    return re.sub(" +", " ", capsys.readouterr().out)


def test_profile_tells_native_from_weights_only(capsys: pytest.CaptureFixture[str]) -> None:
    """What a 3090 computes in, and what it only holds weights in."""
    shown = profile(capsys, "RTX 3090")

    assert "computes in fp16, bf16, int8\n" in shown
    assert "holds weights also in fp8, fp4, int4\n" in shown


def test_profile_of_a_card_that_is_not_nvidias(capsys: pytest.CaptureFixture[str]) -> None:
    """Its LLVM target stands where NVIDIA's cards have a compute capability; JSON has null there."""
    shown = profile(capsys, "RX", "7900", "XTX")
    assert main(["profile", "RX 7900 XTX", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)

    assert "architecture RDNA 3, gfx1100" in shown
    assert (answer["compute_capability"], answer["target"], answer["native"]) == (
        None,
        "gfx1100",
        ["fp16", "bf16", "int8"],
    )


def test_profile_of_unified_memory(capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks for an M2 Max or an Orin is told that the host has its share, and which sizes there are."""
    assert "memory 32 GB, shared with the host (sold with 32, 64, 96 GB)" in profile(capsys, "M2", "Max")
    assert "batch 1 sequence of 4096 tokens" in profile(capsys, "Orin")


def test_profile_of_a_chip_names_its_cards(capsys: pytest.CaptureFixture[str]) -> None:
    """gfx1100 has 16 to 48 GB, depending on the board: exit status 1, and the boards."""
    assert main(["profile", "gfx1100"]) == 1
    assert "did you mean AMD Radeon RX 7900 XTX, AMD Radeon RX 7900 XT" in capsys.readouterr().err
