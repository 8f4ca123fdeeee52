"""OLMo 2 and 3: norms after attention and feed-forward, whole rows of queries normed.

Source: llama.cpp src/models/olmo2.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory


def _hparams(hp: HParams) -> None:
    n_swa = hp.integer("attention.sliding_window", 0)
    if n_swa:
        hp.memory = Memory.ISWA
        hp.set_swa(n_swa, 4)


@architecture("olmo2", hparams=_hparams, ties_output=False)
def build_olmo2(b: Builder) -> None:
    """Build the olmo2 graph."""
    hp, u = b.hp, b.n_tokens
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(x, il, reshape=False)
        q, k = b.norm(q, "attn_q_norm", il), b.norm(k, "attn_k_norm", il)
        size, heads, heads_kv = hp.n_embd_head_k(il), hp.n_head(il), hp.n_head_kv(il)
        q = ops.rope(ops.reshape(q, size, heads, u), pos)
        k = ops.rope(ops.reshape(k, size, heads_kv, u), pos)
        cur = b.attn(q, k, ops.reshape(v, size, heads_kv, u), il, wo_bias=False)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        ffn_inp = ops.add(b.norm(cur, "post_attention_norm", il), x)
        cur = b.ffn(ffn_inp, il, scales=False)
        x = ops.add(b.norm(cur, "post_ffw_norm", il, pin_il=-1), ffn_inp)
    b.finish(b.head(x))
