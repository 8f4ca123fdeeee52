"""Hunyuan mixture of experts: queries and keys are normed after rope.

Source: llama.cpp src/models/hunyuan-moe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import QkNorm, build_trunk, self_attention, shared_expert
from ggufctl.core.graphs.registry import architecture


@architecture("hunyuan-moe")
def build_hunyuan_moe(b: Builder) -> None:
    """Build the hunyuan-moe graph."""

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        routed = b.moe(cur, il, norm_w=True, gate_up=None, scales=False)
        return ops.add(routed, shared_expert(b, cur, il))

    attention = self_attention(
        b, b.inp_pos(), qk_norm=QkNorm.AFTER_ROPE, factors=Builder.rope_factors
    )
    b.finish(b.head(build_trunk(b, attention, feed_forward)))
