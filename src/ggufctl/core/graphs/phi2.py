"""Phi-2: attention and feed-forward in parallel, both from one norm.

Source: llama.cpp src/models/phi2.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture


@architecture("phi2", ties_output=False)
def build_phi2(b: Builder) -> None:
    """Build the phi2 graph."""
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        normed = b.norm(x, "attn_norm", il, kind="layer", bias=True)
        q, k, v = b.qkv(normed, il)
        q, k = ops.rope(q, pos), ops.rope(k, pos)
        cur = b.attn(ops.scale(q), k, v, il)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
            normed = ops.get_rows(normed, out_ids)
        ffn = b.ffn(normed, il, "gelu", gate=None, bias=True, scales=False)
        x = ops.add(ops.add(cur, ffn), x)
    b.finish(b.head(x, kind="layer", bias=True, output_bias=True))
