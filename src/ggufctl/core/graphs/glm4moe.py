"""GLM 4 mixture of experts.

Source: llama.cpp src/models/glm4-moe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import (
    QkNorm,
    build_trunk,
    expert_gating,
    has_lead,
    header_experts,
    self_attention,
    shared_expert,
)
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    hp.is_mrope = hp.uses_mrope


@architecture("glm4moe", hparams=_hparams)
def build_glm4moe(b: Builder) -> None:
    """Build the glm4moe graph."""
    gating = expert_gating(b.hp, "sigmoid")

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if has_lead(b.hp, il):
            return b.ffn(cur, il, scales=False)
        return ops.add(header_experts(b, cur, il, gating=gating), shared_expert(b, cur, il))

    attention = self_attention(b, b.inp_pos(), qk_norm=QkNorm.BEFORE_ROPE, wo_bias=False)
    b.finish(b.head(build_trunk(b, attention, feed_forward, ffn_norm="post_attention_norm")))
