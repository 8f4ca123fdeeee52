"""Qwen2 mixture of experts: a shared expert behind a gate of its own.

Source: llama.cpp src/models/qwen2moe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention, shared_expert
from ggufctl.core.graphs.registry import architecture


@architecture("qwen2moe", ties_output=False)
def build_qwen2moe(b: Builder) -> None:
    """Build the qwen2moe graph."""

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        routed = b.moe(cur, il, scales=False)
        logit = b.mm("ffn_gate_inp_shexp", cur, il, scale=False)
        gate = ops.div(ops.unary(logit, "silu"), logit)
        return ops.add(routed, ops.mul(shared_expert(b, cur, il), gate))

    x = build_trunk(b, self_attention(b, b.inp_pos()), feed_forward)
    b.finish(b.head(x))
