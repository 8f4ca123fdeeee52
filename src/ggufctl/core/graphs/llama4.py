"""Llama 4: chunked attention in three of four blocks, the fourth without rope.

Source: llama.cpp src/models/llama4.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, shared_expert, use_swa
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams

CHUNK = 8192
"""Tokens of one attention chunk."""

NO_ROPE_STEP = 4
N_EXPERT_MAVERICK = 128
"""Experts of the one size whose queries and keys are not normed."""


def _hparams(hp: HParams) -> None:
    if hp.key("attention.sliding_window") != 0:
        use_swa(hp, CHUNK, NO_ROPE_STEP)


@architecture("llama4", hparams=_hparams, period=NO_ROPE_STEP)
def build_llama4(b: Builder) -> None:
    """Build the llama4 graph; weights of the experts are applied to their input."""
    hp = b.hp
    pos = b.inp_pos()
    temperature = b.inp_attn_scale()
    no_rope_step = NO_ROPE_STEP if hp.has_swa else hp.n_layer
    norms_qk = hp.n_expert != N_EXPERT_MAVERICK

    def attention(cur: Tensor, il: int) -> Tensor:
        q, k, v = b.qkv(cur, il)
        if (il + 1) % no_rope_step:
            factors = b.rope_factors(il)
            q, k = ops.rope(q, pos, factors), ops.rope(k, pos, factors)
            if norms_qk:
                q, k = ops.rms_norm(q), ops.rms_norm(k)
        else:
            q = ops.mul(q, temperature)
        return b.attn(q, k, v, il)

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if not b.has("ffn_gate_inp", il):
            return b.ffn(cur, il, bias=True, scales=False)
        routed = b.moe(
            cur,
            il,
            gating="sigmoid",
            gate_up=None,
            weight_before_ffn=True,
            scales=False,
            select_from=lambda logits: logits,
        )
        return ops.add(routed, shared_expert(b, cur, il))

    b.finish(b.head(build_trunk(b, attention, feed_forward)))
