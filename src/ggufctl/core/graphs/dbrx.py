"""DBRX: layer norms, experts in every block.

Source: llama.cpp src/models/dbrx.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    hp.clamp_kqv = hp.number("attention.clamp_kqv", 0.0)


@architecture("dbrx", hparams=_hparams, ties_output=False)
def build_dbrx(b: Builder) -> None:
    """Build the dbrx graph."""
    scale = b.hp.number("expert_weights_scale", 0.0)
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(b.norm(x, "attn_norm", il, kind="layer"), il)
        q, k = ops.rope(q, pos), ops.rope(k, pos)
        cur = b.attn(q, k, v, il, wo_bias=False)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        ffn_inp = ops.add(cur, x)
        cur = b.norm(ffn_inp, "attn_output_norm", il, kind="layer")
        cur = b.moe(cur, il, norm_w=True, w_scale=scale, gate_up=None, scales=False)
        x = ops.add(cur, ffn_inp)
    b.finish(b.head(x, kind="layer"))
