"""EAGLE-3 drafts: one block over a token's embedding and the target's hidden state.

Source: llama.cpp src/models/eagle3.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs import draft
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture


@architecture("eagle3", ties_output=False, mixed_batch=False, has_encoder=True)
def build_eagle3(b: Builder) -> None:
    """Build the decoder of the eagle3 graph; every token has its logits."""
    hp, u, il = b.hp, b.n_tokens, 0
    head, n_head, n_kv_head = hp.n_embd_head_v(), hp.n_head(), hp.n_head_kv()
    tokens = b.input("i32", u, name="inp_tokens")
    hidden = b.input("f32", hp.n_embd, u, name="inp_embd")
    embd = ops.get_rows(draft.token_table(b), tokens)
    pos = b.inp_pos()
    embd = b.norm(embd, "attn_norm", il)
    normed = b.norm(hidden, "attn_norm_2", il, pin_il=-1)
    residual = normed if hp.key("norm_before_residual", False) else hidden
    cur = ops.concat(embd, normed)
    q, k, v = (b.mm(name, cur, il, scale=False) for name in ("attn_q", "attn_k", "attn_v"))
    q = ops.reshape(q, head, n_head, u)
    k, v = (ops.reshape(t, head, n_kv_head, u) for t in (k, v))
    factors = b.rope_factors(il)
    q, k = ops.rope(q, pos, factors), ops.rope(k, pos, factors)
    cur = b.mm("attn_output", b.attn(q, k, v, il, wo=None), il, scale=False)
    ffn_inp = ops.add(cur, residual)
    cur = b.ffn(b.norm(ffn_inp, "ffn_norm", il), il, scales=False)
    cur = ops.add(cur, ffn_inp).as_output()
    cur = b.mm(draft.output_weight(b), b.norm(cur, "output_norm"))
    b.finish(draft.widen(b, cur, b.w("d2t", None, "")))
