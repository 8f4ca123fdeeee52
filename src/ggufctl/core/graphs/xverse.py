"""XVERSE: a plain dense transformer.

Source: llama.cpp src/models/xverse.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import partial

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("xverse")
def build_xverse(b: Builder) -> None:
    """Build the xverse graph."""
    attend = self_attention(b, b.inp_pos(), wo_bias=False)
    b.finish(b.head(build_trunk(b, attend, partial(b.ffn, scales=False))))
