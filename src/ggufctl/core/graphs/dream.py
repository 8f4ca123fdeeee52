"""Dream: a diffusion model made of qwen2 blocks.

Source: llama.cpp src/models/dream.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.llada import build_diffusion, no_cache
from ggufctl.core.graphs.registry import architecture


@architecture("dream", hparams=no_cache)
def build_dream(b: Builder) -> None:
    """Build the dream graph."""
    build_diffusion(b, lambda cur, il: b.ffn(cur, il, scales=False), wo_bias=True)
