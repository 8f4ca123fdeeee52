"""Seed-OSS: the norm before the feed-forward is named after attention.

Source: llama.cpp src/models/seed-oss.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import partial

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("seed_oss")
def build_seed_oss(b: Builder) -> None:
    """Build the seed_oss graph."""
    attend = self_attention(b, b.inp_pos())
    feed_forward = partial(b.ffn, scales=False)
    b.finish(b.head(build_trunk(b, attend, feed_forward, ffn_norm="post_attention_norm")))
