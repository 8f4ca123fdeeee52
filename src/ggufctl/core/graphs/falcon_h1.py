"""Falcon-H1: attention and Mamba-2 side by side in every block.

Source: llama.cpp src/models/falcon-h1.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.mamba_blocks import mamba2
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.HYBRID
    hp.is_recr_arr = [True] * hp.n_layer_all
    hp.attn_layers = list(range(hp.n_layer_all))
    hp.recr_layers = list(range(hp.n_layer))


@architecture("falcon-h1", hparams=_hparams)
def build_falcon_h1(b: Builder) -> None:
    """Build the falcon-h1 graph."""
    x = b.inp_embd()
    pos = b.inp_pos()
    recurrent = b.recurrent_input()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(b.norm(x, "attn_norm", il), il)
        q, k = ops.rope(q, pos), ops.rope(k, pos)
        attended = b.attn(q, k, v, il, wo_bias=False)
        scanned = mamba2(b, b.norm(x, "attn_norm", il), recurrent, il)
        x = ops.add(ops.add(attended, scanned), x)
        if b.is_last(il):
            x = ops.get_rows(x, out_ids)
        norm = b.w("ffn_norm", il) or b.need("ffn_norm", il, "")
        cur = b.ffn(b.norm(x, norm, il), il, bias=True, scales=False)
        x = ops.add(cur, x)
    b.finish(b.head(x))
