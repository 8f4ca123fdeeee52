"""Talkie: norms without weights, and the embeddings added again after every block.

Source: llama.cpp src/models/talkie.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture


@architecture("talkie")
def build_talkie(b: Builder) -> None:
    """Build the talkie graph."""
    x = skip = b.norm(b.inp_embd())
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(b.norm(x, il=il), il)
        q = b.norm(ops.rope(q, pos), "attn_q_norm", il)
        k = b.norm(ops.rope(k, pos), il=il)
        cur = b.attn(q, k, v, il, wo_bias=False)
        if b.is_last(il):
            cur, x, skip = (ops.get_rows(t, out_ids) for t in (cur, x, skip))
        ffn_inp = ops.add(cur, x)
        cur = b.ffn(b.norm(ffn_inp, il=il), il, down=None, scales=False)
        cur = ops.add(b.mm("ffn_down", cur, il), ffn_inp)
        x = ops.add(cur, ops.mul(skip, b.need("layer_output_scale", il)))
    b.embd = x = b.norm(x)
    b.finish(ops.scale(b.mm(b.output_weight(), x)))
