"""Maincoder: queries and keys are normed per head after rotation.

Source: llama.cpp src/models/maincoder.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import partial

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import QkNorm, build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("maincoder")
def build_maincoder(b: Builder) -> None:
    """Build the maincoder graph."""
    attend = self_attention(b, b.inp_pos(), qk_norm=QkNorm.AFTER_ROPE)
    b.finish(b.head(build_trunk(b, attend, partial(b.ffn, scales=False))))
