"""Deci and Nemotron Super/Ultra: blocks without attention, without feed-forward, or neither.

Source: llama.cpp src/models/deci.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import longrope_factors, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("deci")
def build_deci(b: Builder) -> None:
    """Build the deci graph."""
    hp = b.hp
    x = b.inp_embd()
    attend = self_attention(b, b.inp_pos(), factors=longrope_factors)
    out_ids = b.inp_out_ids()
    for il in b.layers:
        cur: Tensor = x
        residual = x
        if hp.n_head(il):
            cur = b.norm(x, "attn_norm", il)
            cur = attend(cur, il) if hp.n_head_kv(il) else _linear(b, cur, il)
        if b.is_last(il):
            cur, residual = ops.get_rows(cur, out_ids), ops.get_rows(residual, out_ids)
        if not hp.n_ff(il):
            # llama.cpp drops the attention of such a block: its input is passed on.
            continue
        ffn_inp = ops.add(cur, residual) if hp.n_head(il) else cur
        cur = b.ffn(b.norm(ffn_inp, "ffn_norm", il), il, bias=True, scales=False)
        x = ops.add(cur, ffn_inp)
    b.finish(b.head(x))


def _linear(b: Builder, x: Tensor, il: int) -> Tensor:
    """Attention of a block without keys and values: its output matrix alone."""
    return b.mm("attn_output", x, il, scale=False)
