"""Arcee AFM: llama attention, an ungated feed-forward of squared ReLU.

Source: llama.cpp src/models/arcee.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import partial

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("arcee")
def build_arcee(b: Builder) -> None:
    """Build the arcee graph."""
    attend = self_attention(b, b.inp_pos(), factors=Builder.rope_factors)
    feed_forward = partial(b.ffn, act="relu_sqr", gate=None, scales=False)
    b.finish(b.head(build_trunk(b, attend, feed_forward)))
