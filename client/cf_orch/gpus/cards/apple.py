"""Apple's chips, whose memory is the host's; names as `sysctl machdep.cpu.brand_string` writes them.

How much of it Metal lends a GPU is a setting (`iogpu.wired_limit_mb`), by default two thirds to three quarters.
"""

from cf_orch.gpus.cards.card import Card, Sizes, family
from cf_orch.gpus.cards.chips import APPLE_M1, APPLE_M2, APPLE_M3, APPLE_M4, APPLE_M5, Chip

__all__ = ["CARDS"]


def _generation(chip: Chip, rows: dict[str, Sizes]) -> tuple[Card, ...]:
    return family(f"Apple, technical specifications of the Macs with {chip.architecture} chips", chip, rows)


CARDS: tuple[Card, ...] = (
    *_generation(
        APPLE_M1,
        {
            "Apple M1": {8: None, 16: None},
            "Apple M1 Pro": {16: 200.0, 32: 200.0},
            "Apple M1 Max": {32: 400.0, 64: 400.0},
            "Apple M1 Ultra": {64: 800.0, 128: 800.0},
        },
    ),
    *_generation(
        APPLE_M2,
        {
            "Apple M2": {8: 100.0, 16: 100.0, 24: 100.0},
            "Apple M2 Pro": {16: 200.0, 32: 200.0},
            "Apple M2 Max": {32: 400.0, 64: 400.0, 96: 400.0},
            "Apple M2 Ultra": {64: 800.0, 128: 800.0, 192: 800.0},
        },
    ),
    *_generation(
        APPLE_M3,
        {
            "Apple M3": {8: 100.0, 16: 100.0, 24: 100.0},
            "Apple M3 Pro": {18: 150.0, 36: 150.0},
            "Apple M3 Max": {36: 300.0, 48: 400.0, 64: 400.0, 96: 300.0, 128: 400.0},
            "Apple M3 Ultra": {96: 819.0, 256: 819.0, 512: 819.0},
        },
    ),
    *_generation(
        APPLE_M4,
        {
            "Apple M4": {16: 120.0, 24: 120.0, 32: 120.0},
            "Apple M4 Pro": {24: 273.0, 48: 273.0, 64: 273.0},
            "Apple M4 Max": {36: 410.0, 48: 546.0, 64: 546.0, 128: 546.0},
        },
    ),
    *_generation(
        APPLE_M5,
        {
            "Apple M5": {16: 153.0, 24: 153.0, 32: 153.0},
            "Apple M5 Pro": {24: 307.0, 48: 307.0, 64: 307.0},
            "Apple M5 Max": {36: 460.0, 48: 614.0, 64: 614.0, 128: 614.0},
        },
    ),
)
