"""AFM mixture of experts (Trinity): gated attention, norms after each part.

Source: llama.cpp src/models/afmoe.cpp (pin in core/_pins.py).
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
    use_swa,
)
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams

NO_ROPE_STEP = 4


def _hparams(hp: HParams) -> None:
    n_swa = hp.integer("attention.sliding_window", 0)
    if n_swa:
        use_swa(hp, n_swa, 4)


@architecture("afmoe", hparams=_hparams, period=NO_ROPE_STEP)
def build_afmoe(b: Builder) -> None:
    """Build the afmoe graph."""
    hp = b.hp
    gating = expert_gating(hp, "sigmoid")
    has_shared = hp.integer("expert_shared_count", 0) > 0
    attend = self_attention(
        b,
        b.inp_pos(),
        qk_norm=QkNorm.BEFORE_ROPE,
        rope=lambda il: (il + 1) % NO_ROPE_STEP != 0,
        wo=None,
    )

    def attention(x: Tensor, il: int) -> Tensor:
        cur = attend(x, il)
        gate = ops.unary(b.mm("attn_gate", x, il, scale=False), "sigmoid")
        cur = b.mm("attn_output", ops.mul(cur, gate), il)
        return b.norm(cur, "post_attention_norm", il)

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if has_lead(hp, il):
            cur = b.ffn(cur, il, scales=False)
        else:
            routed = header_experts(b, cur, il, gating=gating)
            cur = ops.add(routed, shared_expert(b, cur, il)) if has_shared else routed
        return b.norm(cur, "post_ffw_norm", il)

    x = build_trunk(b, attention, feed_forward, x=ops.scale(b.inp_embd()))
    b.finish(b.head(x))
