"""What each generation of chips computes in, and what it only holds weights in.

**native**: a common engine computes in the type itself. **weight-only**: an engine holds weights in it and computes in
a wider one; it saves memory, not arithmetic. A type in neither set is one that no engine's documentation promises.

| chips | native | documented in |
| --- | --- | --- |
| NVIDIA | fp16 from 5.3 (6.1 at 1/64 of its fp32 rate), bf16 from 8.0, fp8 from 8.9 (W8A8), fp4 from 10.0, int8 from 6.1 (dp4a) | CUDA C++ Programming Guide, arithmetic instructions; vLLM, supported hardware for quantization |
| AMD CDNA | fp16, bf16, int8; CDNA 3 fp8, CDNA 4 fp4 | ROCm, data types and precision support |
| AMD RDNA | fp16, int8 (dot products) from RDNA 2, bf16 from RDNA 3, fp8 from RDNA 4 (WMMA) | the ISA reference guides of RDNA 2, 3 and 4 |
| Intel | fp16, bf16, int8 (XMX) | Intel oneAPI GPU Optimization Guide, XMX |
| Apple | fp16; bf16 from the M3 (emulated before) | Metal Shading Language Specification 3.1; Metal Feature Set Tables |

Weight-only everywhere in this table, since llama.cpp's GGUF files (F16, BF16, Q8_0, Q4_K, MXFP4) run on all of it from
compute capability 5.0, by CUDA, HIP, SYCL, Vulkan or Metal: fp16, bf16, int8, int4, fp4. Weight-only fp8 needs a
kernel of its own: from 7.5 vLLM's Marlin (vLLM, FP8 W8A8); on Intel IPEX-LLM's. int4 is weight-only wherever it runs:
no common engine multiplies 4-bit integers, though Turing to Ada could.
"""  # noqa: E501 - rows of a table

from typing import Literal, NamedTuple

__all__ = [
    "APPLE_M1", "APPLE_M2", "APPLE_M3", "APPLE_M4", "APPLE_M5", "TYPES", "XE2_HPG", "XE_HPG", "Chip", "NumberType",
    "cuda", "gfx",
]  # fmt: skip

NumberType = Literal["fp16", "bf16", "fp8", "fp4", "int8", "int4"]
TYPES: tuple[NumberType, ...] = ("fp16", "bf16", "fp8", "fp4", "int8", "int4")

_NONE: frozenset[NumberType] = frozenset()
_FP8: frozenset[NumberType] = frozenset({"fp8"})
_GGUF: frozenset[NumberType] = frozenset({"fp16", "bf16", "int8", "int4", "fp4"})
_GGUF_SINCE = (5, 0)
_FP8_WEIGHTS_SINCE = (7, 5)
_NATIVE_SINCE: dict[NumberType, tuple[int, int]] = {
    "fp16": (5, 3),
    "bf16": (8, 0),
    "fp8": (8, 9),
    "fp4": (10, 0),
    "int8": (6, 1),
}
_CUDA_ARCHITECTURES: tuple[tuple[tuple[int, int], str], ...] = (
    ((10, 0), "Blackwell"),
    ((9, 0), "Hopper"),
    ((8, 9), "Ada Lovelace"),
    ((8, 0), "Ampere"),
    ((7, 5), "Turing"),
    ((7, 0), "Volta"),
    ((6, 0), "Pascal"),
    ((5, 0), "Maxwell"),
    ((0, 0), "Kepler or older"),
)
_RDNA3: frozenset[NumberType] = frozenset({"fp16", "bf16", "int8"})
_CDNA3: frozenset[NumberType] = frozenset({"fp16", "bf16", "fp8", "int8"})
# By the beginning of the LLVM target that a chip is compiled for; the longest fits.
_GFX: dict[str, tuple[str, frozenset[NumberType]]] = {
    "gfx103": ("RDNA 2", frozenset({"fp16", "int8"})),
    "gfx110": ("RDNA 3", _RDNA3),
    "gfx115": ("RDNA 3.5", _RDNA3),
    "gfx120": ("RDNA 4", frozenset({"fp16", "bf16", "fp8", "int8"})),
    "gfx908": ("CDNA", frozenset({"fp16", "bf16", "int8"})),
    "gfx90a": ("CDNA 2", frozenset({"fp16", "bf16", "int8"})),
    "gfx942": ("CDNA 3", _CDNA3),
    "gfx950": ("CDNA 4", _CDNA3 | {"fp4"}),
}


class Chip(NamedTuple):
    """One generation of chips; `target` is what compilers call it: sm_89, gfx1100, xe2-hpg, apple8."""

    vendor: Literal["nvidia", "amd", "intel", "apple"]
    architecture: str
    target: str
    native: frozenset[NumberType]
    weight_only: frozenset[NumberType]
    compute_capability: tuple[int, int] | None = None
    #: its memory is the host's, one pool for both
    unified: bool = False


def cuda(major: int, minor: int, *, unified: bool = False) -> Chip:
    """NVIDIA's chips of one compute capability, known to the table or not."""
    capability = (major, minor)
    native = frozenset(kind for kind, since in _NATIVE_SINCE.items() if capability >= since)
    weights = _NONE
    if capability >= _GGUF_SINCE:
        weights |= _GGUF
    if capability >= _FP8_WEIGHTS_SINCE:
        weights |= _FP8
    architecture = next(word for since, word in _CUDA_ARCHITECTURES if capability >= since)
    return Chip("nvidia", architecture, f"sm_{major}{minor}", native, weights - native, capability, unified)


def gfx(target: str, *, unified: bool = False) -> Chip:
    """AMD's chips of one LLVM target."""
    architecture, native = _GFX[max((start for start in _GFX if target.startswith(start)), key=len)]
    return Chip("amd", architecture, target, native, _GGUF - native, unified=unified)


def _xe(architecture: str, target: str) -> Chip:
    native: frozenset[NumberType] = frozenset({"fp16", "bf16", "int8"})
    return Chip("intel", architecture, target, native, (_GGUF | _FP8) - native)


def _apple(generation: str, family: str, *native: NumberType) -> Chip:
    kinds = frozenset(native)
    return Chip("apple", generation, family, kinds, _GGUF - kinds, unified=True)


XE_HPG = _xe("Xe-HPG (Alchemist)", "xe-hpg")
XE2_HPG = _xe("Xe2-HPG (Battlemage)", "xe2-hpg")
# The second name is Metal's GPU family.
APPLE_M1 = _apple("Apple M1", "apple7", "fp16")
APPLE_M2 = _apple("Apple M2", "apple8", "fp16")
APPLE_M3 = _apple("Apple M3", "apple9", "fp16", "bf16")
APPLE_M4 = _apple("Apple M4", "apple9", "fp16", "bf16")
APPLE_M5 = _apple("Apple M5", "apple10", "fp16", "bf16")
