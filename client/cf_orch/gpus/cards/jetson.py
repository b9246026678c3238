"""NVIDIA's parts whose memory is the host's: GB10 and Jetson; names as NVML, CUDA and the device tree write them.

CUDA calls every Jetson Orin "Orin", from 4 to 64 GB: its row lists them all, the most sold board's first.
"""

from cf_orch.gpus.cards.card import Card
from cf_orch.gpus.cards.chips import cuda

__all__ = ["CARDS"]

_ORIN = cuda(8, 7, unified=True)
_ORIN_SOURCE = "NVIDIA Jetson Orin series module data sheets"
_THOR = cuda(11, 0, unified=True)
_THOR_SOURCE = "NVIDIA Jetson Thor series module data sheet"

CARDS: tuple[Card, ...] = (
    Card("NVIDIA GB10", cuda(12, 1, unified=True), {128: 273.0}, "NVIDIA DGX Spark product page"),
    # The Orin Nano's bandwidth depends on its power mode: 68 GB/s, or 102 in the "Super" ones.
    Card(
        "Orin",
        _ORIN,
        {8: None, 4: None, 16: 102.4, 32: 204.8, 64: 204.8},
        _ORIN_SOURCE,
        ("NVIDIA Jetson Orin",),
    ),
    Card("NVIDIA Jetson AGX Orin", _ORIN, {64: 204.8, 32: 204.8}, _ORIN_SOURCE),
    Card("NVIDIA Jetson Orin NX", _ORIN, {16: 102.4, 8: 102.4}, _ORIN_SOURCE),
    Card("NVIDIA Jetson Orin Nano", _ORIN, {8: None, 4: None}, _ORIN_SOURCE, ("NVIDIA Jetson Orin Nano Super",)),
    Card("NVIDIA Thor", _THOR, {128: 273.0, 64: None}, _THOR_SOURCE, ("NVIDIA Jetson Thor",)),
    Card("NVIDIA Jetson AGX Thor", _THOR, {128: 273.0}, _THOR_SOURCE, ("NVIDIA Jetson T5000",)),
    Card("NVIDIA Jetson T4000", _THOR, {64: None}, _THOR_SOURCE),
)
