"""Laguna: attention gated per head or per element, heads that vary by block.

Source: llama.cpp src/models/laguna.cpp (pin in core/_pins.py).
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


def _hparams(hp: HParams) -> None:
    n_swa = hp.integer("attention.sliding_window", 0)
    if n_swa:
        use_swa(hp, n_swa, 4, dense_first=True)


@architecture("laguna", hparams=_hparams)
def build_laguna(b: Builder) -> None:
    """Build the laguna graph."""
    hp = b.hp
    gating = expert_gating(hp, "sigmoid")
    size = hp.n_embd_head_v()
    attend = self_attention(b, b.inp_pos(), qk_norm=QkNorm.BEFORE_ROPE, n_embd_head=size, wo=None)

    def attention(x: Tensor, il: int) -> Tensor:
        cur = attend(x, il)
        n_head, tokens = hp.n_head(il), cur.ne[1]
        gate = ops.unary(b.mm("attn_gate", x, il, scale=False), "softplus")
        if gate.ne[0] == n_head:
            cur = ops.reshape(cur, size, n_head, tokens)
            cur = ops.mul(cur, ops.reshape(gate, 1, n_head, tokens))
            cur = ops.reshape(cur, size * n_head, tokens)
        else:
            cur = ops.mul(cur, gate)
        return b.mm("attn_output", cur, il)

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if has_lead(hp, il):
            return b.ffn(cur, il, scales=False)
        return ops.add(header_experts(b, cur, il, gating=gating), shared_expert(b, cur, il))

    b.finish(b.head(build_trunk(b, attention, feed_forward)))
