"""EXAONE 3.

Source: llama.cpp src/models/exaone.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("exaone")
def build_exaone(b: Builder) -> None:
    """Build the exaone graph."""
    attention = self_attention(b, b.inp_pos(), factors=Builder.rope_factors)
    x = build_trunk(b, attention, lambda cur, il: b.ffn(cur, il, scales=False))
    b.finish(b.head(x))
