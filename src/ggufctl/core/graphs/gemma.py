"""Gemma: scaled embeddings, queries scaled before attention, a GELU gate.

Source: llama.cpp src/models/gemma.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture


@architecture("gemma")
def build_gemma(b: Builder) -> None:
    """Build the gemma graph."""
    x = ops.scale(b.inp_embd())
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(b.norm(x, "attn_norm", il), il)
        q, k = ops.rope(q, pos), ops.rope(k, pos)
        cur = b.attn(ops.scale(q), k, v, il, wo_bias=False)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        sa_out = ops.add(cur, x)
        cur = b.norm(sa_out, "ffn_norm", il)
        x = ops.add(b.ffn(cur, il, "gelu", scales=False), sa_out)
    b.finish(b.head(x))
