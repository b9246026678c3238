"""Puts a model's header together: keys under the architecture's name, and tensors."""

from typing import NamedTuple

from tests.sizes.gguf_writer import Tensor, Value

__all__ = ["Builder", "Model"]


class Model(NamedTuple):
    """A header: its metadata and its tensors."""

    metadata: dict[str, Value]
    tensors: list[Tensor]


class Builder:
    """Collects a model; vectors are f32, matrices of one quantisation unless said otherwise."""

    def __init__(self, architecture: str, *, layers: int, embd: int, vocab: int, quantisation: str) -> None:
        self.architecture = architecture
        self.embd = embd
        self.quantisation = quantisation
        self.layers = layers
        self.metadata: dict[str, Value] = {"general.architecture": architecture, "tokenizer.ggml.model": "none"}
        self.tensors: list[Tensor] = []
        self.keys(context_length=1_048_576, block_count=layers, embedding_length=embd, vocab_size=vocab)
        self.matrix("token_embd", embd, vocab)
        self.norm("output_norm")

    def keys(self, **named: Value) -> None:
        """Add keys; two underscores stand for a dot."""
        for name, value in named.items():
            self.metadata[f"{self.architecture}.{name.replace('__', '.')}"] = value

    def matrix(self, name: str, *shape: int, as_type: str | None = None) -> None:
        """Add a weight matrix."""
        self.tensors.append(Tensor(f"{name}.weight", shape, as_type or self.quantisation))

    def norm(self, name: str, size: int | None = None, part: str = "weight") -> None:
        """Add a vector."""
        self.tensors.append(Tensor(f"{name}.{part}", (size or self.embd,), "F32"))

    def attention(self, block: str, heads: int, kv_heads: int, head: int) -> None:
        """Add the four projections of an attention layer."""
        self.matrix(f"{block}.attn_q", self.embd, heads * head)
        self.matrix(f"{block}.attn_k", self.embd, kv_heads * head)
        self.matrix(f"{block}.attn_v", self.embd, kv_heads * head)
        self.matrix(f"{block}.attn_output", heads * head, self.embd)

    def normed_attention(self, block: str, heads: int, kv_heads: int, head: int) -> None:
        """Add an attention layer that normalises Q and K."""
        self.attention(block, heads, kv_heads, head)
        self.norm(f"{block}.attn_q_norm", head)
        self.norm(f"{block}.attn_k_norm", head)

    def feed_forward(self, block: str, size: int) -> None:
        """Add a gated feed-forward layer."""
        self.matrix(f"{block}.ffn_gate", self.embd, size)
        self.matrix(f"{block}.ffn_up", self.embd, size)
        self.matrix(f"{block}.ffn_down", size, self.embd)

    def experts(self, block: str, count: int, size: int, as_type: str | None = None) -> None:
        """Add a layer of gated experts and their router."""
        self.matrix(f"{block}.ffn_gate_inp", self.embd, count, as_type="F32")
        self.matrix(f"{block}.ffn_gate_exps", self.embd, size, count, as_type=as_type)
        self.matrix(f"{block}.ffn_up_exps", self.embd, size, count, as_type=as_type)
        self.matrix(f"{block}.ffn_down_exps", size, self.embd, count, as_type=as_type)

    def heads(self, heads: int | list[int], kv_heads: int | list[int], head: int, rope: int | None = None) -> None:
        """Add the keys of the attention."""
        self.keys(attention__head_count=heads, attention__head_count_kv=kv_heads, attention__key_length=head)
        self.keys(attention__value_length=head, rope__dimension_count=rope or head)
        self.keys(attention__layer_norm_rms_epsilon=1e-5, rope__freq_base=10000.0)

    def blocks(self) -> list[str]:
        """The layers' names."""
        return [f"blk.{layer}" for layer in range(self.layers)]

    def done(self) -> Model:
        """The model."""
        return Model(self.metadata, self.tensors)
