"""Cohere 2 MoE: cohere2 with experts after its leading dense blocks.

Source: llama.cpp src/models/cohere2moe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs import mtp
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import expert_gating, longrope_factors
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.ISWA
    hp.set_swa(hp.integer("attention.sliding_window", 0), 4, dense_first=True)


def draft_cohere2moe(b: Builder) -> None:
    """Build the graph of the nextn block, which rotates and has experts always."""
    hp, il, pos = b.hp, b.layers[0], b.inp_pos()
    kind = _norm_kind(hp)
    x = mtp.fused_input(b, kind=kind)
    normed = b.norm(x, "attn_norm", il, kind=kind)
    q, k, v = b.qkv(normed, il)
    factors = longrope_factors(b, il)
    attn = b.attn(ops.rope(q, pos, factors), ops.rope(k, pos, factors), v, il)
    x = ops.add(ops.add(_feed_forward(b, normed, il), x), attn)
    x = mtp.keep_wanted(b, mtp.head_norm(b, x, kind=kind))
    logits = mtp.head_logits(b, x)
    b.finish(ops.scale(logits) if hp.number("logit_scale", 0.0) else logits)


@architecture("cohere2moe", hparams=_hparams, draft=draft_cohere2moe)
def build_cohere2moe(b: Builder) -> None:
    """Build the cohere2moe graph."""
    hp = b.hp
    n_dense = hp.integer("leading_dense_block_count", 0)
    kind = _norm_kind(hp)
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        normed = b.norm(x, "attn_norm", il, kind=kind)
        q, k, v = b.qkv(normed, il)
        if hp.is_swa(il) or il < n_dense:
            q, k = ops.rope(q, pos), ops.rope(k, pos)
        attn = b.attn(q, k, v, il)
        x = ops.add(ops.add(_feed_forward(b, normed, il), x), attn)
    # All rows are kept to here: the MTP head reads the normed state of every token.
    x = b.norm(x, "output_norm", kind=kind).as_output()
    x = ops.get_rows(x, out_ids)
    b.embd = x
    logits = b.mm(b.output_weight(), x)
    b.finish(ops.scale(logits) if hp.number("logit_scale", 0.0) else logits)


def _norm_kind(hp: HParams) -> str:
    return "rms" if hp.number("attention.layer_norm_rms_epsilon", 0.0) else "layer"


def _feed_forward(b: Builder, x: Tensor, il: int) -> Tensor:
    hp = b.hp
    if not b.has("ffn_gate_inp", il):
        return b.ffn(x, il)
    cur = b.moe(
        x,
        il,
        gating=expert_gating(hp, "sigmoid"),
        norm_w=bool(hp.key("expert_weights_norm", False)),
        w_scale=hp.number("expert_weights_scale", 0.0),
    )
    if not b.has("ffn_up_shexp", il):
        return cur
    shared = b.ffn(x, il, up="ffn_up_shexp", gate="ffn_gate_shexp", down="ffn_down_shexp")
    return ops.scale(ops.add(cur, shared))
