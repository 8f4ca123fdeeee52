"""Bailing mixture of experts (Ling).

Source: llama.cpp src/models/bailingmoe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention, shared_expert
from ggufctl.core.graphs.registry import architecture


@architecture("bailingmoe", ties_output=False)
def build_bailingmoe(b: Builder) -> None:
    """Build the bailingmoe graph."""
    hp = b.hp
    norm_w = bool(hp.key("expert_weights_norm", False))
    w_scale = hp.number("expert_weights_scale", 0.0)

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        routed = b.moe(cur, il, norm_w=norm_w, w_scale=w_scale, gate_up=None, scales=False)
        return ops.add(routed, shared_expert(b, cur, il))

    attention = self_attention(
        b, b.inp_pos(), n_embd_head=hp.n_embd_head_k(), factors=Builder.rope_factors
    )
    b.finish(b.head(build_trunk(b, attention, feed_forward)))
