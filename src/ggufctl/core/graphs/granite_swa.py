"""Granite with sliding windows and attention sinks.

Source: llama.cpp src/models/granite-swa.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.granite import add_deepstack, load_deepstack
from ggufctl.core.graphs.prenorm import build_trunk, longrope_factors, self_attention, use_swa
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    use_swa(hp, hp.integer("attention.sliding_window", 0))
    load_deepstack(hp)
    hp.block_marks = list(zip(hp.block_marks, _ropes(hp), strict=True))


def _ropes(hp: HParams) -> list[bool]:
    return hp.flags("attention.rope_pattern") or [True] * hp.n_layer_all


@architecture("granite_swa", hparams=_hparams)
def build_granite_swa(b: Builder) -> None:
    """Build the granite_swa graph; the shared expert's gate is part of its up projection."""
    ropes = _ropes(b.hp)
    has_shared = b.hp.integer("expert_shared_feed_forward_length", 0) > 0
    is_scaled = b.hp.number("residual_scale", 0.0) != 0.0

    def scaled(cur: Tensor, il: int) -> Tensor:
        return ops.scale(cur) if is_scaled else cur

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if not b.has("ffn_gate_inp", il):
            return scaled(b.ffn(cur, il, bias=True, scales=False), il)
        routed = b.moe(cur, il, norm_w=True, scales=False)
        if not has_shared:
            return scaled(routed, il)
        shared = b.ffn(
            cur,
            il,
            "swiglu",
            up="ffn_up_shexp",
            gate=None,
            down="ffn_down_shexp",
            parallel=False,
            scales=False,
        )
        return scaled(ops.add(routed, shared), il)

    attention = self_attention(
        b, b.inp_pos(), rope=lambda il: ropes[il], factors=longrope_factors, sinks=True
    )
    x = build_trunk(
        b,
        attention,
        feed_forward,
        before=lambda x, il: add_deepstack(b, x, il),
        after_attention=scaled,
    )
    b.finish(ops.scale(b.head(x)))
