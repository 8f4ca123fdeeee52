"""PLaMo: attention and feed-forward side by side.

Source: llama.cpp src/models/plamo.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture


@architecture("plamo", ties_output=False)
def build_plamo(b: Builder) -> None:
    """Build the plamo graph."""
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        normed = b.norm(x, "attn_norm", il)
        q, k, v = b.qkv(normed, il, n_embd_head=b.hp.n_embd_head_v(il))
        attended = b.attn(ops.rope(q, pos), ops.rope(k, pos), v, il, wo_bias=False)
        if b.is_last(il):
            attended, normed, x = (ops.get_rows(t, out_ids) for t in (attended, normed, x))
        cur = b.ffn(normed, il, scales=False)
        x = ops.add(ops.add(cur, attended), x)
    b.finish(b.head(x))
