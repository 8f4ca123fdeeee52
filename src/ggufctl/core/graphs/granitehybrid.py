"""Granite 4 hybrids: Mamba-2 blocks with attention in between.

Source: llama.cpp src/models/granite-hybrid.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.mamba_blocks import mamba2, set_hybrid
from ggufctl.core.graphs.prenorm import build_trunk, longrope_factors, shared_expert
from ggufctl.core.graphs.registry import architecture


@architecture("granitehybrid", hparams=set_hybrid)
def build_granitehybrid(b: Builder) -> None:
    """Build the granitehybrid graph: most models have no positions."""
    hp = b.hp
    is_scaled = bool(hp.number("residual_scale", 0.0))
    has_rope = bool(hp.key("rope.scaling.finetuned", True))
    has_shared = hp.integer("expert_shared_feed_forward_length", 0) > 0
    weight_scale = hp.number("expert_weights_scale", 0.0)
    x = b.inp_embd()
    recurrent = b.recurrent_input()
    pos = b.inp_pos()

    def mix(cur: Tensor, il: int) -> Tensor:
        if hp.is_recr(il):
            return mamba2(b, cur, recurrent, il)
        q, k, v = b.qkv(cur, il)
        if has_rope:
            factors = longrope_factors(b, il)
            q, k = ops.rope(q, pos, factors), ops.rope(k, pos, factors)
        return b.attn(q, k, v, il)

    def scaled(cur: Tensor, il: int) -> Tensor:
        return ops.scale(cur) if is_scaled else cur

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if not b.has("ffn_gate_inp", il):
            return scaled(b.ffn(cur, il, bias=True, scales=False), il)
        routed = b.moe(cur, il, norm_w=True, w_scale=weight_scale, gate_up=None, scales=False)
        return scaled(ops.add(routed, shared_expert(b, cur, il)) if has_shared else routed, il)

    logits = b.head(build_trunk(b, mix, feed_forward, x=x, after_attention=scaled))
    b.finish(ops.scale(logits) if hp.number("logit_scale", 0.0) else logits)
