"""Profiles by name: each spelling finds its own row, and no name finds a neighbour's."""

import pytest

from cf_orch.gpus import UnknownGpuError, capabilities_of, get_gpu_profile
from cf_orch.gpus._cards import CARDS, Card

SPELLINGS = [
    ("RTX 4090", "NVIDIA GeForce RTX 4090", 24),
    ("4090", "NVIDIA GeForce RTX 4090", 24),
    ("rtx4090", "NVIDIA GeForce RTX 4090", 24),
    ("rtx_4090", "NVIDIA GeForce RTX 4090", 24),
    ("nvidia geforce rtx 4090", "NVIDIA GeForce RTX 4090", 24),
    ("NVIDIA Corporation GeForce RTX™ 4090 Graphics Card", "NVIDIA GeForce RTX 4090", 24),
    ("GeForce RTX 4090 Founders Edition", "NVIDIA GeForce RTX 4090", 24),
    ("RTX 4090 (24 GB)", "NVIDIA GeForce RTX 4090", 24),
    ("  RTX   4090 ", "NVIDIA GeForce RTX 4090", 24),
    ("RTX 4090D", "NVIDIA GeForce RTX 4090 D", 24),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 Laptop GPU", 16),
    ("GeForce RTX 4090 Mobile", "NVIDIA GeForce RTX 4090 Laptop GPU", 16),
    ("RTX 5090 D V2", "NVIDIA GeForce RTX 5090 D V2", 24),
    ("RTX 3060", "NVIDIA GeForce RTX 3060", 12),
    ("RTX 3060 8GB", "NVIDIA GeForce RTX 3060", 8),
    ("RTX 3060 Laptop", "NVIDIA GeForce RTX 3060 Laptop GPU", 6),
    ("3080 12 GB", "NVIDIA GeForce RTX 3080", 12),
    ("RTX 4060 Ti 16GiB", "NVIDIA GeForce RTX 4060 Ti", 16),
    ("4070ti", "NVIDIA GeForce RTX 4070 Ti", 12),
    ("RTX 4070 Ti SUPER", "NVIDIA GeForce RTX 4070 Ti SUPER", 16),
    ("rtx4070tisuper", "NVIDIA GeForce RTX 4070 Ti SUPER", 16),
    ("RTX 4070 Super", "NVIDIA GeForce RTX 4070 SUPER", 12),
    ("NVIDIA GeForce GTX 1060 3GB", "NVIDIA GeForce GTX 1060", 3),
    ("gtx1080ti", "NVIDIA GeForce GTX 1080 Ti", 11),
    ("NVIDIA RTX A6000", "NVIDIA RTX A6000", 48),
    ("A6000", "NVIDIA RTX A6000", 48),
    ("RTX 6000 Ada", "NVIDIA RTX 6000 Ada Generation", 48),
    ("NVIDIA RTX 4000 SFF Ada Generation", "NVIDIA RTX 4000 SFF Ada Generation", 20),
    ("Quadro RTX 6000", "Quadro RTX 6000", 24),
    ("RTX PRO 6000 Blackwell", "NVIDIA RTX PRO 6000 Blackwell", 96),
    (
        "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
        "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
        96,
    ),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "NVIDIA RTX PRO 6000 Blackwell Server Edition", 96),
    ("T4", "Tesla T4", 16),
    ("Tesla V100-SXM2-32GB", "Tesla V100 SXM2", 32),
    ("Tesla V100-PCI-E-16GB", "Tesla V100 PCIe", 16),
    ("A10", "NVIDIA A10", 24),
    ("NVIDIA A10G", "NVIDIA A10G", 24),
    ("A100", "NVIDIA A100", 40),
    ("A100 80GB", "NVIDIA A100", 80),
    ("A100-SXM4-80GB", "NVIDIA A100 SXM4", 80),
    ("A100 SXM 40GB", "NVIDIA A100 SXM4", 40),
    ("NVIDIA A100 80GB PCIe", "NVIDIA A100 PCIe", 80),
    ("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM5", 80),
    ("H100 SXM", "NVIDIA H100 SXM5", 80),
    ("NVIDIA H100 PCIe", "NVIDIA H100 PCIe", 80),
    ("NVIDIA H100 NVL", "NVIDIA H100 NVL", 94),
    ("H200", "NVIDIA H200", 141),
    ("NVIDIA B200", "NVIDIA B200", 180),
    ("NVIDIA GB10", "NVIDIA GB10", 128),
]

NO_ROW = [
    "RTX 4090 Ti",
    "RTX 4090 SUPER",
    "RTX 4090 Max-Q",
    "RTX 3080 10GB 12GB",
    "RTX 4090 12GB",
    "RTX 4090 Ada",
    "GTX 4090",
    "Tesla RTX 4090",
    "AMD Radeon RX 4090",
    "Radeon 5070",
    "RTX 4050",
    "RTX 3060 Ti Laptop GPU",
    "NVIDIA GeForce RTX 2070 with Max-Q Design",
    "RTX 6000",
    "RTX PRO 6000",
    "Quadro 6000",
    "RTX A6000 Ada",
    "L4S",
    "A100X",
    "A1000",
    "A100 NVL",
    "A100-SXM5-80GB",
    "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
    "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
    "NVIDIA H100 SXM5 64GB",
    "H200 PCIe",
    "Tesla V100-SXM3-32GB",
    "B2000",
    "409",
    "RTX",
    "GeForce",
    "NVIDIA",
    "NVIDIA Graphics Device",
    "24GB",
    "",
]


