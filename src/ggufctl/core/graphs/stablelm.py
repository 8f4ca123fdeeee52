"""StableLM: layer norms; the 12B runs attention and feed-forward side by side.

Source: llama.cpp src/models/stablelm.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture


@architecture("stablelm")
def build_stablelm(b: Builder) -> None:
    """Build the stablelm graph."""
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        normed = b.norm(x, "attn_norm", il, kind="layer", bias=True)
        q, k, v = b.qkv(normed, il)
        q = ops.rope(_norm_heads(b, q, "attn_q_norm", il), pos)
        k = ops.rope(_norm_heads(b, k, "attn_k_norm", il), pos)
        cur = b.attn(q, k, v, il, wo_bias=False)
        if b.is_last(il):
            cur, x, normed = (ops.get_rows(t, out_ids) for t in (cur, x, normed))
        ffn_inp = ops.add(cur, x)
        cur = normed
        if b.has("ffn_norm", il):
            cur = b.norm(ffn_inp, "ffn_norm", il, kind="layer", bias=True)
        x = ops.add(b.ffn(cur, il, scales=False), ffn_inp)
    b.finish(b.head(x, kind="layer", bias=True))


def _norm_heads(b: Builder, x: Tensor, norm: str, il: int) -> Tensor:
    return b.norm(x, norm, il, kind="layer") if b.has(norm, il) else x
