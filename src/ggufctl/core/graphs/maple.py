"""Maple: sliding blocks rotate, dense ones do not; clamped experts.

Source: llama.cpp src/models/maple.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import (
    QkNorm,
    build_trunk,
    per_block_numbers,
    self_attention,
    use_swa,
)
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    use_swa(hp, hp.integer("attention.sliding_window", 0))
    hp.swiglu_clamp_exp = per_block_numbers(hp, "swiglu_clamp_exp")


@architecture("maple", hparams=_hparams, ties_output=False)
def build_maple(b: Builder) -> None:
    """Build the maple graph."""

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        return b.moe(cur, il, norm_w=True, gate_up=None, scales=False, clamp_glu=True)

    attention = self_attention(
        b,
        b.inp_pos(),
        qk_norm=QkNorm.BEFORE_ROPE,
        rope=b.hp.is_swa,
        n_embd_head=b.hp.n_embd_head_k(),
        wo_bias=False,
    )
    b.finish(b.head(build_trunk(b, attention, feed_forward)))
