"""NVIDIA's GeForce and TITAN cards, Maxwell to Blackwell; names as NVML writes them."""

from cf_orch.gpus.cards.card import Card, family
from cf_orch.gpus.cards.chips import cuda

__all__ = ["CARDS"]

_GTX_700 = family(
    "NVIDIA GeForce GTX 750 Ti product page",
    cuda(5, 0),
    {
        "NVIDIA GeForce GTX 750 Ti": {2: 86.4, 4: 86.4},
    },
)
_GTX_900 = family(
    "NVIDIA GeForce 900 series product pages",
    cuda(5, 2),
    {
        "NVIDIA GeForce GTX 950": {2: 105.6},
        "NVIDIA GeForce GTX 960": {2: 112.0, 4: 112.0},
        "NVIDIA GeForce GTX 970": {4: 224.0},
        "NVIDIA GeForce GTX 980": {4: 224.0},
        "NVIDIA GeForce GTX 980 Ti": {6: 336.5},
        "NVIDIA GeForce GTX TITAN X": {12: 336.5},
    },
)
_GTX_10 = family(
    "NVIDIA GeForce 10 series product pages",
    cuda(6, 1),
    {
        "NVIDIA GeForce GTX 1050": {2: 112.0, 3: 84.0},
        "NVIDIA GeForce GTX 1050 Ti": {4: 112.0},
        "NVIDIA GeForce GTX 1060": {6: 192.0, 3: 192.0},
        "NVIDIA GeForce GTX 1060 with Max-Q Design": {6: None, 3: None},
        "NVIDIA GeForce GTX 1070": {8: 256.0},
        "NVIDIA GeForce GTX 1070 Ti": {8: 256.0},
        "NVIDIA GeForce GTX 1070 with Max-Q Design": {8: None},
        "NVIDIA GeForce GTX 1080": {8: 320.0},
        "NVIDIA GeForce GTX 1080 Ti": {11: 484.0},
        "NVIDIA GeForce GTX 1080 with Max-Q Design": {8: None},
        "NVIDIA TITAN X (Pascal)": {12: 480.0},
        "NVIDIA TITAN Xp": {12: 547.7},
    },
)
_GTX_16 = family(
    "NVIDIA GeForce GTX 16 series product pages",
    cuda(7, 5),
    {
        "NVIDIA GeForce GTX 1630": {4: 96.0},
        "NVIDIA GeForce GTX 1650": {4: None},
        "NVIDIA GeForce GTX 1650 SUPER": {4: 192.0},
        "NVIDIA GeForce GTX 1650 Ti": {4: None},
        "NVIDIA GeForce GTX 1650 with Max-Q Design": {4: None},
        "NVIDIA GeForce GTX 1650 Ti with Max-Q Design": {4: None},
        "NVIDIA GeForce GTX 1660": {6: 192.0},
        "NVIDIA GeForce GTX 1660 SUPER": {6: 336.0},
        "NVIDIA GeForce GTX 1660 Ti": {6: 288.0},
        "NVIDIA GeForce GTX 1660 Ti with Max-Q Design": {6: None},
    },
)
# The laptops' RTX 2060 to 2080 SUPER bear the names of the desktop cards, and have as much memory.
_RTX_20 = family(
    "NVIDIA GeForce RTX 20 series product pages",
    cuda(7, 5),
    {
        "NVIDIA GeForce RTX 2060": {6: 336.0, 12: 336.0},
        "NVIDIA GeForce RTX 2060 SUPER": {8: 448.0},
        "NVIDIA GeForce RTX 2060 with Max-Q Design": {6: None},
        "NVIDIA GeForce RTX 2070": {8: 448.0},
        "NVIDIA GeForce RTX 2070 SUPER": {8: 448.0},
        "NVIDIA GeForce RTX 2070 with Max-Q Design": {8: None},
        "NVIDIA GeForce RTX 2070 Super with Max-Q Design": {8: None},
        "NVIDIA GeForce RTX 2080": {8: 448.0},
        "NVIDIA GeForce RTX 2080 SUPER": {8: 496.0},
        "NVIDIA GeForce RTX 2080 Ti": {11: 616.0},
        "NVIDIA GeForce RTX 2080 with Max-Q Design": {8: None},
        "NVIDIA GeForce RTX 2080 Super with Max-Q Design": {8: None},
        "NVIDIA TITAN RTX": {24: 672.0},
    },
)
_RTX_30 = family(
    "NVIDIA GeForce RTX 30 series product pages",
    cuda(8, 6),
    {
        "NVIDIA GeForce RTX 2050": {4: None},
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
_RTX_40 = family(
    "NVIDIA GeForce RTX 40 series product pages",
    cuda(8, 9),
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
_RTX_50 = family(
    "NVIDIA GeForce RTX 50 series product pages",
    cuda(12, 0),
    {
        "NVIDIA GeForce RTX 5050": {8: 320.0},
        "NVIDIA GeForce RTX 5060": {8: 448.0},
        "NVIDIA GeForce RTX 5060 Ti": {16: 448.0, 8: 448.0},
        "NVIDIA GeForce RTX 5070": {12: 672.0},
        "NVIDIA GeForce RTX 5070 Ti": {16: 896.0},
        "NVIDIA GeForce RTX 5080": {16: 960.0},
        "NVIDIA GeForce RTX 5090": {32: 1792.0},
        "NVIDIA GeForce RTX 5090 D": {32: 1792.0, 24: None},
        "NVIDIA GeForce RTX 5090 D v2": {24: 1344.0},
        "NVIDIA GeForce RTX 5050 Laptop GPU": {8: None},
        "NVIDIA GeForce RTX 5060 Laptop GPU": {8: None},
        "NVIDIA GeForce RTX 5070 Laptop GPU": {8: None},
        "NVIDIA GeForce RTX 5070 Ti Laptop GPU": {12: None},
        "NVIDIA GeForce RTX 5080 Laptop GPU": {16: None},
        "NVIDIA GeForce RTX 5090 Laptop GPU": {24: None},
    },
)

CARDS: tuple[Card, ...] = (
    *_GTX_700,
    *_GTX_900,
    *_GTX_10,
    Card("NVIDIA TITAN V", cuda(7, 0), {12: 652.8}, "NVIDIA TITAN V product page"),
    *_GTX_16,
    *_RTX_20,
    *_RTX_30,
    *_RTX_40,
    *_RTX_50,
)
