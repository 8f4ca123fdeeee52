"""Command R7B (cohere2): rope on sliding blocks only, scaled logits.

Source: llama.cpp src/models/cohere2.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.ISWA
    hp.set_swa(hp.integer("attention.sliding_window", 0), 4)


@architecture("cohere2", hparams=_hparams)
def build_cohere2(b: Builder) -> None:
    """Build the cohere2 graph."""
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        normed = b.norm(x, "attn_norm", il, kind="layer")
        q, k, v = b.qkv(normed, il)
        if b.hp.is_swa(il):
            q, k = ops.rope(q, pos), ops.rope(k, pos)
        attn = b.attn(q, k, v, il)
        if b.is_last(il):
            attn, x = ops.get_rows(attn, out_ids), ops.get_rows(x, out_ids)
            normed = ops.get_rows(normed, out_ids)
        cur = b.ffn(normed, il)
        x = ops.add(ops.add(cur, x), attn)
    logits = b.head(x, kind="layer")
    b.finish(ops.scale(logits) if b.hp.number("logit_scale", 0.0) else logits)
