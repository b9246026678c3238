"""NVIDIA's Quadro, RTX and RTX PRO cards; names as NVML writes them."""

from cf_orch.gpus.cards.card import Card, family
from cf_orch.gpus.cards.chips import cuda

__all__ = ["CARDS"]

_MAXWELL = family(
    "NVIDIA Quadro M series data sheets",
    cuda(5, 2),
    {
        "Quadro M4000": {8: 192.0},
        "Quadro M5000": {8: 211.0},
        "Quadro M6000": {12: 317.0, 24: 317.0},
    },
)
_PASCAL = family(
    "NVIDIA Quadro P series data sheets",
    cuda(6, 1),
    {
        "Quadro P1000": {4: None},
        "Quadro P2000": {5: None, 4: None},  # 4 GB in laptops
        "Quadro P2200": {5: 200.0},
        "Quadro P4000": {8: 243.0},
        "Quadro P5000": {16: None},
        "Quadro P6000": {24: 432.0},
    },
)
_TURING = family(
    "NVIDIA Quadro RTX and T series data sheets",
    cuda(7, 5),
    {
        "NVIDIA T400": {2: 80.0, 4: 80.0},
        "NVIDIA T600": {4: 160.0},
        "NVIDIA T1000": {4: 160.0, 8: 160.0},
        "Quadro RTX 3000": {6: None},
        "Quadro RTX 4000": {8: 416.0},
        "Quadro RTX 5000": {16: 448.0},
        "Quadro RTX 6000": {24: None},
        "Quadro RTX 8000": {48: None},
    },
)
_AMPERE = family(
    "NVIDIA RTX A-series data sheets",
    cuda(8, 6),
    {
        "NVIDIA RTX A400": {4: 96.0},
        "NVIDIA RTX A1000": {8: 192.0},
        "NVIDIA RTX A2000": {6: 288.0, 12: 288.0},
        "NVIDIA RTX A4000": {16: 448.0},
        "NVIDIA RTX A4500": {20: 640.0},
        "NVIDIA RTX A5000": {24: 768.0},
        "NVIDIA RTX A5500": {24: 768.0},
        "NVIDIA RTX A6000": {48: 768.0},
        "NVIDIA RTX A500 Laptop GPU": {4: None},
        "NVIDIA RTX A1000 Laptop GPU": {4: None, 6: None},
        "NVIDIA RTX A2000 Laptop GPU": {4: None, 8: None},
        "NVIDIA RTX A3000 Laptop GPU": {6: None, 12: None},
        "NVIDIA RTX A4000 Laptop GPU": {8: None},
        "NVIDIA RTX A4500 Laptop GPU": {16: None},
        "NVIDIA RTX A5000 Laptop GPU": {16: None},
        "NVIDIA RTX A5500 Laptop GPU": {16: None},
    },
)
_ADA = family(
    "NVIDIA RTX Ada Generation data sheets",
    cuda(8, 9),
    {
        "NVIDIA RTX 2000 Ada Generation": {16: 224.0},
        "NVIDIA RTX 4000 Ada Generation": {20: 360.0},
        "NVIDIA RTX 4000 SFF Ada Generation": {20: 280.0},
        "NVIDIA RTX 4500 Ada Generation": {24: 432.0},
        "NVIDIA RTX 5000 Ada Generation": {32: 576.0},
        "NVIDIA RTX 5880 Ada Generation": {48: None},
        "NVIDIA RTX 6000 Ada Generation": {48: 960.0},
        "NVIDIA RTX 500 Ada Generation Laptop GPU": {4: None},
        "NVIDIA RTX 1000 Ada Generation Laptop GPU": {6: None},
        "NVIDIA RTX 2000 Ada Generation Laptop GPU": {8: None},
        "NVIDIA RTX 3000 Ada Generation Laptop GPU": {8: None},
        "NVIDIA RTX 3500 Ada Generation Laptop GPU": {12: None},
        "NVIDIA RTX 4000 Ada Generation Laptop GPU": {12: None},
        "NVIDIA RTX 5000 Ada Generation Laptop GPU": {16: None},
    },
)
_BLACKWELL = family(
    "NVIDIA RTX PRO Blackwell data sheets",
    cuda(12, 0),
    {
        "NVIDIA RTX PRO 2000 Blackwell": {16: 288.0},
        "NVIDIA RTX PRO 4000 Blackwell": {24: 672.0},
        "NVIDIA RTX PRO 4000 Blackwell SFF Edition": {24: None},
        "NVIDIA RTX PRO 4500 Blackwell": {32: 896.0},
        "NVIDIA RTX PRO 5000 Blackwell": {48: 1344.0, 72: 1344.0},
        "NVIDIA RTX PRO 6000 Blackwell": {96: None},
        "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": {96: 1792.0},
        "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition": {96: 1792.0},
        "NVIDIA RTX PRO 6000 Blackwell Server Edition": {96: None},
        "NVIDIA RTX PRO 500 Blackwell Generation Laptop GPU": {6: None},
        "NVIDIA RTX PRO 1000 Blackwell Generation Laptop GPU": {8: None},
        "NVIDIA RTX PRO 2000 Blackwell Generation Laptop GPU": {8: None},
        "NVIDIA RTX PRO 3000 Blackwell Generation Laptop GPU": {12: None},
        "NVIDIA RTX PRO 4000 Blackwell Generation Laptop GPU": {16: None},
        "NVIDIA RTX PRO 5000 Blackwell Generation Laptop GPU": {24: None},
    },
)

CARDS: tuple[Card, ...] = (
    *_MAXWELL,
    *_PASCAL,
    Card("Quadro GP100", cuda(6, 0), {16: None}, "NVIDIA Quadro GP100 data sheet"),
    Card("Quadro GV100", cuda(7, 0), {32: 870.0}, "NVIDIA Quadro GV100 data sheet"),
    *_TURING,
    *_AMPERE,
    *_ADA,
    *_BLACKWELL,
)