@pytest.mark.parametrize(("spelling", "name", "vram_gb"), SPELLINGS)
def test_spelling_finds_its_row(spelling: str, name: str, vram_gb: float) -> None:
    """Whatever a user, a shop or NVML writes leads to that card, in the size that it names."""
    profile = get_gpu_profile(spelling)

    assert (profile.name, profile.vram_gb) == (name, vram_gb)


@pytest.mark.parametrize("name", NO_ROW)
def test_no_neighbour_is_found(name: str) -> None:
    """A name without a row of its own finds none, however much it looks like another's."""
    with pytest.raises(UnknownGpuError):
        get_gpu_profile(name)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_row_is_found_by_its_own_names(card: Card) -> None:
    """No two rows share a name: each is found by every name that it has, in every size."""
    for name in (card.name, *card.also):
        assert get_gpu_profile(name).name == card.name
        for size, bandwidth in card.bandwidth_gb_s_by_vram_gb.items():
            profile = get_gpu_profile(f"{name} {size}GB")
            assert (profile.name, profile.vram_gb, profile.bandwidth_gb_s) == (card.name, size, bandwidth)


def test_profile_of_a_4090() -> None:
    """The whole profile of the card that most people have, as its product page and its capability give it."""
    profile = get_gpu_profile("RTX 4090")

    assert (profile.architecture, profile.compute_capability) == ("Ada Lovelace", (8, 9))
    assert (profile.fp16, profile.bf16, profile.fp8, profile.int8, profile.int4) == (True,) * 5
    assert profile.fp4 is False
    assert profile.capabilities == {"fp16", "bf16", "fp8", "int8", "int4"}
    assert (profile.max_batch, profile.bandwidth_gb_s, profile.variants) == (32, 1008.0, (24.0,))
    assert profile.source == "NVIDIA GeForce RTX 40 series product pages"


@pytest.mark.parametrize(
    ("name", "variants"),
    [("RTX 3060", (8, 12)), ("RTX 3080", (10, 12)), ("RTX 4060 Ti", (8, 16)), ("A100", (40, 80))],
)
def test_sizes_of_one_name_are_variants(name: str, variants: tuple[float, ...]) -> None:
    """A name that is sold in several sizes lists them all."""
    assert get_gpu_profile(name).variants == variants


@pytest.mark.parametrize(
    ("name", "max_batch"),
    [("GTX 1650", 1), ("RTX 4060", 1), ("RTX 3080", 4), ("RTX 3060", 8), ("RTX 4090", 32), ("A100 80GB", 144)],
)
def test_max_batch_follows_memory(name: str, max_batch: int) -> None:
    """Two sequences for each GB above the first eight, and never less than one."""
    assert get_gpu_profile(name).max_batch == max_batch


@pytest.mark.parametrize(
    ("compute_capability", "capabilities"),
    [
        ((5, 2), set[str]()),
        ((5, 3), {"fp16"}),
        ((6, 0), {"fp16", "int4"}),
        ((6, 1), {"fp16", "int4", "int8"}),
        ((7, 0), {"fp16", "int4", "int8"}),
        ((7, 5), {"fp16", "int4", "int8"}),
        ((8, 0), {"fp16", "int4", "int8", "bf16"}),
        ((8, 6), {"fp16", "int4", "int8", "bf16"}),
        ((8, 9), {"fp16", "int4", "int8", "bf16", "fp8"}),
        ((9, 0), {"fp16", "int4", "int8", "bf16", "fp8"}),
        ((10, 0), {"fp16", "int4", "int8", "bf16", "fp8", "fp4"}),
        ((12, 1), {"fp16", "int4", "int8", "bf16", "fp8", "fp4"}),
    ],
)
def test_capabilities_come_with_the_compute_capability(
    compute_capability: tuple[int, int], capabilities: set[str]
) -> None:
    """Each number type begins at the capability that first had a kernel for it."""
    assert capabilities_of(compute_capability) == capabilities


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_flags_and_capabilities_agree(card: Card) -> None:
    """A profile's flags are those that its compute capability gives."""
    profile = get_gpu_profile(card.name)
    kinds = ("fp16", "bf16", "fp8", "fp4", "int8", "int4")

    assert {kind for kind in kinds if getattr(profile, kind)} == profile.capabilities


def test_unknown_name_suggests_near_ones() -> None:
    """Who mistypes is shown what he may have meant."""
    with pytest.raises(UnknownGpuError) as caught:
        get_gpu_profile("RTX 4099")

    assert caught.value.name == "RTX 4099"
    assert "NVIDIA GeForce RTX 4090" in caught.value.near
    assert str(caught.value).startswith("no GPU profile is named 'RTX 4099': did you mean NVIDIA")


def test_ambiguous_number_suggests_all_that_bear_it() -> None:
    """A model number that several cards share suggests each of them."""
    with pytest.raises(UnknownGpuError) as caught:
        get_gpu_profile("RTX 6000")

    assert {"Quadro RTX 6000", "NVIDIA RTX 6000 Ada Generation"} <= set(caught.value.near)


def test_wrong_size_suggests_the_right_ones() -> None:
    """A size in which a card is not sold is refused with those in which it is."""
    with pytest.raises(UnknownGpuError) as caught:
        get_gpu_profile("RTX 3080 16GB")

    assert caught.value.near == ("NVIDIA GeForce RTX 3080 10GB", "NVIDIA GeForce RTX 3080 12GB")


def test_nonsense_is_told_how_to_write_a_name() -> None:
    """Where nothing is near, the message shows the form of a name."""
    with pytest.raises(UnknownGpuError, match="as nvidia-smi does") as caught:
        get_gpu_profile("?")

    assert caught.value.near == ()
