"""RND1: a diffusion model made of qwen3moe blocks.

Source: llama.cpp src/models/rnd1.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.llada import build_diffusion, no_cache
from ggufctl.core.graphs.registry import architecture


@architecture("rnd1", hparams=no_cache)
def build_rnd1(b: Builder) -> None:
    """Build the rnd1 graph."""
    scale = b.hp.number("expert_weights_scale", 0.0)
    build_diffusion(
        b,
        lambda cur, il: b.moe(cur, il, norm_w=True, w_scale=scale, gate_up=None, scales=False),
        norms_qk=True,
        wo_bias=True,
    )
