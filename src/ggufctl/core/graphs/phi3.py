"""Phi-3 and Phi-3.5-MoE: long and short rope factors, chosen by the context length.

Source: llama.cpp src/models/phi3.cpp, phimoe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import longrope_factors
from ggufctl.core.graphs.registry import architecture


@architecture("phi3")
def build_phi3(b: Builder) -> None:
    """Build the phi3 graph."""
    _build(b)


@architecture("phimoe", ties_output=False)
def build_phimoe(b: Builder) -> None:
    """Build the phimoe graph: phi3's, with biases and experts."""
    _build(b)


def _build(b: Builder) -> None:
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        factors = longrope_factors(b, il)
        cur = b.norm(x, "attn_norm", il, bias=True)
        q, k, v = b.qkv(cur, il)
        q, k = ops.rope(q, pos, factors), ops.rope(k, pos, factors)
        cur = b.attn(ops.scale(q), k, v, il)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        residual = ops.add(cur, x)
        cur = b.norm(residual, "ffn_norm", il, bias=True)
        if b.has("ffn_gate_inp", il):
            scale = b.hp.number("expert_weights_scale", 0.0)
            cur = b.moe(cur, il, norm_w=True, w_scale=scale, gate_up=None, scales=False)
        else:
            cur = b.ffn(cur, il, "swiglu", gate=None, scales=False)
        x = ops.add(residual, cur)
    b.finish(b.head(x, bias=True, output_bias=True))
