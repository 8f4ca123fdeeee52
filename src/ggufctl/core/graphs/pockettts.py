"""Pocket TTS: GPT-2 with rotary positions and no biases.

Source: llama.cpp src/models/pockettts.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.gpt2 import build_blocks
from ggufctl.core.graphs.registry import architecture


@architecture("pockettts")
def build_pockettts(b: Builder) -> None:
    """Build the pockettts graph."""
    x = b.inp_embd()
    build_blocks(b, x, pos=b.inp_pos(), attn_bias=False, ffn_bias=False)
