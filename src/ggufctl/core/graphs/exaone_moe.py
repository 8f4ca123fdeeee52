"""EXAONE mixture of experts: sliding blocks rotate, dense ones do not.

Source: llama.cpp src/models/exaone-moe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import (
    QkNorm,
    build_trunk,
    header_experts,
    self_attention,
    shared_expert,
    use_swa,
)
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    use_swa(hp, hp.integer("attention.sliding_window", 0), 4)


@architecture("exaone-moe", hparams=_hparams, ties_output=False)
def build_exaone_moe(b: Builder) -> None:
    """Build the exaone-moe graph."""

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if not b.has("ffn_gate_inp", il):
            return b.ffn(cur, il, scales=False)
        return ops.add(header_experts(b, cur, il), shared_expert(b, cur, il))

    attention = self_attention(
        b,
        b.inp_pos(),
        qk_norm=QkNorm.BEFORE_ROPE,
        rope=b.hp.is_swa,
        factors=Builder.rope_factors,
        n_embd_head=b.hp.n_embd_head_k(),
        wo_bias=False,
    )
    b.finish(b.head(build_trunk(b, attention, feed_forward)))
