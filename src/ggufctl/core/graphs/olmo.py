"""OLMo: norms without weights.

Source: llama.cpp src/models/olmo.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    hp.clamp_kqv = hp.number("attention.clamp_kqv", 0.0)


@architecture("olmo", hparams=_hparams)
def build_olmo(b: Builder) -> None:
    """Build the olmo graph."""
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(ops.norm(x), il)
        q, k = ops.rope(q, pos), ops.rope(k, pos)
        cur = b.attn(q, k, v, il, wo_bias=False)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        ffn_inp = ops.add(cur, x)
        x = ops.add(b.ffn(ops.norm(ffn_inp), il, scales=False), ffn_inp)
    x = ops.norm(x)
    b.embd = x
    b.finish(b.mm_output(x))
