"""Jamba: Mamba blocks with attention in between, dense or mixture of experts.

Source: llama.cpp src/models/jamba.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.mamba_blocks import mamba, set_hybrid
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    set_hybrid(hp)
    hp.ssm_n_group = 0


@architecture("jamba", hparams=_hparams)
def build_jamba(b: Builder) -> None:
    """Build the jamba graph, whose attention has no positions."""
    hp = b.hp
    scale = hp.number("expert_weights_scale", 0.0)
    x = b.inp_embd()
    recurrent = b.recurrent_input()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        cur = b.norm(x, "attn_norm", il)
        if hp.n_head_kv(il) == 0:
            cur = mamba(b, cur, recurrent, il)
        else:
            q, k, v = b.qkv(cur, il)
            cur = b.attn(q, k, v, il, wo_bias=False)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        ffn_inp = ops.add(x, cur)
        cur = b.norm(ffn_inp, "ffn_norm", il)
        if b.has("ffn_gate_inp", il):
            cur = b.moe(cur, il, w_scale=scale, gate_up=None, scales=False)
        else:
            cur = b.ffn(cur, il, scales=False)
        x = ops.add(ffn_inp, cur)
    b.finish(b.head(x))
