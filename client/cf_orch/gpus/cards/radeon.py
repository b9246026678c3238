"""AMD's cards, RDNA 2 to 4 and CDNA 1 to 4; names as ROCm and libdrm's amdgpu.ids write them.

Memory and LLVM targets are those of ROCm's "AMD GPU specifications", bandwidths those of AMD's product pages. A name
without its board, "gfx1100", names a chip that boards of 16 to 48 GB bear: it has no row, and finds them as near ones.
"""

from cf_orch.gpus.cards.card import Card, Sizes, family
from cf_orch.gpus.cards.chips import gfx

__all__ = ["CARDS"]

_RX = "AMD Radeon RX product pages; ROCm, AMD GPU specifications"
_PRO = "AMD Radeon PRO product pages; ROCm, AMD GPU specifications"


def _pro(target: str, rows: dict[str, Sizes]) -> tuple[Card, ...]:
    """Workstation cards, whose number says it alone: "W7900" is "Radeon PRO W7900"."""
    return tuple(
        Card(f"AMD Radeon Pro {number}", gfx(target), sizes, _PRO, (f"AMD Radeon {number}",))
        for number, sizes in rows.items()
    )


_RDNA2 = (
    *family(
        _RX,
        gfx("gfx1030"),
        {
            "AMD Radeon RX 6800": {16: 512.0},
            "AMD Radeon RX 6800 XT": {16: 512.0},
            "AMD Radeon RX 6900 XT": {16: 512.0},
            "AMD Radeon RX 6950 XT": {16: 576.0},
        },
    ),
    *_pro("gfx1030", {"W6800": {32: 512.0}, "V620": {32: 512.0}}),
    *family(
        _RX,
        gfx("gfx1031"),
        {
            "AMD Radeon RX 6700": {10: 320.0},
            "AMD Radeon RX 6700 XT": {12: 384.0},
            "AMD Radeon RX 6750 XT": {12: 432.0},
            "AMD Radeon RX 6800M": {12: None},
        },
    ),
    *family(
        _RX,
        gfx("gfx1032"),
        {
            "AMD Radeon RX 6600": {8: 224.0},
            "AMD Radeon RX 6600 XT": {8: 256.0},
            "AMD Radeon RX 6650 XT": {8: None},
        },
    ),
    *_pro("gfx1032", {"W6600": {8: 224.0}}),
    *family(
        _RX,
        gfx("gfx1034"),
        {
            "AMD Radeon RX 6400": {4: 128.0},
            "AMD Radeon RX 6500 XT": {4: 144.0, 8: 144.0},
        },
    ),
)
_RDNA3 = (
    *family(
        _RX,
        gfx("gfx1100"),
        {
            "AMD Radeon RX 7900 XTX": {24: 960.0},
            "AMD Radeon RX 7900 XT": {20: 800.0},
            "AMD Radeon RX 7900 GRE": {16: 576.0},
            "AMD Radeon RX 7900M": {16: None},
        },
    ),
    *_pro("gfx1100", {"W7800": {32: 576.0, 48: 864.0}, "W7900": {48: 864.0}, "W7900 Dual Slot": {48: 864.0}}),
    *family(
        _RX,
        gfx("gfx1101"),
        {
            "AMD Radeon RX 7700 XT": {12: 432.0},
            "AMD Radeon RX 7800 XT": {16: 624.0},
        },
    ),
    *_pro("gfx1101", {"W7700": {16: 576.0}, "V710": {28: None}}),
    *family(
        _RX,
        gfx("gfx1102"),
        {
            "AMD Radeon RX 7600": {8: 288.0},
            "AMD Radeon RX 7600 XT": {16: 288.0},
            "AMD Radeon RX 7600M XT": {8: None},
            "AMD Radeon RX 7700S": {8: None},
        },
    ),
    *_pro("gfx1102", {"W7500": {8: 172.0}, "W7600": {8: 288.0}}),
    # Ryzen AI Max, "Strix Halo": the host's memory, of which the driver offers the GPU a part.
    *family(
        "AMD Ryzen AI Max product pages",
        gfx("gfx1151", unified=True),
        {
            "AMD Radeon 8050S": {128: 256.0, 64: 256.0, 32: 256.0},
            "AMD Radeon 8060S": {128: 256.0, 96: 256.0, 64: 256.0, 32: 256.0},
        },
    ),
)
_RDNA4 = (
    *family(
        _RX,
        gfx("gfx1200"),
        {
            "AMD Radeon RX 9060": {8: 288.0},
            "AMD Radeon RX 9060 XT": {16: 320.0, 8: 320.0},
        },
    ),
    *family(
        _RX,
        gfx("gfx1201"),
        {
            "AMD Radeon RX 9070": {16: 640.0},
            "AMD Radeon RX 9070 GRE": {12: 432.0},
            "AMD Radeon RX 9070 XT": {16: 640.0},
        },
    ),
    Card("AMD Radeon AI PRO R9700", gfx("gfx1201"), {32: 640.0}, _PRO, ("AMD Radeon R9700",)),
)
_INSTINCT = "AMD Instinct data sheets; ROCm, AMD GPU specifications"
_CDNA = (
    Card("AMD Instinct MI100", gfx("gfx908"), {32: 1228.8}, _INSTINCT),
    # An MI250 board is two devices, each with half of its 128 GB.
    *family(
        _INSTINCT,
        gfx("gfx90a"),
        {
            "AMD Instinct MI210": {64: 1638.4},
            "AMD Instinct MI250": {64: 1638.4},
            "AMD Instinct MI250X": {64: 1638.4},
            "AMD Instinct MI250X / MI250": {64: 1638.4},
        },
    ),
    Card("AMD Instinct MI300A", gfx("gfx942", unified=True), {128: 5300.0}, _INSTINCT),
    Card("AMD Instinct MI300X", gfx("gfx942"), {192: 5300.0}, _INSTINCT, ("AMD Instinct MI300X VF",)),
    Card("AMD Instinct MI325X", gfx("gfx942"), {256: 6000.0}, _INSTINCT, ("AMD Instinct MI325X VF",)),
    Card("AMD Instinct MI350X", gfx("gfx950"), {288: 8000.0}, _INSTINCT, ("AMD Instinct MI350X VF",)),
    Card("AMD Instinct MI355X", gfx("gfx950"), {288: 8000.0}, _INSTINCT, ("AMD Instinct MI355X VF",)),
)

CARDS: tuple[Card, ...] = (*_RDNA2, *_RDNA3, *_RDNA4, *_CDNA)
