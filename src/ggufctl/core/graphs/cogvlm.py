"""CogVLM: the language half, whose other weights serve image tokens.

Source: llama.cpp src/models/cogvlm.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture


@architecture("cogvlm", mixed_batch=False)
def build_cogvlm(b: Builder) -> None:
    """Build the cogvlm graph of a batch of tokens."""
    hp, u = b.hp, b.n_tokens
    x = b.inp_embd()
    pos = b.inp_pos()
    for il in b.layers:
        qkv = b.mm("attn_qkv", b.norm(x, "attn_norm", il), il, scale=False)
        size, heads, heads_kv = hp.n_embd_head_k(il), hp.n_head(il), hp.n_head_kv(il)
        nb, step = (4 * size, qkv.nb[1]), hp.n_embd * qkv.nb[0]
        q = ops.view(qkv, (size, heads, u), nb)
        k = ops.view(qkv, (size, heads_kv, u), nb, step)
        v = ops.view(qkv, (size, heads_kv, u), nb, 2 * step)
        q, k = ops.rope(q, pos), ops.rope(k, pos)
        ffn_inp = ops.add(b.attn(q, k, v, il, wo_bias=False), x)
        cur = b.ffn(b.norm(ffn_inp, "ffn_norm", il), il, scales=False)
        x = ops.add(cur, ffn_inp)
    # No row is dropped: the graph computes the logits of every token.
    b.finish(b.head(x))
