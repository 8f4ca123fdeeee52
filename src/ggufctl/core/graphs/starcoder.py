"""StarCoder: GPT-2 with multi-query attention.

Source: llama.cpp src/models/starcoder.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.gpt2 import build_blocks
from ggufctl.core.graphs.registry import architecture


@architecture("starcoder")
def build_starcoder(b: Builder) -> None:
    """Build the starcoder graph."""
    x = b.inp_embd()
    x = ops.add(x, ops.get_rows(b.need("position_embd"), b.inp_pos()))
    build_blocks(b, x)
