"""The types that weights are stored in, and how many bits one weight takes in each.

A quantised weight has no size of its own: weights come in blocks that share a scale, and a row holds whole blocks.
Numbers, names and blocks are those of ggml (`ggml/include/ggml.h` and what `ggml_blck_size` and `ggml_type_size` of
libggml answer, read from llama.cpp b10434).  4, 5, 31 to 33 and 36 to 38 were withdrawn.

A *file* is usually a mixture, named after its commonest type: Q4_K_M keeps some matrices in Q6_K.  What such a file
takes on average is a measurement: the table of llama.cpp's `tools/quantize/README.md`, for Llama 3.1 8B.
"""

from typing import NamedTuple

__all__ = ["BY_NUMBER", "FILE_BITS_PER_WEIGHT", "KV_TYPES", "Quantisation", "bits_per_weight"]


class Quantisation(NamedTuple):
    """How one type packs weights: `block_bytes` bytes hold `block_weights` weights."""

    name: str
    block_weights: int
    block_bytes: int

    @property
    def bits_per_weight(self) -> float:
        """Bits that one weight takes, its share of the scales included."""
        return 8 * self.block_bytes / self.block_weights


BY_NUMBER: dict[int, Quantisation] = {
    0: Quantisation("F32", 1, 4),
    1: Quantisation("F16", 1, 2),
    2: Quantisation("Q4_0", 32, 18),
    3: Quantisation("Q4_1", 32, 20),
    6: Quantisation("Q5_0", 32, 22),
    7: Quantisation("Q5_1", 32, 24),
    8: Quantisation("Q8_0", 32, 34),
    9: Quantisation("Q8_1", 32, 36),
    10: Quantisation("Q2_K", 256, 84),
    11: Quantisation("Q3_K", 256, 110),
    12: Quantisation("Q4_K", 256, 144),
    13: Quantisation("Q5_K", 256, 176),
    14: Quantisation("Q6_K", 256, 210),
    15: Quantisation("Q8_K", 256, 292),
    16: Quantisation("IQ2_XXS", 256, 66),
    17: Quantisation("IQ2_XS", 256, 74),
    18: Quantisation("IQ3_XXS", 256, 98),
    19: Quantisation("IQ1_S", 256, 50),
    20: Quantisation("IQ4_NL", 32, 18),
    21: Quantisation("IQ3_S", 256, 110),
    22: Quantisation("IQ2_S", 256, 82),
    23: Quantisation("IQ4_XS", 256, 136),
    24: Quantisation("I8", 1, 1),
    25: Quantisation("I16", 1, 2),
    26: Quantisation("I32", 1, 4),
    27: Quantisation("I64", 1, 8),
    28: Quantisation("F64", 1, 8),
    29: Quantisation("IQ1_M", 256, 56),
    30: Quantisation("BF16", 1, 2),
    34: Quantisation("TQ1_0", 256, 54),
    35: Quantisation("TQ2_0", 256, 66),
    39: Quantisation("MXFP4", 32, 17),
    40: Quantisation("NVFP4", 64, 36),
    41: Quantisation("Q1_0", 128, 18),
    42: Quantisation("Q2_0", 64, 18),
}
"""A type's number in a GGUF file: how it packs weights."""

_BY_NAME = {quantisation.name: quantisation for quantisation in BY_NUMBER.values()}

KV_TYPES: dict[str, Quantisation] = {
    name: _BY_NAME[name.upper()] for name in ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
} | {"fp8": Quantisation("FP8", 1, 1)}
"""What a KV cache may be stored in: llama.cpp's `--cache-type-k`, and the fp8 of vLLM and SGLang."""

FILE_BITS_PER_WEIGHT: dict[str, float] = {
    "F16": 16.0005,
    "Q8_0": 8.5008,
    "Q6_K": 6.5633,
    "Q5_K_M": 5.7036,
    "Q5_K_S": 5.5704,
    "Q4_K_M": 4.8944,
    "IQ4_NL": 4.6818,
    "Q4_K_S": 4.6672,
    "IQ4_XS": 4.4597,
    "Q3_K_L": 4.2979,
    "IQ3_M": 3.7628,
    "IQ3_S": 3.6606,
    "Q3_K_S": 3.6429,
    "IQ3_XS": 3.4977,
    "IQ3_XXS": 3.2548,
    "Q2_K": 3.1593,
    "Q2_K_S": 2.9697,
    "IQ2_M": 2.9294,
    "IQ2_S": 2.7403,
    "IQ2_XS": 2.5882,
    "IQ2_XXS": 2.3824,
    "IQ1_M": 2.1460,
    "IQ1_S": 2.0042,
}
"""Mean bits a weight of whole files, most first; smaller models have relatively larger embeddings and take more."""


def bits_per_weight(quantisation: str) -> float:
    """Bits that a weight takes in a file of this quantisation, as model pages name it: "Q4_K_M" 4.89, "MXFP4" 4.25.

    Where the name is both a mixture and a type ("Q6_K"), the file's mean is given.  Raises ValueError for a name that
    llama.cpp does not know.
    """
    name = quantisation.upper()
    if name in FILE_BITS_PER_WEIGHT:
        return FILE_BITS_PER_WEIGHT[name]
    if name in _BY_NAME:
        return _BY_NAME[name].bits_per_weight
    known = ", ".join(sorted(FILE_BITS_PER_WEIGHT | _BY_NAME))
    raise ValueError(f"{quantisation!r} is no quantisation of llama.cpp's: it knows {known}")
