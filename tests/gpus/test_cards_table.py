"""The table of cards: each row is found by its own names, and says nothing that cannot be."""

import re
from collections import Counter

import pytest

from cf_orch.gpus import get_gpu_profile
from cf_orch.gpus.cards import CARDS, TYPES, Card, cuda
from cf_orch.gpus.cards.names import read_name

each_card = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)


@each_card
def test_every_row_is_found_by_its_own_names(card: Card) -> None:
    """By each name that it has, alone and with each size."""
    for name in (card.name, *card.also):
        assert get_gpu_profile(name).name == card.name
        for size, bandwidth in card.sizes.items():
            if not read_name(name).sizes - {size}:
                profile = get_gpu_profile(f"{name} {size}GB")
                assert (profile.name, profile.vram_gb, profile.bandwidth_gb_s) == (card.name, size, bandwidth)


def test_no_two_rows_share_a_name() -> None:
    """The later one would hide the earlier one."""
    names = Counter(words for card in CARDS for words in {read_name(name).words for name in (card.name, *card.also)})

    assert [words for words, times in names.items() if times > 1] == []


@each_card
def test_every_row_says_what_can_be(card: Card) -> None:
    """Memory as cards have it, bandwidth within what memory chips do, and a document to look it up in."""
    assert card.sizes
    assert all(2 <= size <= 512 for size in card.sizes)
    assert all(bandwidth is None or 80 <= bandwidth <= 8000 for bandwidth in card.sizes.values())
    assert len(card.source) > 15
    assert all(memory in card.sizes for memory in card.printed_gb.values())


@each_card
def test_laptop_parts_have_no_bandwidth(card: Card) -> None:
    """The laptop's maker sets their clocks."""
    if re.search(r"Laptop|Max-Q Design|Arc.*\dM$|RX \d+(M|S)( XT)?$", card.name):
        assert set(card.sizes.values()) == {None}


@each_card
def test_flags_follow_from_native_and_weight_only(card: Card) -> None:
    """A flag is set where an engine computes in the type; int4's also where weights are held in it."""
    profile = get_gpu_profile(card.name)

    assert profile.capabilities == set(profile.native) | ({"int4"} & set(profile.weight_only))
    assert {kind for kind in TYPES if getattr(profile, kind)} == profile.capabilities
    assert not set(profile.native) & set(profile.weight_only)
    assert set(profile.native) | set(profile.weight_only) <= set(TYPES)


@each_card
def test_vendor_and_chip_agree(card: Card) -> None:
    """A compute capability is NVIDIA's, an LLVM target AMD's."""
    starts = {"nvidia": "sm_", "amd": "gfx", "intel": "xe", "apple": "apple"}
    vendor = card.chip.vendor

    assert card.chip.target.startswith(starts[vendor])
    assert (card.chip.compute_capability is not None) == (vendor == "nvidia")
    assert vendor == "nvidia" or card.name.casefold().startswith(vendor)


@pytest.mark.parametrize(
    ("compute_capability", "architecture"),
    [
        ((5, 0), "Maxwell"),
        ((6, 1), "Pascal"),
        ((7, 0), "Volta"),
        ((7, 5), "Turing"),
        ((8, 7), "Ampere"),
        ((8, 9), "Ada Lovelace"),
        ((9, 0), "Hopper"),
        ((10, 3), "Blackwell"),
        ((11, 0), "Blackwell"),
        ((12, 1), "Blackwell"),
    ],
)
def test_architecture_of_a_compute_capability(compute_capability: tuple[int, int], architecture: str) -> None:
    """NVIDIA's generations, as its CUDA GPUs page lists them."""
    assert cuda(*compute_capability).architecture == architecture


def test_the_generations_that_are_covered() -> None:
    """Each that a user may still run a model on."""
    assert {card.chip.architecture for card in CARDS} == {
        "Maxwell", "Pascal", "Volta", "Turing", "Ampere", "Ada Lovelace", "Hopper", "Blackwell",
        "RDNA 2", "RDNA 3", "RDNA 3.5", "RDNA 4", "CDNA", "CDNA 2", "CDNA 3", "CDNA 4",
        "Xe-HPG (Alchemist)", "Xe2-HPG (Battlemage)",
        "Apple M1", "Apple M2", "Apple M3", "Apple M4", "Apple M5",
    }  # fmt: skip


# From another document than the row's: what llama.cpp, nvidia-smi and rocm-smi users' reports print as total, in MiB.
@pytest.mark.parametrize(
    ("name", "total_mib"),
    [
        ("NVIDIA GeForce RTX 3090", 24576),
        ("NVIDIA GeForce RTX 5090", 32607),
        ("NVIDIA RTX A6000", 49140),
        ("Tesla T4", 15360),
        ("Tesla P40", 24576),
        ("NVIDIA A100-SXM4-80GB", 81920),
        ("NVIDIA H100 80GB HBM3", 81559),
        ("NVIDIA H200", 143771),
        ("NVIDIA B200", 183359),
        ("NVIDIA L4", 23034),
        ("NVIDIA L40S", 46068),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97887),
        ("AMD Radeon RX 7900 XTX", 24560),
    ],
)
def test_nominal_memory_is_what_drivers_show(name: str, total_mib: int) -> None:
    """A driver shows the nominal memory, or up to a tenth less."""
    nominal_mib = get_gpu_profile(name).vram_gb * 1024

    assert 0.9 * nominal_mib <= total_mib <= nominal_mib
