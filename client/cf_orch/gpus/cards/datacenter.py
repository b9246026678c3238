"""NVIDIA's data centre GPUs; names as NVML writes them. Boards with several GPUs count as one device for each.

A MIG instance bears its parent's name and its slice ("NVIDIA A100-SXM4-40GB MIG 1g.5gb"): it has no row, since its
memory is its slice's. Its driver tells both memory and compute capability, which is what `live_gpu_profile` takes.
"""

from cf_orch.gpus.cards.card import Card, family
from cf_orch.gpus.cards.chips import cuda

__all__ = ["CARDS"]

_MAXWELL = (
    Card("Tesla M10", cuda(5, 0), {8: None}, "NVIDIA Tesla M10 data sheet"),
    Card("Tesla M40", cuda(5, 2), {12: 288.0, 24: 288.0}, "NVIDIA Tesla M40 data sheet"),
    Card("Tesla M60", cuda(5, 2), {8: 160.0}, "NVIDIA Tesla M60 data sheet"),
)
_PASCAL = (
    Card("Tesla P4", cuda(6, 1), {8: 192.0}, "NVIDIA Tesla P4 data sheet"),
    Card("Tesla P6", cuda(6, 1), {16: 192.0}, "NVIDIA Tesla P6 data sheet"),
    Card("Tesla P40", cuda(6, 1), {24: 346.0}, "NVIDIA Tesla P40 data sheet"),
    Card("Tesla P100 PCIe", cuda(6, 0), {16: 732.0, 12: 549.0}, "NVIDIA Tesla P100 data sheet"),
    Card("Tesla P100 SXM2", cuda(6, 0), {16: 732.0}, "NVIDIA Tesla P100 data sheet"),
)
_VOLTA = (
    Card("Tesla V100 PCIe", cuda(7, 0), {16: 900.0, 32: 900.0}, "NVIDIA V100 data sheet"),
    Card("Tesla V100 SXM2", cuda(7, 0), {16: None, 32: None}, "NVIDIA V100 data sheet"),
    Card("Tesla V100S PCIe", cuda(7, 0), {32: 1134.0}, "NVIDIA V100 data sheet"),
)
_TURING = (Card("Tesla T4", cuda(7, 5), {16: None}, "NVIDIA T4 data sheet"),)
_AMPERE = (
    Card("NVIDIA A2", cuda(8, 6), {16: 200.0}, "NVIDIA A2 data sheet"),
    Card("NVIDIA A10", cuda(8, 6), {24: 600.0}, "NVIDIA A10 data sheet"),
    Card("NVIDIA A10G", cuda(8, 6), {24: 600.0}, "Amazon EC2 G5 instance page"),
    Card("NVIDIA A16", cuda(8, 6), {16: 200.0}, "NVIDIA A16 data sheet"),
    Card("NVIDIA A30", cuda(8, 0), {24: 933.0}, "NVIDIA A30 data sheet", ("NVIDIA A30 PCIe",)),
    Card("NVIDIA A40", cuda(8, 6), {48: 696.0}, "NVIDIA A40 data sheet"),
    Card("NVIDIA A100", cuda(8, 0), {40: 1555.0, 80: None}, "NVIDIA A100 data sheet"),
    Card("NVIDIA A100 PCIe", cuda(8, 0), {40: 1555.0, 80: 1935.0}, "NVIDIA A100 data sheet"),
    Card("NVIDIA A100 SXM4", cuda(8, 0), {40: 1555.0, 80: 2039.0}, "NVIDIA A100 data sheet", ("NVIDIA A100 SXM",)),
    Card("NVIDIA A800 PCIe", cuda(8, 0), {80: 1935.0}, "NVIDIA A800 data sheet"),
    Card("NVIDIA A800 SXM4", cuda(8, 0), {80: 2039.0, 40: 1555.0}, "NVIDIA A800 data sheet"),
    Card("NVIDIA A800 40GB Active", cuda(8, 0), {40: 1555.0}, "NVIDIA A800 40GB Active data sheet"),
)
_ADA = family(
    "NVIDIA L4, L40 and L40S product pages",
    cuda(8, 9),
    {
        "NVIDIA L2": {24: None},
        "NVIDIA L4": {24: 300.0},
        "NVIDIA L20": {48: None},
        "NVIDIA L40": {48: 864.0},
        "NVIDIA L40S": {48: 864.0},
    },
)
_HOPPER_SOURCE = "NVIDIA H100, H200 and GH200 data sheets"
_HOPPER = (
    *family(
        _HOPPER_SOURCE,
        cuda(9, 0),
        {
            "NVIDIA H20": {96: None},
            "NVIDIA H20-3e": {141: None},
            "NVIDIA H100": {80: None, 94: None},
            "NVIDIA H100 PCIe": {80: 2000.0},
            "NVIDIA H100 NVL": {94: 3900.0},
            "NVIDIA H200 NVL": {141: 4800.0},
            "NVIDIA H800": {80: None},
            "NVIDIA H800 PCIe": {80: 2000.0},
            "NVIDIA GH200 144G HBM3e": {144: 4900.0},
        },
    ),
    # NVML calls the SXM5 board by its memory: "NVIDIA H100 80GB HBM3".
    Card("NVIDIA H100 SXM5", cuda(9, 0), {80: 3350.0}, _HOPPER_SOURCE, ("NVIDIA H100 HBM3", "NVIDIA H100 SXM")),
    Card("NVIDIA H200", cuda(9, 0), {141: 4800.0}, _HOPPER_SOURCE, ("NVIDIA H200 SXM5", "NVIDIA H200 SXM")),
    # Its names print the Grace CPU's memory: "NVIDIA GH200 480GB".
    Card("NVIDIA GH200", cuda(9, 0), {96: 4000.0}, _HOPPER_SOURCE, (), {480: 96, 120: 96}),
)
_BLACKWELL = (
    Card("NVIDIA B200", cuda(10, 0), {180: None}, "NVIDIA DGX B200 data sheet"),
    Card("NVIDIA GB200", cuda(10, 0), {186: 8000.0}, "NVIDIA GB200 NVL72 data sheet"),
    Card("NVIDIA B300", cuda(10, 3), {288: None}, "NVIDIA DGX B300 data sheet", ("NVIDIA B300 SXM6 AC",)),
    Card("NVIDIA GB300", cuda(10, 3), {288: None}, "NVIDIA GB300 NVL72 data sheet"),
)

CARDS: tuple[Card, ...] = (*_MAXWELL, *_PASCAL, *_VOLTA, *_TURING, *_AMPERE, *_ADA, *_HOPPER, *_BLACKWELL)
