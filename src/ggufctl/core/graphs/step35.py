"""Step 3.5: attention gated per head, clamped experts.

Source: llama.cpp src/models/step35.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs import mtp
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import (
    Block,
    build_trunk,
    expert_gating,
    header_experts,
    loads_nextn_except,
    longrope_factors,
    per_block_numbers,
    shared_expert,
    use_swa,
)
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    use_swa(hp, hp.integer("attention.sliding_window", 0))
    hp.swiglu_clamp_exp = per_block_numbers(hp, "swiglu_clamp_exp")
    hp.swiglu_clamp_shexp = per_block_numbers(hp, "swiglu_clamp_shexp")
    hp.rope_layers = list(range(hp.n_layer_all))


_loads = loads_nextn_except(
    "attn_norm.",
    "attn_q.",
    "attn_k.",
    "attn_v.",
    "attn_qkv.",
    "attn_output.",
    "ffn_norm.",
    "nextn.eh_proj",
    "nextn.enorm",
    "nextn.hnorm",
)


def draft_step35(b: Builder) -> None:
    """Build the graph of a nextn block; each drafts one more token."""
    il, pos = b.layers[0], b.inp_pos()
    x = mtp.fused_input(b, scale=False)
    residual = ops.add(_attention(b, b.norm(x, "attn_norm", il), pos, il), x)
    x = ops.add(_feed_forward(b)(b.norm(residual, "ffn_norm", il), il), residual)
    x = ops.get_rows(x, b.inp_out_ids()).as_output()
    b.finish(mtp.head_logits(b, mtp.head_norm(b, x)))


@architecture("step35", hparams=_hparams, loads=_loads, ties_output=False, draft=draft_step35)
def build_step35(b: Builder) -> None:
    """Build the step35 graph; all rows pass the last block, for the nextn output."""
    pos = b.inp_pos()
    x = build_trunk(b, lambda x, il: _attention(b, x, pos, il), _feed_forward(b), crops=False)
    x = ops.get_rows(x.as_output(), b.inp_out_ids())
    b.finish(b.head(x))


def _feed_forward(b: Builder) -> Block:
    gating = expert_gating(b.hp, "sigmoid")

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if not b.has("ffn_gate_inp", il):
            return b.ffn(cur, il, bias=True, scales=False)
        return ops.add(header_experts(b, cur, il, gating=gating), shared_expert(b, cur, il))

    return feed_forward


def _attention(b: Builder, x: Tensor, pos: Tensor, il: int) -> Tensor:
    hp, u = b.hp, b.n_tokens
    head_k, head_v = hp.n_embd_head_k(), hp.n_embd_head_v()
    n_head, n_head_kv = hp.n_head(il), hp.n_head_kv(il)
    q, k, v = b.qkv(x, il, n_embd_head=head_k, n_embd_head_v=head_v, reshape=False)
    q = ops.reshape(q, head_k, n_head, u)
    k, v = ops.reshape(k, head_k, n_head_kv, u), ops.reshape(v, head_v, n_head_kv, u)
    if b.has("attn_q_norm", il):
        q = b.norm(q, "attn_q_norm", il)
    if b.has("attn_k_norm", il):
        k = b.norm(k, "attn_k_norm", il)
    factors = None if hp.is_swa(il) else longrope_factors(b, il)
    cur = b.attn(ops.rope(q, pos, factors), ops.rope(k, pos, factors), v, il, wo=None)
    if b.has("attn_gate", il):
        gate = ops.unary(b.mm("attn_gate", x, il, scale=False), "sigmoid")
        cur = ops.reshape(cur, head_v, n_head, u)
        cur = ops.mul(cur, ops.reshape(gate, 1, n_head, u))
        cur = ops.reshape(cur, head_v * n_head, u)
    return b.mm("attn_output", cur, il)
