"""Models that attend in every layer: to everything, or through windows."""

from tests.sizes.model_builder import Builder, Model

__all__ = [
    "command_r7b",
    "gemma2_9b",
    "gemma3_12b",
    "gemma4_e2b",
    "llama_1b",
    "llama_8b",
    "openelm_270m",
    "phi3_mini",
    "qwen3_8b",
]


def llama_8b() -> Model:
    """meta-llama/Llama-3.1-8B at 4 bits."""
    make = Builder("llama", layers=32, embd=4096, vocab=128256, quantisation="Q4_K")
    make.matrix("output", 4096, 128256, as_type="Q6_K")
    return _llama(make, heads=32, kv_heads=8, head=128, feed_forward=14336)


def llama_1b() -> Model:
    """meta-llama/Llama-3.2-1B at 8 bits; its output is its input, transposed."""
    make = Builder("llama", layers=16, embd=2048, vocab=128256, quantisation="Q8_0")
    return _llama(make, heads=32, kv_heads=8, head=64, feed_forward=8192)


def _llama(make: Builder, *, heads: int, kv_heads: int, head: int, feed_forward: int) -> Model:
    make.heads(heads, kv_heads, head)
    make.keys(feed_forward_length=feed_forward)
    for block in make.blocks():
        make.norm(f"{block}.attn_norm")
        make.attention(block, heads, kv_heads, head)
        make.norm(f"{block}.ffn_norm")
        make.feed_forward(block, feed_forward)
    return make.done()


def phi3_mini() -> Model:
    """microsoft/Phi-3-mini-4k-instruct: as many KV heads as heads, projections in one."""
    make = Builder("phi3", layers=32, embd=3072, vocab=32064, quantisation="Q4_K")
    make.heads(32, 32, 96)
    make.keys(feed_forward_length=8192, rope__scaling__original_context_length=4096, attention__sliding_window=2047)
    make.matrix("output", 3072, 32064, as_type="Q6_K")
    for block in make.blocks():
        make.norm(f"{block}.attn_norm")
        make.matrix(f"{block}.attn_qkv", 3072, 3 * 3072)
        make.matrix(f"{block}.attn_output", 3072, 3072)
        make.norm(f"{block}.ffn_norm")
        make.matrix(f"{block}.ffn_up", 3072, 2 * 8192)
        make.matrix(f"{block}.ffn_down", 8192, 3072)
    return make.done()


def qwen3_8b() -> Model:
    """Qwen/Qwen3-8B."""
    make = Builder("qwen3", layers=36, embd=4096, vocab=151936, quantisation="Q4_K")
    make.matrix("output", 4096, 151936, as_type="Q6_K")
    make.heads(32, 8, 128)
    make.keys(feed_forward_length=12288)
    for block in make.blocks():
        make.norm(f"{block}.attn_norm")
        make.normed_attention(block, 32, 8, 128)
        make.norm(f"{block}.ffn_norm")
        make.feed_forward(block, 12288)
    return make.done()


def gemma2_9b() -> Model:
    """google/gemma-2-9b: every other layer sees a window of 4096 tokens."""
    make = Builder("gemma2", layers=42, embd=3584, vocab=256000, quantisation="Q4_K")
    make.heads(16, 8, 256)
    make.keys(feed_forward_length=14336, attention__sliding_window=4096)
    make.keys(attn_logit_softcapping=50.0, final_logit_softcapping=30.0)
    for block in make.blocks():
        make.norm(f"{block}.attn_norm")
        make.attention(block, 16, 8, 256)
        make.norm(f"{block}.post_attention_norm")
        make.norm(f"{block}.ffn_norm")
        make.feed_forward(block, 14336)
        make.norm(f"{block}.post_ffw_norm")
    return make.done()


