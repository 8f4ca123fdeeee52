"""DeepSeek (the first): dense blocks first, then routed and shared experts.

Source: llama.cpp src/models/deepseek.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, has_lead, self_attention, shared_expert
from ggufctl.core.graphs.registry import architecture


@architecture("deepseek")
def build_deepseek(b: Builder) -> None:
    """Build the deepseek graph."""
    hp = b.hp

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if has_lead(hp, il):
            return b.ffn(cur, il, scales=False)
        w_scale = hp.number("expert_weights_scale", 0.0)
        routed = b.moe(cur, il, w_scale=w_scale, gate_up=None, scales=False)
        return ops.add(routed, shared_expert(b, cur, il))

    attention = self_attention(b, b.inp_pos(), factors=Builder.rope_factors)
    b.finish(b.head(build_trunk(b, attention, feed_forward)))
