"""Models with layers that keep a state in place of a cache, or beside it."""

from tests.sizes.gguf_writer import Tensor
from tests.sizes.model_builder import Builder, Model

__all__ = ["falcon_h1_1b", "granite_4_h_micro", "lfm2_1b", "mamba2_2b", "qwen3_next_80b", "qwen35_9b"]


def granite_4_h_micro() -> Model:
    """ibm-granite/granite-4.0-h-micro: Mamba-2 in 36 layers, attention in 4."""
    attending = {5, 15, 25, 35}
    make = Builder("granitehybrid", layers=40, embd=2048, vocab=100352, quantisation="Q8_0")
    make.heads(32, [8 if layer in attending else 0 for layer in range(40)], 64)
    make.keys(feed_forward_length=8192, ssm__conv_kernel=4, ssm__inner_size=4096, ssm__state_size=128)
    make.keys(ssm__time_step_rank=64, ssm__group_count=1, logit_scale=8.0, residual_scale=0.22)
    make.keys(embedding_scale=12.0, attention__scale=0.015625)
    for layer, block in enumerate(make.blocks()):
        make.norm(f"{block}.attn_norm")
        if layer in attending:
            make.attention(block, 32, 8, 64)
        else:
            make.matrix(f"{block}.ssm_in", 2048, 2 * 4096 + 2 * 128 + 64)
            make.matrix(f"{block}.ssm_conv1d", 4, 4096 + 2 * 128, as_type="F32")
            make.norm(f"{block}.ssm_conv1d", 4096 + 2 * 128, "bias")
            make.norm(f"{block}.ssm_dt", 64, "bias")
            make.tensors.append(Tensor(f"{block}.ssm_a", (1, 64), "F32"))
            make.tensors.append(Tensor(f"{block}.ssm_d", (1, 64), "F32"))
            make.tensors.append(Tensor(f"{block}.ssm_norm.weight", (4096, 1), "F32"))
            make.matrix(f"{block}.ssm_out", 4096, 2048)
        make.norm(f"{block}.ffn_norm")
        make.feed_forward(block, 8192)
    return make.done()


def lfm2_1b() -> Model:
    """LiquidAI/LFM2-1.2B: short convolutions in 10 layers, attention in 6."""
    attending = {2, 5, 8, 10, 12, 14}
    make = Builder("lfm2", layers=16, embd=2048, vocab=65536, quantisation="Q8_0")
    make.tensors.pop()  # its last norm has a name of its own
    make.norm("token_embd_norm")
    make.heads(32, [8 if layer in attending else 0 for layer in range(16)], 64)
    make.keys(feed_forward_length=8192, shortconv__l_cache=3)
    for layer, block in enumerate(make.blocks()):
        make.norm(f"{block}.attn_norm")
        if layer in attending:
            make.attention(block, 32, 8, 64)
            make.norm(f"{block}.attn_q_norm", 64)
            make.norm(f"{block}.attn_k_norm", 64)
        else:
            make.matrix(f"{block}.shortconv.conv", 3, 2048, as_type="F32")
            make.matrix(f"{block}.shortconv.in_proj", 2048, 3 * 2048)
            make.matrix(f"{block}.shortconv.out_proj", 2048, 2048)
        make.norm(f"{block}.ffn_norm")
        make.feed_forward(block, 8192)
    return make.done()


def qwen3_next_80b() -> Model:
    """Qwen/Qwen3-Next-80B-A3B-Instruct: gated delta nets in three layers of four, 512 experts."""
    make = Builder("qwen3next", layers=48, embd=2048, vocab=151936, quantisation="Q4_K")
    make.matrix("output", 2048, 151936, as_type="Q6_K")
    make.heads(16, 2, 256, rope=64)
    make.keys(feed_forward_length=5120, expert_count=512, expert_used_count=10, expert_feed_forward_length=512)
    make.keys(expert_shared_feed_forward_length=512, ssm__conv_kernel=4, ssm__state_size=128, ssm__group_count=16)
    make.keys(ssm__time_step_rank=32, ssm__inner_size=4096)
    for layer, block in enumerate(make.blocks()):
        make.norm(f"{block}.attn_norm")
        make.norm(f"{block}.post_attention_norm")
        if (layer + 1) % 4 == 0:
            make.matrix(f"{block}.attn_q", 2048, 2 * 16 * 256)
            make.matrix(f"{block}.attn_k", 2048, 2 * 256)
            make.matrix(f"{block}.attn_v", 2048, 2 * 256)
            make.matrix(f"{block}.attn_output", 16 * 256, 2048)
            make.norm(f"{block}.attn_q_norm", 256)
            make.norm(f"{block}.attn_k_norm", 256)
        else:
            make.matrix(f"{block}.ssm_in", 2048, 2 * 2048 + 2 * 4096)
            make.matrix(f"{block}.ssm_conv1d", 4, 2 * 2048 + 4096, as_type="F32")
            make.norm(f"{block}.ssm_dt", 32, "bias")
            make.tensors.append(Tensor(f"{block}.ssm_a", (32,), "F32"))
            make.matrix(f"{block}.ssm_ba", 2048, 64)
            make.norm(f"{block}.ssm_norm", 128)
            make.matrix(f"{block}.ssm_out", 4096, 2048)
        make.experts(block, 512, 512)
        make.norm(f"{block}.ffn_gate_inp_shexp", 2048)
        make.matrix(f"{block}.ffn_gate_shexp", 2048, 512)
        make.matrix(f"{block}.ffn_up_shexp", 2048, 512)
        make.matrix(f"{block}.ffn_down_shexp", 512, 2048)
    return make.done()


