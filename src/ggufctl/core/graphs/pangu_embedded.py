"""openPangu Embedded: a dense transformer with biases on attention.

Source: llama.cpp src/models/pangu-embed.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import partial

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("pangu-embedded")
def build_pangu_embedded(b: Builder) -> None:
    """Build the pangu-embedded graph."""
    attend = self_attention(b, b.inp_pos())
    feed_forward = partial(b.ffn, bias=True, scales=False)
    b.finish(b.head(build_trunk(b, attend, feed_forward), output_bias=True))
