"""Models with experts, of which few are used for a token; some with latent attention."""

from tests.sizes.gguf_writer import Tensor
from tests.sizes.model_builder import Builder, Model

__all__ = ["deepseek_v2_lite", "deepseek_v3", "glm_4_5_air", "gpt_oss_20b", "qwen3_30b_a3b"]


def qwen3_30b_a3b() -> Model:
    """Qwen/Qwen3-30B-A3B: 128 experts."""
    make = Builder("qwen3moe", layers=48, embd=2048, vocab=151936, quantisation="Q4_K")
    make.matrix("output", 2048, 151936, as_type="Q6_K")
    make.heads(32, 4, 128)
    make.keys(feed_forward_length=6144, expert_count=128, expert_used_count=8, expert_feed_forward_length=768)
    for block in make.blocks():
        make.norm(f"{block}.attn_norm")
        make.normed_attention(block, 32, 4, 128)
        make.norm(f"{block}.ffn_norm")
        make.experts(block, 128, 768)
    return make.done()


def gpt_oss_20b() -> Model:
    """openai/gpt-oss-20b: every other layer sees 128 tokens; 32 experts in MXFP4."""
    make = Builder("gpt-oss", layers=24, embd=2880, vocab=201088, quantisation="Q8_0")
    make.matrix("output", 2880, 201088)
    make.heads(64, 8, 64)
    make.keys(feed_forward_length=2880, expert_feed_forward_length=2880, expert_count=32, expert_used_count=4)
    make.keys(attention__sliding_window=128)
    for block in make.blocks():
        make.norm(f"{block}.attn_norm")
        make.norm(f"{block}.post_attention_norm")
        make.attention(block, 64, 8, 64)
        for name, size in (("attn_q", 4096), ("attn_k", 512), ("attn_v", 512), ("attn_output", 2880)):
            make.norm(f"{block}.{name}", size, "bias")
        make.norm(f"{block}.attn_sinks", 64)
        make.experts(block, 32, 2880, "MXFP4")
        make.norm(f"{block}.ffn_gate_inp", 32, "bias")
        for name in ("gate", "up", "down"):
            make.tensors.append(Tensor(f"{block}.ffn_{name}_exps.bias", (2880, 32), "F32"))
    return make.done()


def deepseek_v2_lite() -> Model:
    """deepseek-ai/DeepSeek-V2-Lite: latent attention, a cache of 512 + 64 numbers a token and layer."""
    make = Builder("deepseek2", layers=27, embd=2048, vocab=102400, quantisation="Q8_0")
    make.matrix("output", 2048, 102400)
    make.heads(16, 1, 576, rope=64)
    make.keys(attention__value_length=512, attention__kv_lora_rank=512, attention__key_length_mla=192)
    make.keys(attention__value_length_mla=128, feed_forward_length=10944, leading_dense_block_count=1)
    make.keys(expert_count=64, expert_used_count=6, expert_shared_count=2, expert_feed_forward_length=1408)
    make.keys(expert_weights_scale=1.0, expert_weights_norm=False, rope__scaling__yarn_log_multiplier=0.0707)
    for block in make.blocks():
        make.norm(f"{block}.attn_norm")
        make.matrix(f"{block}.attn_q", 2048, 16 * 192)
        make.matrix(f"{block}.attn_kv_a_mqa", 2048, 576)
        make.norm(f"{block}.attn_kv_a_norm", 512)
        make.matrix(f"{block}.attn_k_b", 128, 512, 16)
        make.matrix(f"{block}.attn_v_b", 512, 128, 16)
        make.matrix(f"{block}.attn_output", 16 * 128, 2048)
        make.norm(f"{block}.ffn_norm")
        if block == "blk.0":
            make.feed_forward(block, 10944)
            continue
        make.experts(block, 64, 1408)
        make.matrix(f"{block}.ffn_gate_shexp", 2048, 2816)
        make.matrix(f"{block}.ffn_up_shexp", 2048, 2816)
        make.matrix(f"{block}.ffn_down_shexp", 2816, 2048)
    return make.done()