def qwen35_9b() -> Model:
    """Qwen/Qwen3.5-9B: delta nets in three layers of four, and a layer more that predicts the token after the next."""
    make = Builder("qwen35", layers=33, embd=4096, vocab=248320, quantisation="Q4_K")
    make.matrix("output", 4096, 248320, as_type="Q6_K")
    make.heads(16, 4, 256, rope=64)
    make.keys(feed_forward_length=12288, nextn_predict_layers=1, rope__dimension_sections=[11, 11, 10, 0])
    make.keys(ssm__conv_kernel=4, ssm__state_size=128, ssm__group_count=16, ssm__time_step_rank=32)
    make.keys(ssm__inner_size=4096)
    for layer, block in enumerate(make.blocks()):
        make.norm(f"{block}.attn_norm")
        make.norm(f"{block}.post_attention_norm")
        if (layer + 1) % 4 == 0 or layer == 32:
            make.matrix(f"{block}.attn_q", 4096, 2 * 16 * 256)
            make.matrix(f"{block}.attn_k", 4096, 4 * 256)
            make.matrix(f"{block}.attn_v", 4096, 4 * 256)
            make.matrix(f"{block}.attn_output", 16 * 256, 4096)
            make.norm(f"{block}.attn_q_norm", 256)
            make.norm(f"{block}.attn_k_norm", 256)
        else:
            make.matrix(f"{block}.attn_qkv", 4096, 2 * 2048 + 4096)
            make.matrix(f"{block}.attn_gate", 4096, 4096)
            make.matrix(f"{block}.ssm_conv1d", 4, 2 * 2048 + 4096, as_type="F32")
            make.norm(f"{block}.ssm_dt", 32, "bias")
            make.tensors.append(Tensor(f"{block}.ssm_a", (32,), "F32"))
            make.matrix(f"{block}.ssm_alpha", 4096, 32)
            make.matrix(f"{block}.ssm_beta", 4096, 32)
            make.norm(f"{block}.ssm_norm", 128)
            make.matrix(f"{block}.ssm_out", 4096, 4096)
        make.feed_forward(block, 12288)
    make.matrix("blk.32.nextn.eh_proj", 2 * 4096, 4096)
    make.norm("blk.32.nextn.enorm")
    make.norm("blk.32.nextn.hnorm")
    return make.done()


def falcon_h1_1b() -> Model:
    """tiiuae/Falcon-H1-1.5B-Base: attention and Mamba-2 beside each other in every layer."""
    make = Builder("falcon-h1", layers=24, embd=2048, vocab=65537, quantisation="Q8_0")
    make.matrix("output", 2048, 65537)
    make.heads(8, 2, 128)
    make.keys(feed_forward_length=4096, ssm__conv_kernel=4, ssm__inner_size=3072, ssm__state_size=256)
    make.keys(ssm__time_step_rank=48, ssm__group_count=1)
    for block in make.blocks():
        make.norm(f"{block}.attn_norm")
        make.attention(block, 8, 2, 128)
        make.matrix(f"{block}.ssm_in", 2048, 2 * 3072 + 2 * 256 + 48)
        make.matrix(f"{block}.ssm_conv1d", 4, 3072 + 2 * 256, as_type="F32")
        make.norm(f"{block}.ssm_conv1d", 3072 + 2 * 256, "bias")
        make.norm(f"{block}.ssm_dt", 48, "bias")
        make.tensors.append(Tensor(f"{block}.ssm_a", (1, 48), "F32"))
        make.tensors.append(Tensor(f"{block}.ssm_d", (1, 48), "F32"))
        make.matrix(f"{block}.ssm_out", 3072, 2048)
        make.tensors.append(Tensor(f"{block}.ffn_norm", (2048,), "F32"))  # named so
        make.feed_forward(block, 4096)
    return make.done()


def mamba2_2b() -> Model:
    """state-spaces/mamba2-2.7b: no attention at all."""
    make = Builder("mamba2", layers=64, embd=2560, vocab=50288, quantisation="Q8_0")
    make.keys(feed_forward_length=0, attention__head_count=0, ssm__conv_kernel=4, ssm__inner_size=5120)
    make.keys(ssm__state_size=128, ssm__time_step_rank=80, ssm__group_count=1)
    make.keys(attention__layer_norm_rms_epsilon=1e-5)
    for block in make.blocks():
        make.norm(f"{block}.attn_norm")
        make.matrix(f"{block}.ssm_in", 2560, 2 * 5120 + 2 * 128 + 80)
        make.matrix(f"{block}.ssm_conv1d", 4, 5120 + 2 * 128, as_type="F32")
        make.norm(f"{block}.ssm_conv1d", 5120 + 2 * 128, "bias")
        make.norm(f"{block}.ssm_dt", 80, "bias")
        make.tensors.append(Tensor(f"{block}.ssm_a", (1, 80), "F32"))
        make.tensors.append(Tensor(f"{block}.ssm_d", (1, 80), "F32"))
        make.tensors.append(Tensor(f"{block}.ssm_norm.weight", (5120, 1), "F32"))
        make.matrix(f"{block}.ssm_out", 5120, 2560)
    return make.done()
