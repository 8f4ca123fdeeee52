"""GLM 4 mixture of experts.

Source: llama.cpp src/models/glm4-moe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs import mtp
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import (
    Block,
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


def draft_glm4moe(b: Builder) -> None:
    """Build the graph of the nextn block."""
    il = b.layers[0]
    attention, feed_forward = _parts(b)
    x = mtp.fused_input(b)
    residual = ops.add(attention(b.norm(x, "attn_norm", il), il), x)
    cur = feed_forward(b.norm(residual, "post_attention_norm", il), il)
    x = mtp.head_norm(b, ops.add(cur, residual))
    b.finish(mtp.head_logits(b, mtp.keep_wanted(b, x)))


@architecture("glm4moe", hparams=_hparams, draft=draft_glm4moe)
def build_glm4moe(b: Builder) -> None:
    """Build the glm4moe graph."""
    attention, feed_forward = _parts(b)
    x = build_trunk(
        b, attention, feed_forward, ffn_norm="post_attention_norm", crops=not b.hands_over
    )
    b.finish(mtp.trunk_head(b, x))


def _parts(b: Builder) -> tuple[Block, Block]:
    """Attention and feed-forward of a block."""
    gating = expert_gating(b.hp, "sigmoid")

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if has_lead(b.hp, il):
            return b.ffn(cur, il, scales=False)
        return ops.add(header_experts(b, cur, il, gating=gating), shared_expert(b, cur, il))

    return self_attention(b, b.inp_pos(), qk_norm=QkNorm.BEFORE_ROPE, wo_bias=False), feed_forward
