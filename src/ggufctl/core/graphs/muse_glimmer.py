"""Muse Glimmer: gated attention, rotation in sliding blocks only, norms around sublayers.

Source: llama.cpp src/models/muse-glimmer.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.ISWA
    hp.set_swa(hp.integer("attention.sliding_window", 0), 4)


@architecture("muse-glimmer", hparams=_hparams)
def build_muse_glimmer(b: Builder) -> None:
    """Build the muse-glimmer graph."""
    x = b.norm(b.inp_embd())
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        normed = b.norm(x, "attn_norm", il)
        q, k, v = b.qkv(normed, il)
        gate = b.mm("attn_gate", normed, il, scale=False)
        q, k = b.norm(q, "attn_q_norm", il), b.norm(k, "attn_k_norm", il)
        if b.hp.is_swa(il):
            q, k = ops.rope(q, pos), ops.rope(k, pos)
        cur = b.attn(q, k, v, il, wo=None)
        cur = b.mm("attn_output", ops.mul(cur, ops.unary(gate, "sigmoid")), il)
        cur = b.norm(cur, "post_attention_norm", il, pin_il=-1)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        ffn_inp = ops.add(cur, x)
        cur = b.ffn(b.norm(ffn_inp, "ffn_norm", il), il, scales=False)
        cur = b.norm(cur, "post_ffw_norm", il, pin_il=-1)
        x = ops.add(cur, ffn_inp)
    logits = ops.scale(b.head(x))
    if b.hp.number("final_logit_softcapping", 0.0):
        logits = ops.scale(ops.unary(ops.scale(logits), "tanh"))
    b.finish(logits)
