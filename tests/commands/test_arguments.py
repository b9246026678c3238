"""What a person may write, and what is refused."""

import argparse
from typing import Any

import pytest

from cf_orch.protocol.messages import DeviceInfo
from cf_orch.sidecar.commands.arguments import (
    duration_s,
    find_device,
    priority,
    size_gb,
    size_gb_or_all,
    size_gb_or_auto,
)
from cf_orch.sidecar.commands.failures import CommandFailed


def device(index: int, name: str, host: str = "heron", **facts: Any) -> DeviceInfo:
    nothing: dict[str, Any] = {
        "total_gb": 24.0, "charged_gb": 0.0, "foreign_gb": 0.0, "reserve_gb": 0.0, "free_gb": 24.0, "used_gb": None,
        "sample_age_s": None, "has_driver": True, "blind": None, "draining": False, "over_committed": False,
        "loading": None, "capabilities": [], "leases": [], "foreign": [],
    }  # fmt: skip
    uuid = f"GPU-{host}-{index}"
    return DeviceInfo(uuid=uuid, name=name, host=host, host_id=host, index=index, **(nothing | facts))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400), ("1h30m", 5400), ("0.5s", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    """A number and a unit, or several."""
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "2 weeks", "-5s", "0s", "h", "1h30"])
def test_what_is_no_duration(text: str) -> None:
    """It is refused with examples; so is a number without a unit."""
    with pytest.raises(argparse.ArgumentTypeError, match="write it as 90s, 15m, 2h or 1d"):
        duration_s(text)


@pytest.mark.parametrize(
    ("text", "gb"), [("6", 6), ("6GB", 6), ("6 GiB", 6), ("6g", 6), ("5.5gb", 5.5), ("6144MB", 6), ("512MiB", 0.5)]
)
def test_sizes(text: str, gb: float) -> None:
    """GB unless it says MB; both are powers of two."""
    assert size_gb(text) == gb


@pytest.mark.parametrize("text", ["", "0", "-1", "six", "6TB", "nan", "inf", "6,5", "1" * 400])
def test_what_is_no_size(text: str) -> None:
    """It is refused with examples."""
    with pytest.raises(argparse.ArgumentTypeError, match="write it as 6, 6GB or 6144MB"):
        size_gb(text)


def test_words_for_sizes() -> None:
    """Auto and all stand for themselves where they mean something."""
    assert (size_gb_or_auto("auto"), size_gb_or_all("all"), size_gb_or_auto("6")) == ("auto", "all", 6)


def test_priorities() -> None:
    """A name or a number; else the names are told."""
    assert (priority("batch"), priority("25")) == (10, 25)
    with pytest.raises(argparse.ArgumentTypeError, match="interactive 30"):
        priority("urgent")


HERON_0 = device(0, "NVIDIA GeForce RTX 4090")
HERON_1 = device(1, "NVIDIA GeForce RTX 3090")
KIWI_0 = device(0, "NVIDIA GeForce RTX 3090", host="kiwi")


@pytest.mark.parametrize("text", ["GPU-heron-0", "gpu-HERON-0", "0", "RTX 4090", "nvidia geforce rtx 4090"])
def test_a_device_has_many_names(text: str) -> None:
    """UUID, index, and the name with or without its maker's."""
    assert find_device([HERON_0, HERON_1], text) is HERON_0


@pytest.mark.parametrize("text", ["RTX 3090", "0"])
def test_a_name_of_two_devices_is_refused(text: str) -> None:
    """Both are listed with their UUIDs."""
    with pytest.raises(CommandFailed, match=r"2 devices are called .* by its UUID: .*GPU-heron-.*GPU-kiwi-0"):
        find_device([HERON_0, HERON_1, KIWI_0], text)


def test_an_unknown_device_is_refused_with_the_known_ones() -> None:
    """So that one of them can be named."""
    with pytest.raises(CommandFailed, match=r"no device is called '7'; known: 0 = RTX 4090 on heron \(GPU-heron-0\)"):
        find_device([HERON_0], "7")
    with pytest.raises(CommandFailed, match="known: none yet"):
        find_device([], "7")
