"""Gemma 2: every other block slides, norms around attention and feed-forward, soft-caps.

Source: llama.cpp src/models/gemma2.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory

DEFAULT_N_SWA = 4096


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.ISWA
    hp.attn_soft_cap = True
    hp.set_swa(hp.integer("attention.sliding_window", DEFAULT_N_SWA), 2)


@architecture("gemma2", hparams=_hparams)
def build_gemma2(b: Builder) -> None:
    """Build the gemma2 graph."""
    x = ops.scale(b.inp_embd())
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(b.norm(x, "attn_norm", il), il)
        q, k = ops.rope(q, pos), ops.rope(k, pos)
        cur = b.attn(ops.scale(q), k, v, il, wo_bias=False, soft_caps=1)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        cur = b.norm(cur, "post_attention_norm", il)
        sa_out = ops.add(cur, x)
        cur = b.norm(sa_out, "ffn_norm", il)
        cur = b.ffn(cur, il, "gelu", scales=False)
        cur = b.norm(cur, "post_ffw_norm", il, pin_il=-1)
        x = ops.add(cur, sa_out)
    logits = ops.scale(b.head(x))
    b.finish(ops.scale(ops.unary(logits, "tanh")))
