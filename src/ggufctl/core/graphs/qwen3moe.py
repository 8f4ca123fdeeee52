"""Qwen3 mixture of experts.

Source: llama.cpp src/models/qwen3moe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import QkNorm, build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("qwen3moe")
def build_qwen3moe(b: Builder) -> None:
    """Build the qwen3moe graph."""
    attention = self_attention(b, b.inp_pos(), qk_norm=QkNorm.BEFORE_ROPE)
    x = build_trunk(b, attention, lambda cur, il: b.moe(cur, il, norm_w=True))
    b.finish(b.head(x))
