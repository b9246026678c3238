"""The table of cards: name, compute capability, memory, bandwidth; everything else is derived from these.

Sources: memory and bandwidth are those of NVIDIA's product pages and data sheets, nominal GB as printed there;
compute capabilities are those of NVIDIA's "CUDA GPU Compute Capability" page. A bandwidth is None where boards
of the same name differ or the sheets disagree. Laptop parts have none: the laptop's maker sets their clocks.
"""

from typing import NamedTuple


class Card(NamedTuple):
    """One row: a name as NVML writes it, and the sizes it is sold in, the common one first."""

    name: str
    compute_capability: tuple[int, int]
    bandwidth_gb_s_by_vram_gb: dict[int, float | None]
    source: str
    also: tuple[str, ...] = ()  # other full names of the very same card


def _family(source: str, compute_capability: tuple[int, int], sizes: dict[str, dict[int, float | None]]) -> list[Card]:
    return [Card(name, compute_capability, by_vram, source) for name, by_vram in sizes.items()]


_GTX_10 = _family(
    "NVIDIA GeForce 10 series product pages",
    (6, 1),
    {
        "NVIDIA GeForce GTX 1050 Ti": {4: 112.0},
        "NVIDIA GeForce GTX 1060": {6: 192.0, 3: 192.0},
        "NVIDIA GeForce GTX 1070": {8: 256.0},
        "NVIDIA GeForce GTX 1070 Ti": {8: 256.0},
        "NVIDIA GeForce GTX 1080": {8: 320.0},
        "NVIDIA GeForce GTX 1080 Ti": {11: 484.0},
    },
)
_GTX_16 = _family(
    "NVIDIA GeForce GTX 16 series product pages",
    (7, 5),
    {
        "NVIDIA GeForce GTX 1650": {4: None},
        "NVIDIA GeForce GTX 1650 SUPER": {4: 192.0},
        "NVIDIA GeForce GTX 1660": {6: 192.0},
        "NVIDIA GeForce GTX 1660 SUPER": {6: 336.0},
        "NVIDIA GeForce GTX 1660 Ti": {6: 288.0},
    },
)
_RTX_20 = _family(
    "NVIDIA GeForce RTX 20 series product pages",
    (7, 5),
    {
        "NVIDIA GeForce RTX 2060": {6: 336.0, 12: 336.0},
        "NVIDIA GeForce RTX 2060 SUPER": {8: 448.0},
        "NVIDIA GeForce RTX 2070": {8: 448.0},
        "NVIDIA GeForce RTX 2070 SUPER": {8: 448.0},
        "NVIDIA GeForce RTX 2080": {8: 448.0},
        "NVIDIA GeForce RTX 2080 SUPER": {8: 496.0},
        "NVIDIA GeForce RTX 2080 Ti": {11: 616.0},
    },
)
_RTX_30 = _family(
    "NVIDIA GeForce RTX 30 series product pages",
    (8, 6),
    {
        "NVIDIA GeForce RTX 3050": {8: 224.0, 6: 168.0},
        "NVIDIA GeForce RTX 3060": {12: 360.0, 8: 240.0},
        "NVIDIA GeForce RTX 3060 Ti": {8: None},
        "NVIDIA GeForce RTX 3070": {8: 448.0},
        "NVIDIA GeForce RTX 3070 Ti": {8: 608.0},
        "NVIDIA GeForce RTX 3080": {10: 760.0, 12: 912.0},
        "NVIDIA GeForce RTX 3080 Ti": {12: 912.0},
        "NVIDIA GeForce RTX 3090": {24: 936.0},
        "NVIDIA GeForce RTX 3090 Ti": {24: 1008.0},
        "NVIDIA GeForce RTX 3050 Laptop GPU": {4: None, 6: None},
        "NVIDIA GeForce RTX 3050 Ti Laptop GPU": {4: None},
        "NVIDIA GeForce RTX 3060 Laptop GPU": {6: None},
        "NVIDIA GeForce RTX 3070 Laptop GPU": {8: None},
        "NVIDIA GeForce RTX 3070 Ti Laptop GPU": {8: None},
        "NVIDIA GeForce RTX 3080 Laptop GPU": {8: None, 16: None},
        "NVIDIA GeForce RTX 3080 Ti Laptop GPU": {16: None},
    },
)
_RTX_40 = _family(
    "NVIDIA GeForce RTX 40 series product pages",
    (8, 9),
    {
        "NVIDIA GeForce RTX 4060": {8: 272.0},
        "NVIDIA GeForce RTX 4060 Ti": {8: 288.0, 16: 288.0},
        "NVIDIA GeForce RTX 4070": {12: None},
        "NVIDIA GeForce RTX 4070 SUPER": {12: 504.0},
        "NVIDIA GeForce RTX 4070 Ti": {12: 504.0},
        "NVIDIA GeForce RTX 4070 Ti SUPER": {16: 672.0},
        "NVIDIA GeForce RTX 4080": {16: 717.0},
        "NVIDIA GeForce RTX 4080 SUPER": {16: 736.0},
        "NVIDIA GeForce RTX 4090": {24: 1008.0},
        "NVIDIA GeForce RTX 4090 D": {24: 1008.0},
        "NVIDIA GeForce RTX 4050 Laptop GPU": {6: None},
        "NVIDIA GeForce RTX 4060 Laptop GPU": {8: None},
        "NVIDIA GeForce RTX 4070 Laptop GPU": {8: None},
        "NVIDIA GeForce RTX 4080 Laptop GPU": {12: None},
        "NVIDIA GeForce RTX 4090 Laptop GPU": {16: None},
    },
)
_RTX_50 = _family(
    "NVIDIA GeForce RTX 50 series product pages",
    (12, 0),
    {
        "NVIDIA GeForce RTX 5050": {8: 320.0},
        "NVIDIA GeForce RTX 5060": {8: 448.0},
        "NVIDIA GeForce RTX 5060 Ti": {16: 448.0, 8: 448.0},
        "NVIDIA GeForce RTX 5070": {12: 672.0},
        "NVIDIA GeForce RTX 5070 Ti": {16: 896.0},
        "NVIDIA GeForce RTX 5080": {16: 960.0},
        "NVIDIA GeForce RTX 5090": {32: 1792.0},
        "NVIDIA GeForce RTX 5090 D": {32: 1792.0, 24: None},
        "NVIDIA GeForce RTX 5090 D V2": {24: 1344.0},
        "NVIDIA GeForce RTX 5050 Laptop GPU": {8: None},
        "NVIDIA GeForce RTX 5060 Laptop GPU": {8: None},
        "NVIDIA GeForce RTX 5070 Laptop GPU": {8: None},
        "NVIDIA GeForce RTX 5070 Ti Laptop GPU": {12: None},
        "NVIDIA GeForce RTX 5080 Laptop GPU": {16: None},
        "NVIDIA GeForce RTX 5090 Laptop GPU": {24: None},
    },
)
_WORKSTATION = [
    *_family(
        "NVIDIA Quadro RTX data sheets",
        (7, 5),
        {
            "Quadro RTX 4000": {8: 416.0},
            "Quadro RTX 5000": {16: 448.0},
            "Quadro RTX 6000": {24: None},
            "Quadro RTX 8000": {48: None},
        },
    ),
    *_family(
        "NVIDIA RTX A-series data sheets",
        (8, 6),
        {
            "NVIDIA RTX A2000": {6: 288.0, 12: 288.0},
            "NVIDIA RTX A4000": {16: 448.0},
            "NVIDIA RTX A4500": {20: 640.0},
            "NVIDIA RTX A5000": {24: 768.0},
            "NVIDIA RTX A5500": {24: 768.0},
            "NVIDIA RTX A6000": {48: 768.0},
        },
    ),
    *_family(
        "NVIDIA RTX Ada Generation data sheets",
        (8, 9),
        {
            "NVIDIA RTX 2000 Ada Generation": {16: 224.0},
            "NVIDIA RTX 4000 Ada Generation": {20: 360.0},
            "NVIDIA RTX 4000 SFF Ada Generation": {20: 280.0},
            "NVIDIA RTX 4500 Ada Generation": {24: 432.0},
            "NVIDIA RTX 5000 Ada Generation": {32: 576.0},
            "NVIDIA RTX 6000 Ada Generation": {48: 960.0},
        },
    ),
    *_family(
        "NVIDIA RTX PRO Blackwell data sheets",
        (12, 0),
        {
            "NVIDIA RTX PRO 2000 Blackwell": {16: 288.0},
            "NVIDIA RTX PRO 4000 Blackwell": {24: 672.0},
            "NVIDIA RTX PRO 4500 Blackwell": {32: 896.0},
            "NVIDIA RTX PRO 5000 Blackwell": {48: 1344.0, 72: 1344.0},
            "NVIDIA RTX PRO 6000 Blackwell": {96: None},
            "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": {96: 1792.0},
            "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition": {96: 1792.0},
            "NVIDIA RTX PRO 6000 Blackwell Server Edition": {96: None},
        },
    ),
]
_DATA_CENTRE = [
    Card("Tesla P100 PCIe", (6, 0), {16: 732.0, 12: 549.0}, "NVIDIA Tesla P100 data sheet"),
    Card("Tesla P100 SXM2", (6, 0), {16: 732.0}, "NVIDIA Tesla P100 data sheet"),
    Card("Tesla P40", (6, 1), {24: 346.0}, "NVIDIA Tesla P40 data sheet"),
    Card("Tesla V100 PCIe", (7, 0), {16: 900.0, 32: 900.0}, "NVIDIA V100 data sheet"),
    Card("Tesla V100 SXM2", (7, 0), {16: None, 32: None}, "NVIDIA V100 data sheet"),
    Card("Tesla T4", (7, 5), {16: None}, "NVIDIA T4 data sheet"),
    Card("NVIDIA A2", (8, 6), {16: 200.0}, "NVIDIA A2 data sheet"),
    Card("NVIDIA A10", (8, 6), {24: 600.0}, "NVIDIA A10 data sheet"),
    Card("NVIDIA A10G", (8, 6), {24: 600.0}, "Amazon EC2 G5 instance page"),
    Card("NVIDIA A30", (8, 0), {24: 933.0}, "NVIDIA A30 data sheet"),
    Card("NVIDIA A40", (8, 6), {48: 696.0}, "NVIDIA A40 data sheet"),
    Card("NVIDIA A100", (8, 0), {40: 1555.0, 80: None}, "NVIDIA A100 data sheet"),
    Card("NVIDIA A100 PCIe", (8, 0), {40: 1555.0, 80: 1935.0}, "NVIDIA A100 data sheet"),
    Card("NVIDIA A100 SXM4", (8, 0), {40: 1555.0, 80: 2039.0}, "NVIDIA A100 data sheet", ("NVIDIA A100 SXM",)),
    Card("NVIDIA L4", (8, 9), {24: 300.0}, "NVIDIA L4 product page"),
    Card("NVIDIA L40", (8, 9), {48: 864.0}, "NVIDIA L40 product page"),
    Card("NVIDIA L40S", (8, 9), {48: 864.0}, "NVIDIA L40S product page"),
    Card("NVIDIA H100", (9, 0), {80: None, 94: None}, "NVIDIA H100 product page"),
    Card("NVIDIA H100 PCIe", (9, 0), {80: 2000.0}, "NVIDIA H100 PCIe data sheet"),
    # NVML calls the SXM5 board by its memory: "NVIDIA H100 80GB HBM3".
    Card(
        "NVIDIA H100 SXM5",
        (9, 0),
        {80: 3350.0},
        "NVIDIA H100 product page",
        ("NVIDIA H100 HBM3", "NVIDIA H100 SXM"),
    ),
    Card("NVIDIA H100 NVL", (9, 0), {94: 3900.0}, "NVIDIA H100 product page"),
    Card(
        "NVIDIA H200",
        (9, 0),
        {141: 4800.0},
        "NVIDIA H200 product page",
        ("NVIDIA H200 SXM5", "NVIDIA H200 SXM"),
    ),
    Card("NVIDIA H200 NVL", (9, 0), {141: 4800.0}, "NVIDIA H200 product page"),
    Card("NVIDIA B200", (10, 0), {180: None}, "NVIDIA DGX B200 data sheet"),
    Card("NVIDIA GB10", (12, 1), {128: 273.0}, "NVIDIA DGX Spark product page"),
]

CARDS: tuple[Card, ...] = (
    *_GTX_10,
    *_GTX_16,
    *_RTX_20,
    *_RTX_30,
    *_RTX_40,
    *_RTX_50,
    *_WORKSTATION,
    *_DATA_CENTRE,
)
