"""EXAONE 4: norms only after attention and feed-forward; the 32B model slides.

Source: llama.cpp src/models/exaone4.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import QkNorm, self_attention, use_swa
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams

N_LAYER_32B = 64
N_SWA = 4096


def _hparams(hp: HParams) -> None:
    if hp.n_layer == N_LAYER_32B:
        use_swa(hp, hp.integer("attention.sliding_window", N_SWA), 4)


@architecture("exaone4", hparams=_hparams)
def build_exaone4(b: Builder) -> None:
    """Build the exaone4 graph; dense blocks of a sliding model do not rotate."""
    hp = b.hp
    x = b.inp_embd()
    out_ids = b.inp_out_ids()
    attention = self_attention(
        b,
        b.inp_pos(),
        qk_norm=QkNorm.BEFORE_ROPE,
        rope=lambda il: hp.is_swa(il) or not hp.has_swa,
        factors=Builder.rope_factors,
        n_embd_head=hp.n_embd_head_k(),
        wo_bias=False,
    )
    for il in b.layers:
        residual = x
        cur = attention(x, il)
        if b.is_last(il):
            cur, residual = ops.get_rows(cur, out_ids), ops.get_rows(residual, out_ids)
        ffn_inp = ops.add(b.norm(cur, "post_attention_norm", il), residual)
        cur = b.ffn(ffn_inp, il, scales=False)
        x = ops.add(b.norm(cur, "post_ffw_norm", il, pin_il=-1), ffn_inp)
    b.finish(b.head(x))
