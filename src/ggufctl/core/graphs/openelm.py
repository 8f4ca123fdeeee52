"""OpenELM: heads and feed-forward widths differ from block to block.

Source: llama.cpp src/models/openelm.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture


@architecture("openelm")
def build_openelm(b: Builder) -> None:
    """Build the openelm graph."""
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        residual = x
        n_head, n_head_kv = b.hp.n_head(il), b.hp.n_head_kv(il)
        cur = b.mm("attn_qkv", b.norm(x, "attn_norm", il), il, scale=False)
        size = b.hp.n_embd_head_k(il)
        heads = ops.reshape(cur, size, n_head + 2 * n_head_kv, b.n_tokens)
        row, strides = heads.nb[1], heads.nb[1:3]
        q = ops.view(heads, (size, n_head, b.n_tokens), strides)
        k = ops.view(heads, (size, n_head_kv, b.n_tokens), strides, row * n_head)
        v = ops.view(heads, (size, n_head_kv, b.n_tokens), strides, row * (n_head + n_head_kv))
        q = ops.rope(b.norm(q, "attn_q_norm", il), pos)
        k = ops.rope(b.norm(k, "attn_k_norm", il), pos)
        cur = b.attn(q, k, v, il, wo_bias=False)
        if b.is_last(il):
            residual, cur = ops.get_rows(residual, out_ids), ops.get_rows(cur, out_ids)
        ffn_inp = ops.add(residual, cur)
        cur = b.ffn(b.norm(ffn_inp, "ffn_norm", il), il, scales=False)
        x = ops.add(cur, ffn_inp)
    b.finish(b.head(x))
