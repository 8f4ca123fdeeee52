"""Hunyuan V3: dense blocks or sigmoid-gated experts, as the tensors say.

Source: llama.cpp src/models/hy-v3.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import (
    QkNorm,
    build_trunk,
    expert_gating,
    loads_nextn_except,
    self_attention,
    shared_expert,
)
from ggufctl.core.graphs.registry import architecture

_loads = loads_nextn_except("attn_", "ffn_norm.", "nextn.eh_proj", "nextn.enorm", "nextn.hnorm")


@architecture("hy_v3", loads=_loads)
def build_hy_v3(b: Builder) -> None:
    """Build the hy_v3 graph; all rows pass the last block and norm, for the nextn output."""
    hp = b.hp
    gating = expert_gating(hp, "sigmoid")

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if not b.has("ffn_gate_inp", il):
            return b.ffn(cur, il, bias=True)
        routed = b.moe(
            cur,
            il,
            gating=gating,
            norm_w=bool(hp.key("expert_weights_norm", False)),
            w_scale=hp.number("expert_weights_scale", 0.0),
            probs_b=b.w("exp_probs_b", il, ""),
        )
        return ops.add(routed, shared_expert(b, cur, il, scales=True))

    attention = self_attention(
        b, b.inp_pos(), qk_norm=QkNorm.BEFORE_ROPE, factors=Builder.rope_factors
    )
    x = build_trunk(b, attention, feed_forward, crops=False)
    x = b.norm(x, "output_norm").as_output()
    b.embd = ops.get_rows(x, b.inp_out_ids())
    b.finish(b.mm_output(b.embd))
