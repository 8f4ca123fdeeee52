"""Nemotron: layer norms with biases, an ungated feed-forward of squared ReLU.

Source: llama.cpp src/models/nemotron.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import partial

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("nemotron")
def build_nemotron(b: Builder) -> None:
    """Build the nemotron graph."""
    attend = self_attention(b, b.inp_pos())
    feed_forward = partial(b.ffn, act="relu_sqr", gate=None, bias=True, scales=False)
    x = build_trunk(b, attend, feed_forward, norm_kind="layer", norm_bias=True)
    b.finish(b.head(x, kind="layer", bias=True))
