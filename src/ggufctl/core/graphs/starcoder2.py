"""StarCoder2: GPT-2 with rotary positions.

Source: llama.cpp src/models/starcoder2.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.gpt2 import build_blocks
from ggufctl.core.graphs.registry import architecture


@architecture("starcoder2")
def build_starcoder2(b: Builder) -> None:
    """Build the starcoder2 graph."""
    x = b.inp_embd()
    build_blocks(b, x, pos=b.inp_pos())
