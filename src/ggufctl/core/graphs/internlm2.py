"""InternLM2: a plain dense transformer.

Source: llama.cpp src/models/internlm2.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import partial

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("internlm2")
def build_internlm2(b: Builder) -> None:
    """Build the internlm2 graph."""
    attend = self_attention(b, b.inp_pos())
    b.finish(b.head(build_trunk(b, attend, partial(b.ffn, scales=False))))
