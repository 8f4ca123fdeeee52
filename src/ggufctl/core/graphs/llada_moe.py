"""LLaDA-MoE: a diffusion model with experts.

Source: llama.cpp src/models/llada-moe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.llada import build_diffusion, no_cache
from ggufctl.core.graphs.registry import architecture


@architecture("llada-moe", hparams=no_cache, ties_output=False)
def build_llada_moe(b: Builder) -> None:
    """Build the llada-moe graph."""
    scale = b.hp.number("expert_weights_scale", 0.0)
    build_diffusion(
        b,
        lambda cur, il: b.moe(cur, il, w_scale=scale, gate_up=None, scales=False),
        norms_qk=True,
    )
