"""Arctic: a dense feed-forward, and beside it experts on the block's input.

Source: llama.cpp src/models/arctic.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("arctic")
def build_arctic(b: Builder) -> None:
    """Build the arctic graph."""
    x = b.inp_embd()
    out_ids = b.inp_out_ids()
    attention = self_attention(b, b.inp_pos(), wo_bias=False)
    for il in b.layers:
        residual = x
        cur = attention(b.norm(x, "attn_norm", il), il)
        if b.is_last(il):
            cur, residual = ops.get_rows(cur, out_ids), ops.get_rows(residual, out_ids)
        ffn_inp = ops.add(cur, residual)
        dense = b.ffn(b.norm(ffn_inp, "ffn_norm", il), il, scales=False)
        dense = ops.add(dense, ffn_inp)
        cur = b.norm(residual, "ffn_norm_exps", il)
        cur = b.moe(cur, il, norm_w=True, gate_up=None, scales=False)
        x = ops.add(cur, dense)
    b.finish(b.head(x))