def deepseek_v3() -> Model:
    """deepseek-ai/DeepSeek-V3: latent attention with 128 heads, 256 experts."""
    make = Builder("deepseek2", layers=61, embd=7168, vocab=129280, quantisation="Q4_K")
    make.matrix("output", 7168, 129280, as_type="Q6_K")
    make.heads(128, 1, 576, rope=64)
    make.keys(attention__value_length=512, attention__kv_lora_rank=512, attention__key_length_mla=192)
    make.keys(attention__value_length_mla=128, attention__q_lora_rank=1536, feed_forward_length=18432)
    make.keys(leading_dense_block_count=3, expert_count=256, expert_used_count=8, expert_shared_count=1)
    make.keys(expert_feed_forward_length=2048, expert_weights_scale=2.5, expert_weights_norm=True)
    make.keys(expert_gating_func=2, rope__scaling__yarn_log_multiplier=0.1)
    for layer, block in enumerate(make.blocks()):
        make.norm(f"{block}.attn_norm")
        make.matrix(f"{block}.attn_q_a", 7168, 1536)
        make.norm(f"{block}.attn_q_a_norm", 1536)
        make.matrix(f"{block}.attn_q_b", 1536, 128 * 192)
        make.matrix(f"{block}.attn_kv_a_mqa", 7168, 576)
        make.norm(f"{block}.attn_kv_a_norm", 512)
        make.matrix(f"{block}.attn_k_b", 128, 512, 128, as_type="Q8_0")
        make.matrix(f"{block}.attn_v_b", 512, 128, 128)
        make.matrix(f"{block}.attn_output", 128 * 128, 7168)
        make.norm(f"{block}.ffn_norm")
        if layer < 3:
            make.feed_forward(block, 18432)
            continue
        make.experts(block, 256, 2048)
        make.norm(f"{block}.exp_probs_b", 256, "bias")
        make.matrix(f"{block}.ffn_gate_shexp", 7168, 2048)
        make.matrix(f"{block}.ffn_up_shexp", 7168, 2048)
        make.matrix(f"{block}.ffn_down_shexp", 2048, 7168)
    return make.done()


def glm_4_5_air() -> Model:
    """zai-org/GLM-4.5-Air: 128 experts, and a layer more that predicts the token after the next."""
    make = Builder("glm4moe", layers=47, embd=4096, vocab=151552, quantisation="Q8_0")
    make.matrix("output", 4096, 151552)
    make.heads(96, 8, 128, rope=64)
    make.keys(feed_forward_length=10944, nextn_predict_layers=1, leading_dense_block_count=1, expert_count=128)
    make.keys(expert_used_count=8, expert_shared_count=1, expert_feed_forward_length=1408, expert_gating_func=2)
    for layer, block in enumerate(make.blocks()):
        make.norm(f"{block}.attn_norm")
        make.attention(block, 96, 8, 128)
        for name, heads in (("attn_q", 96), ("attn_k", 8), ("attn_v", 8)):
            make.norm(f"{block}.{name}", heads * 128, "bias")
        make.norm(f"{block}.post_attention_norm")
        if layer == 0:
            make.feed_forward(block, 10944)
            continue
        make.experts(block, 128, 1408)
        make.norm(f"{block}.exp_probs_b", 128, "bias")
        make.matrix(f"{block}.ffn_gate_shexp", 4096, 1408)
        make.matrix(f"{block}.ffn_up_shexp", 4096, 1408)
        make.matrix(f"{block}.ffn_down_shexp", 1408, 4096)
    make.matrix("blk.46.nextn.eh_proj", 2 * 4096, 4096)
    make.norm("blk.46.nextn.enorm")
    make.norm("blk.46.nextn.hnorm")
    make.norm("blk.46.nextn.shared_head_norm")
    return make.done()
