"""SmallThinker: the router reads a block's input before attention.

Source: llama.cpp src/models/smallthinker.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import expert_gating, self_attention, use_swa
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams

N_SWA = 4096
NO_ROPE_STEP = 4


def _hparams(hp: HParams) -> None:
    if hp.integer("attention.sliding_window", 0):
        use_swa(hp, N_SWA, NO_ROPE_STEP, dense_first=True)


@architecture("smallthinker", hparams=_hparams, period=NO_ROPE_STEP)
def build_smallthinker(b: Builder) -> None:
    """Build the smallthinker graph."""
    hp = b.hp
    gating = expert_gating(hp)
    always_ropes = not hp.has_swa or hp.n_layer == NO_ROPE_STEP
    x = b.inp_embd()
    out_ids = b.inp_out_ids()
    attention = self_attention(
        b, b.inp_pos(), rope=lambda il: always_ropes or il % NO_ROPE_STEP != 0
    )
    for il in b.layers:
        residual = x
        logits = b.mm("ffn_gate_inp", x, il, scale=False)
        cur = attention(b.norm(x, "attn_norm", il), il)
        if b.is_last(il):
            cur, residual = ops.get_rows(cur, out_ids), ops.get_rows(residual, out_ids)
            logits = ops.get_rows(logits, out_ids)
        ffn_inp = ops.add(cur, residual)
        cur = b.moe(
            b.norm(ffn_inp, "ffn_norm", il),
            il,
            "relu",
            gating=gating,
            norm_w=True,
            probs_in=logits,
            gate_up=None,
            scales=False,
        )
        x = ops.add(cur, ffn_inp)
    b.finish(b.head(x))
