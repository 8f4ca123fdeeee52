"""OLMoE: experts in every block, whole rows of queries and keys normed.

Source: llama.cpp src/models/olmoe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture


@architecture("olmoe", ties_output=False)
def build_olmoe(b: Builder) -> None:
    """Build the olmoe graph."""
    hp, u = b.hp, b.n_tokens
    scale = hp.number("expert_weights_scale", 0.0)
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(b.norm(x, "attn_norm", il), il, reshape=False)
        q, k = b.norm(q, "attn_q_norm", il), b.norm(k, "attn_k_norm", il)
        size, heads, heads_kv = hp.n_embd_head_k(il), hp.n_head(il), hp.n_head_kv(il)
        q = ops.rope(ops.reshape(q, size, heads, u), pos)
        k = ops.rope(ops.reshape(k, size, heads_kv, u), pos)
        cur = b.attn(q, k, ops.reshape(v, size, heads_kv, u), il, wo_bias=False)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        ffn_inp = ops.add(cur, x)
        cur = b.norm(ffn_inp, "ffn_norm", il)
        cur = b.moe(cur, il, w_scale=scale, gate_up=None, scales=False)
        x = ops.add(cur, ffn_inp)
    b.finish(b.head(x))
