"""Profiles by name: each spelling finds its own row, and no name finds a neighbour's."""

import pytest

from cf_orch.gpus import GpuProfile, UnknownGpuError, capabilities_of, get_gpu_profile
from cf_orch.gpus.profiles import live_gpu_profile

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
    ("RTX 5090 D V2", "NVIDIA GeForce RTX 5090 D v2", 24),
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
    ("RTX 3060 12G", "NVIDIA GeForce RTX 3060", 12),
    ("RTX 3080 LHR", "NVIDIA GeForce RTX 3080", 10),
    ("RTX 2070 Max-Q", "NVIDIA GeForce RTX 2070 with Max-Q Design", 8),
    ("Titan RTX", "NVIDIA TITAN RTX", 24),
    ("titan xp", "NVIDIA TITAN Xp", 12),
    ("TITAN X Pascal", "NVIDIA TITAN X (Pascal)", 12),
    ("GTX TITAN X", "NVIDIA GeForce GTX TITAN X", 12),
    ("NVIDIA Tesla T4", "Tesla T4", 16),
    ("Jetson AGX Orin 32GB", "NVIDIA Jetson AGX Orin", 32),
    ("RX 7900 XTX", "AMD Radeon RX 7900 XTX", 24),
    ("7900xtx", "AMD Radeon RX 7900 XTX", 24),
    ("rx6800xt", "AMD Radeon RX 6800 XT", 16),
    ("Radeon PRO W7900", "AMD Radeon Pro W7900", 48),
    ("W7800 48GB", "AMD Radeon Pro W7800", 48),
    ("MI300X", "AMD Instinct MI300X", 192),
    ("Arc A770", "Intel Arc A770", 16),
    ("Intel Arc A770 8GB", "Intel Arc A770", 8),
    ("Arc Pro B60", "Intel Arc Pro B60", 24),
    ("M1 Max", "Apple M1 Max", 32),
    ("m1max 64gb", "Apple M1 Max", 64),
    ("Apple M4 Pro", "Apple M4 Pro", 24),
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
    "GeForce RTX 2070 Mobile",
    "RTX 6000",
    "RTX PRO 6000",
    "Quadro 6000",
    "RTX A6000 Ada",
    "L4S",
    "A100X",
    "A1100",
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
    "NVIDIA Radeon RX 7900 XTX",
    "AMD RTX 4090",
    "NVIDIA A770",
    "Arc A40",
    "AMD A40",
    "Arc B50",
    "Arc",
    "Intel Graphics",
    "RX 7900",
    "RX 7900 XTX XT",
    "RX 7800 XTX",
    "W7900D",
    "gfx1100",
    "gfx908",
    "Titan",
    "TITAN X",
    "GTX TITAN",
    "GTX 4090 4090",
    "Tesla M4",
    "Apple T4",
    "Apple M4 Ultra",
    "M1 Super",
    "M3 Max 32GB",
    "Jetson",
    "NVIDIA H100 80GB HBM3 MIG 1g.10gb+me",
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


def test_profile_of_a_4090() -> None:
    """The whole profile of the card that most people have, as its product page and its capability give it."""
    profile = get_gpu_profile("RTX 4090")

    assert (profile.architecture, profile.compute_capability) == ("Ada Lovelace", (8, 9))
    assert (profile.fp16, profile.bf16, profile.fp8, profile.int8, profile.int4) == (True,) * 5
    assert profile.fp4 is False
    assert profile.capabilities == {"fp16", "bf16", "fp8", "int8", "int4"}
    assert profile.native == ("fp16", "bf16", "fp8", "int8")
    assert profile.weight_only == ("fp4", "int4")
    assert (profile.target, profile.unified) == ("sm_89", False)
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
        ((3, 5), set[str]()),
        ((5, 0), {"int4"}),
        ((5, 2), {"int4"}),
        ((5, 3), {"fp16", "int4"}),
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


@pytest.mark.parametrize(
    ("name", "native", "weight_only"),
    [
        ("GTX 980", set[str](), {"fp16", "bf16", "fp4", "int8", "int4"}),
        ("Tesla P100 PCIe", {"fp16"}, {"bf16", "fp4", "int8", "int4"}),
        ("T4", {"fp16", "int8"}, {"bf16", "fp8", "fp4", "int4"}),
        ("RTX 3090", {"fp16", "bf16", "int8"}, {"fp8", "fp4", "int4"}),
        ("H100 PCIe", {"fp16", "bf16", "fp8", "int8"}, {"fp4", "int4"}),
        ("RTX 5090", {"fp16", "bf16", "fp8", "fp4", "int8"}, {"int4"}),
        ("Jetson AGX Thor", {"fp16", "bf16", "fp8", "fp4", "int8"}, {"int4"}),
        ("RX 6800", {"fp16", "int8"}, {"bf16", "fp4", "int4"}),
        ("RX 7900 XTX", {"fp16", "bf16", "int8"}, {"fp4", "int4"}),
        ("RX 9070 XT", {"fp16", "bf16", "fp8", "int8"}, {"fp4", "int4"}),
        ("MI210", {"fp16", "bf16", "int8"}, {"fp4", "int4"}),
        ("MI300X", {"fp16", "bf16", "fp8", "int8"}, {"fp4", "int4"}),
        ("MI355X", {"fp16", "bf16", "fp8", "fp4", "int8"}, {"int4"}),
        ("Arc B580", {"fp16", "bf16", "int8"}, {"fp8", "fp4", "int4"}),
        ("Apple M2", {"fp16"}, {"bf16", "fp4", "int8", "int4"}),
        ("Apple M3", {"fp16", "bf16"}, {"fp4", "int8", "int4"}),
    ],
)
def test_native_is_told_from_weight_only(name: str, native: set[str], weight_only: set[str]) -> None:
    """What engines compute in, what they only hold weights in, and, by silence, what no engine offers."""
    profile = get_gpu_profile(name)

    assert (set(profile.native), set(profile.weight_only)) == (native, weight_only)


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


