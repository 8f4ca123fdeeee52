"""Apertus: normed queries and keys, an ungated feed-forward with xIELU.

Source: llama.cpp src/models/apertus.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import QkNorm, build_trunk, longrope_factors, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("apertus")
def build_apertus(b: Builder) -> None:
    """Build the apertus graph."""
    attend = self_attention(b, b.inp_pos(), qk_norm=QkNorm.BEFORE_ROPE, factors=longrope_factors)

    def feed_forward(x: Tensor, il: int) -> Tensor:
        up = b.mm("ffn_up", x, il, scale=False)
        return b.mm("ffn_down", ops.unary(up, "xielu"), il, scale=False)

    b.finish(b.head(build_trunk(b, attend, feed_forward)))
