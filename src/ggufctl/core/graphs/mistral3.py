"""Mistral 3 and Ministral: llama with an attention temperature.

Source: llama.cpp src/models/mistral3.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, longrope_factors, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("mistral3")
def build_mistral3(b: Builder) -> None:
    """Build the mistral3 graph."""
    has_temperature = b.hp.number("attention.temperature_scale", 0.0) != 0.0
    temperature = b.inp_attn_scale() if has_temperature else None

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if b.has("ffn_gate_inp", il):
            return b.moe(cur, il, norm_w=True, gate_up=None)
        return b.ffn(cur, il, bias=True)

    attention = self_attention(b, b.inp_pos(), factors=longrope_factors, q_scale=temperature)
    b.finish(b.head(build_trunk(b, attention, feed_forward)))