def gemma3_12b() -> Model:
    """google/gemma-3-12b-it: five layers of six see a window of 1024 tokens."""
    make = Builder("gemma3", layers=48, embd=3840, vocab=262208, quantisation="Q4_K")
    make.heads(16, 8, 256)
    make.keys(feed_forward_length=15360, attention__sliding_window=1024)
    for block in make.blocks():
        make.norm(f"{block}.attn_norm")
        make.attention(block, 16, 8, 256)
        make.norm(f"{block}.attn_q_norm", 256)
        make.norm(f"{block}.attn_k_norm", 256)
        make.norm(f"{block}.post_attention_norm")
        make.norm(f"{block}.ffn_norm")
        make.feed_forward(block, 15360)
        make.norm(f"{block}.post_ffw_norm")
    return make.done()


def gemma4_e2b() -> Model:
    """google/gemma-4-E2B: windowed heads of another size, 20 layers without a cache, an embedding for each layer."""
    full = [(layer + 1) % 5 == 0 for layer in range(35)]
    widths = [6144 if layer < 15 else 12288 for layer in range(35)]
    make = Builder("gemma4", layers=35, embd=1536, vocab=262144, quantisation="Q8_0")
    make.heads(8, 1, 512)
    make.keys(feed_forward_length=widths, embedding_length_per_layer_input=256, final_logit_softcapping=30.0)
    make.keys(attention__sliding_window=512, attention__sliding_window_pattern=[not sees for sees in full])
    make.keys(attention__shared_kv_layers=20, attention__key_length_swa=256, attention__value_length_swa=256)
    make.keys(rope__dimension_count_swa=256)
    make.matrix("per_layer_token_embd", 256 * 35, 262144)
    make.matrix("per_layer_model_proj", 1536, 256 * 35)
    make.norm("per_layer_proj_norm", 256)
    make.norm("rope_freqs", 256)
    for layer, block in enumerate(make.blocks()):
        head = 512 if full[layer] else 256
        make.norm(f"{block}.attn_norm")
        make.attention(block, 8, 1, head)
        make.norm(f"{block}.attn_q_norm", head)
        make.norm(f"{block}.attn_k_norm", head)
        make.norm(f"{block}.post_attention_norm")
        make.norm(f"{block}.ffn_norm")
        make.feed_forward(block, widths[layer])
        make.norm(f"{block}.post_ffw_norm")
        make.matrix(f"{block}.inp_gate", 1536, 256)
        make.matrix(f"{block}.proj", 256, 1536)
        make.norm(f"{block}.post_norm")
    return make.done()


def command_r7b() -> Model:
    """CohereLabs/c4ai-command-r7b-12-2024: three layers of four see a window of 4096 tokens."""
    make = Builder("cohere2", layers=32, embd=4096, vocab=256000, quantisation="Q4_K")
    make.heads(32, 8, 128)
    make.keys(feed_forward_length=14336, attention__sliding_window=4096, logit_scale=0.25)
    make.keys(attention__layer_norm_epsilon=1e-5)
    for block in make.blocks():
        make.norm(f"{block}.attn_norm")
        make.attention(block, 32, 8, 128)
        make.feed_forward(block, 14336)
    return make.done()


def openelm_270m() -> Model:
    """apple/OpenELM-270M: every layer has heads and a width of its own."""
    kv_heads = [3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5]
    widths = [768, 1024, 1280, 1536, 1792, 2048, 2560, 2816, 3072, 3328, 3584, 3840, 4352, 4608, 4864, 5120]
    make = Builder("openelm", layers=16, embd=1280, vocab=32000, quantisation="Q8_0")
    make.heads([4 * kv for kv in kv_heads], kv_heads, 64)
    make.keys(feed_forward_length=widths)
    for block, kv, width in zip(make.blocks(), kv_heads, widths, strict=True):
        make.norm(f"{block}.attn_norm")
        make.matrix(f"{block}.attn_qkv", 1280, 6 * kv * 64)
        make.norm(f"{block}.attn_q_norm", 64)
        make.norm(f"{block}.attn_k_norm", 64)
        make.matrix(f"{block}.attn_output", 4 * kv * 64, 1280)
        make.norm(f"{block}.ffn_norm")
        make.feed_forward(block, width)
    return make.done()
