"""Hunyuan V3: dense blocks or sigmoid-gated experts, as the tensors say.

Source: llama.cpp src/models/hy-v3.cpp (pin in core/_pins.py).
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
    loads_nextn_except,
    self_attention,
    shared_expert,
)
from ggufctl.core.graphs.registry import architecture

_loads = loads_nextn_except("attn_", "ffn_norm.", "nextn.eh_proj", "nextn.enorm", "nextn.hnorm")


def draft_hy_v3(b: Builder) -> None:
    """Build the graph of the nextn block."""
    il = b.layers[0]
    attention, feed_forward = _parts(b)
    x = mtp.fused_input(b, scale=False)
    residual = ops.add(attention(b.norm(x, "attn_norm", il), il), x)
    x = ops.add(feed_forward(b.norm(residual, "ffn_norm", il), il), residual)
    b.finish(mtp.head_logits(b, mtp.keep_wanted(b, mtp.head_norm(b, x))))


@architecture("hy_v3", loads=_loads, draft=draft_hy_v3)
def build_hy_v3(b: Builder) -> None:
    """Build the hy_v3 graph; all rows pass the last block and norm, for the nextn output."""
    attention, feed_forward = _parts(b)
    x = build_trunk(b, attention, feed_forward, crops=False)
    x = b.norm(x, "output_norm").as_output()
    b.embd = ops.get_rows(x, b.inp_out_ids())
    b.finish(b.mm_output(b.embd))


def _parts(b: Builder) -> tuple[Block, Block]:
    """Attention and feed-forward of a block."""
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
    return attention, feed_forward
