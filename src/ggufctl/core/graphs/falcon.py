"""Falcon: attention and feed-forward in parallel, from one norm or from two.

Source: llama.cpp src/models/falcon.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture


@architecture("falcon")
def build_falcon(b: Builder) -> None:
    """Build the falcon graph."""
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        cur = normed = b.norm(x, "attn_norm", il, kind="layer", bias=True)
        if b.has("attn_norm_2", il):
            cur = b.norm(x, "attn_norm_2", il, kind="layer", bias=True)
        q, k, v = b.qkv(cur, il)
        q, k = ops.rope(q, pos), ops.rope(k, pos)
        attn = b.attn(q, k, v, il, wo_bias=False)
        if b.is_last(il):
            attn, x = ops.get_rows(attn, out_ids), ops.get_rows(x, out_ids)
            normed = ops.get_rows(normed, out_ids)
        cur = b.ffn(normed, il, "gelu", gate=None, scales=False)
        x = ops.add(ops.add(cur, attn), x)
    b.finish(b.head(x, kind="layer", bias=True))
