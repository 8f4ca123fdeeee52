"""MiniMax M2: queries and keys are normed over all heads at once.

Source: llama.cpp src/models/minimax-m2.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, expert_gating
from ggufctl.core.graphs.registry import architecture


@architecture("minimax-m2", ties_output=False)
def build_minimax_m2(b: Builder) -> None:
    """Build the minimax-m2 graph."""
    hp, u = b.hp, b.n_tokens
    pos = b.inp_pos()
    size = hp.n_embd_head_v()
    gating = expert_gating(hp)

    def attention(x: Tensor, il: int) -> Tensor:
        q, k, v = b.qkv(x, il, n_embd_head=size, reshape=False)
        q, k = b.norm(q, "attn_q_norm", il), b.norm(k, "attn_k_norm", il)
        q = ops.reshape(q, size, hp.n_head(il), u)
        k, v = (ops.reshape(t, size, hp.n_head_kv(il), u) for t in (k, v))
        return b.attn(ops.rope(q, pos), ops.rope(k, pos), v, il, wo_bias=False)

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        return b.moe(
            cur,
            il,
            gating=gating,
            norm_w=True,
            probs_b=b.bias("exp_probs_b", il),
            gate_up=None,
            scales=False,
        )

    b.finish(b.head(build_trunk(b, attention, feed_forward)))
