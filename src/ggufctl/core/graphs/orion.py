"""Orion: layer norms with biases around a plain dense transformer.

Source: llama.cpp src/models/orion.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import partial

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("orion")
def build_orion(b: Builder) -> None:
    """Build the orion graph."""
    attend = self_attention(b, b.inp_pos(), wo_bias=False)
    feed_forward = partial(b.ffn, scales=False)
    x = build_trunk(b, attend, feed_forward, norm_kind="layer", norm_bias=True)
    b.finish(b.head(x, kind="layer", bias=True))
