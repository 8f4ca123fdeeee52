"""dots.llm1: mixture of experts with dense blocks first.

Source: llama.cpp src/models/dots1.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import (
    QkNorm,
    build_trunk,
    has_lead,
    header_experts,
    self_attention,
    shared_expert,
)
from ggufctl.core.graphs.registry import architecture


@architecture("dots1", ties_output=False)
def build_dots1(b: Builder) -> None:
    """Build the dots1 graph."""

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if has_lead(b.hp, il):
            return b.ffn(cur, il, scales=False)
        return ops.add(header_experts(b, cur, il), shared_expert(b, cur, il))

    attention = self_attention(b, b.inp_pos(), qk_norm=QkNorm.BEFORE_ROPE)
    b.finish(b.head(build_trunk(b, attention, feed_forward)))