def test_a_chip_suggests_the_cards_that_bear_it() -> None:
    """An LLVM target names no card: boards of one chip differ in memory."""
    with pytest.raises(UnknownGpuError) as caught:
        get_gpu_profile("gfx1100")

    assert caught.value.near[:2] == ("AMD Radeon RX 7900 XTX", "AMD Radeon RX 7900 XT")
    assert {get_gpu_profile(name).target for name in caught.value.near} == {"gfx1100"}


def test_nonsense_is_told_how_to_write_a_name() -> None:
    """Where nothing is near, the message shows the form of a name."""
    with pytest.raises(UnknownGpuError, match="as nvidia-smi does") as caught:
        get_gpu_profile("?")

    assert caught.value.near == ()


def live(name: str, total_mib: int, compute_capability: tuple[int, int] | None = None) -> GpuProfile:
    return live_gpu_profile(name, total_mib * 2**20, compute_capability)


def test_a_live_device_has_its_drivers_memory() -> None:
    """NVML's total and not the sheet's; the rest is the row's, and the few MiB that are missing cost no sequence."""
    profile = live("NVIDIA GeForce RTX 4090", 24564, (8, 9))

    assert profile.vram_gb == 24564 / 1024
    assert (profile.name, profile.bandwidth_gb_s, profile.max_batch) == ("NVIDIA GeForce RTX 4090", 1008.0, 32)
    assert profile.source == "its driver; NVIDIA GeForce RTX 40 series product pages"


@pytest.mark.parametrize(
    ("total_mib", "bandwidth"),
    [(40960, 1555.0), (40442, 1555.0), (81920, 2039.0), (81251, 2039.0), (65536, None), (4864, None)],
)
def test_a_live_device_is_the_variant_of_its_size(total_mib: int, bandwidth: float | None) -> None:
    """Which of its name's boards it is tells its total; a size that nobody sold has no bandwidth."""
    assert live("NVIDIA A100-SXM4-40GB", total_mib, (8, 0)).bandwidth_gb_s == bandwidth


def test_a_live_device_with_ecc_is_its_variant_still() -> None:
    """ECC takes a sixteenth of a GDDR board: an A10 shows 22.5 of its 24 GB."""
    assert live("NVIDIA A10", 23028, (8, 6)).bandwidth_gb_s == 600.0


def test_a_live_device_needs_no_row() -> None:
    """A MIG instance, or a card of tomorrow: memory and compute capability are enough."""
    slice_ = live("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4864, (8, 0))
    new = live("NVIDIA GeForce RTX 9090", 49152, (13, 0))

    assert (slice_.name, slice_.vram_gb) == ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4.75)
    assert (slice_.bandwidth_gb_s, slice_.variants, slice_.max_batch) == (None, (4.75,), 1)
    assert slice_.capabilities == capabilities_of((8, 0))
    assert new.capabilities >= {"bf16", "fp8", "fp4"}
    assert new.source == "its driver"


def test_a_live_devices_compute_capability_wins() -> None:
    """A namesake of another generation is not the row's card: nothing of the row is said of it."""
    profile = live("NVIDIA GeForce GTX 750 Ti", 2048, (3, 0))

    assert (profile.architecture, profile.capabilities) == ("Kepler or older", frozenset())
    assert (profile.bandwidth_gb_s, profile.source) == (None, "its driver")


def test_a_live_device_without_compute_capability() -> None:
    """AMD, Intel and Apple have none: the row says what they compute in; unified memory keeps its bandwidth."""
    radeon = live("AMD Radeon RX 7900 XTX", 24560)
    budget = live("Apple M2 Max", 49152)

    assert (radeon.vram_gb, radeon.bandwidth_gb_s, radeon.target) == (24560 / 1024, 960.0, "gfx1100")
    assert (budget.vram_gb, budget.bandwidth_gb_s, budget.unified) == (48.0, 400.0, True)


def test_a_live_device_of_which_nothing_is_known() -> None:
    """Neither a row nor a compute capability: nothing can be said of it."""
    with pytest.raises(UnknownGpuError, match="no GPU profile is named 'AMD Radeon Graphics'"):
        live("AMD Radeon Graphics", 512)


def test_torchs_capability_of_a_radeon_is_not_nvidias() -> None:
    """Torch calls gfx1100 capability 11.0; the row of an AMD card knows better."""
    assert live("AMD Radeon RX 7900 XTX", 24560, (11, 0)).architecture == "RDNA 3"
