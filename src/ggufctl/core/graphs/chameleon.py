"""Chameleon: layer-normed queries and keys, norms after the sublayers in the large one.

Source: llama.cpp src/models/chameleon.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture

N_IMAGE_TOKENS = 8192
"""Vocabulary entries for image tokens, whose logits are overwritten."""


@architecture("chameleon")
def build_chameleon(b: Builder) -> None:
    """Build the chameleon graph."""
    swin_norm = bool(b.hp.key("swin_norm", False))
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        cur = x if swin_norm else b.norm(x, "attn_norm", il)
        q, k, v = b.qkv(cur, il)
        q = ops.rope(_norm_heads(b, q, "attn_q_norm", il), pos)
        k = ops.rope(_norm_heads(b, k, "attn_k_norm", il), pos)
        cur = b.attn(q, k, v, il, wo_bias=False)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        if swin_norm:
            cur = b.norm(cur, "attn_norm", il)
        ffn_inp = ops.add(cur, x)
        if not swin_norm:
            cur = b.norm(ffn_inp, "ffn_norm", il)
        cur = b.ffn(cur, il, scales=False)  # with swin_norm llama.cpp leaves the residual out
        if swin_norm:
            cur = b.norm(cur, "ffn_norm", il)
        x = ops.add(cur, ffn_inp)
    suppressed = ops.clamp(ops.new_tensor("f32", N_IMAGE_TOKENS, name="img_logits"))
    b.finish(ops.set_into(b.head(x), suppressed))


def _norm_heads(b: Builder, x: Tensor, norm: str, il: int) -> Tensor:
    return b.norm(x, norm, il, kind="layer", bias=True) if b.has(norm, il) else x
