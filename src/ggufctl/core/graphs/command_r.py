"""Command R: attention and feed-forward in parallel, scaled logits.

Source: llama.cpp src/models/command-r.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture


@architecture("command-r")
def build_command_r(b: Builder) -> None:
    """Build the command-r graph."""
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        normed = b.norm(x, "attn_norm", il, kind="layer")
        q, k, v = b.qkv(normed, il)
        if b.has("attn_q_norm", il):
            q = b.norm(q, "attn_q_norm", il, kind="layer")
        q = ops.rope(q, pos)
        if b.has("attn_k_norm", il):
            k = b.norm(k, "attn_k_norm", il, kind="layer")
        attn = b.attn(q, ops.rope(k, pos), v, il)
        if b.is_last(il):
            attn, x = ops.get_rows(attn, out_ids), ops.get_rows(x, out_ids)
            normed = ops.get_rows(normed, out_ids)
        cur = b.ffn(normed, il, scales=False)
        x = ops.add(ops.add(cur, x), attn)
    logits = b.head(x, kind="layer")
    b.finish(ops.scale(logits) if b.hp.number("logit_scale", 0.0) else logits)
