"""GroveMoE: groups of experts share a smaller one, applied to the routed output.

Source: llama.cpp src/models/grovemoe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import QkNorm, build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("grovemoe")
def build_grovemoe(b: Builder) -> None:
    """Build the grovemoe graph."""
    hp = b.hp
    n_groups = hp.n_expert // hp.integer("experts_per_group", 1, low=1)

    def select_from(logits: Tensor) -> Tensor:
        return ops.unary(logits, "sigmoid")

    def to_groups(ids: Tensor, probs: Tensor) -> tuple[Tensor, Tensor]:
        ids = ops.cast(ops.scale(ops.cast(ids, "f32")), "i32")
        return ids, ops.reshape(probs, 1, hp.n_expert, probs.ne[1])

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        logits = b.mm("ffn_gate_inp", cur, il, scale=False)
        routed = b.moe(
            cur,
            il,
            norm_w=True,
            probs_in=logits,
            gate_up=None,
            scales=False,
            select_from=select_from,
        )
        grouped = b.moe(
            routed,
            il,
            norm_w=True,
            n_expert=n_groups,
            n_used=min(hp.n_expert_used, n_groups),
            up="ffn_up_chexps",
            gate="ffn_gate_chexps",
            down="ffn_down_chexps",
            gate_up=None,
            probs_in=logits,
            scales=False,
            select_from=select_from,
            remap=to_groups if n_groups != hp.n_expert else None,
        )
        return ops.add(routed, ops.scale(grouped))

    attention = self_attention(b, b.inp_pos(), qk_norm=QkNorm.BEFORE_ROPE)
    b.finish(b.head(build_trunk(b, attention, feed_forward)))
