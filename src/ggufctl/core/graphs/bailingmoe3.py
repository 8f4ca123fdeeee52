"""Ling 3: delta attention with gated latent attention in between, mixture of experts.

Source: llama.cpp src/models/bailingmoe3.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs import mtp
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.kda import kda
from ggufctl.core.graphs.kimi_linear import absorbed_query_key_value, set_kda_mla
from ggufctl.core.graphs.prenorm import (
    has_lead,
    header_experts,
    per_block_numbers,
    shared_expert,
)
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    set_kda_mla(hp)
    hp.is_mrope = hp.uses_mrope
    # The block of the draft head gets a cache in the main context too.
    hp.attn_layers = [il for il in range(hp.n_layer_all) if not hp.is_recr(il)]
    hp.swiglu_clamp_exp = per_block_numbers(hp, "swiglu_clamp_exp")
    hp.swiglu_clamp_shexp = per_block_numbers(hp, "swiglu_clamp_shexp")


def draft_bailingmoe3(b: Builder) -> None:
    """Build the graph of the nextn block: gated latent attention and experts."""
    il = b.layers[0]
    x = mtp.fused_input(b, scale=False)
    residual = ops.add(_attention(b, b.norm(x, "attn_norm", il), b.inp_pos(), il), x)
    cur = b.norm(residual, "ffn_norm", il)
    x = ops.add(ops.add(header_experts(b, cur, il), shared_expert(b, cur, il)), residual)
    x = mtp.keep_wanted(b, b.norm(x, b.need("layer_output_norm", il)))
    b.finish(ops.mul_mat(b.output_weight(), x))


@architecture("bailingmoe3", hparams=_hparams, draft=draft_bailingmoe3, rolls_back=True)
def build_bailingmoe3(b: Builder) -> None:
    """Build the bailingmoe3 graph."""
    x = b.inp_embd()
    recurrent = b.recurrent_input()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        cur = b.norm(x, "attn_norm", il)
        if b.hp.is_recr(il):
            cur = kda(b, cur, recurrent, il, full_gate=False, decay=_decay)
        else:
            cur = _attention(b, cur, pos, il)
        residual = ops.add(cur, x)
        cur = b.norm(residual, "ffn_norm", il)
        if has_lead(b.hp, il):
            cur = b.ffn(cur, il, scales=False)
        else:
            cur = ops.add(header_experts(b, cur, il), shared_expert(b, cur, il))
        x = ops.add(cur, residual)
    # The draft head reads the normed rows of all tokens.
    b.embd = ops.get_rows(b.norm(x, "output_norm").as_output(), out_ids)
    b.finish(ops.mul_mat(b.output_weight(), b.embd))


def _decay(b: Builder, x: Tensor, il: int) -> Tensor:
    """Decay per channel, bounded."""
    hp = b.hp
    gate = ops.add(ops.mul_mat(b.need("ssm_f_a", il), x), b.need("ssm_dt", il, "bias"))
    gate = ops.reshape(gate, hp.n_embd_head_kda, hp.n_head(), b.n_tokens)
    gate = ops.mul(gate, ops.reshape(b.need("ssm_a", il, ""), 1, hp.n_head(), 1))
    return ops.scale(ops.unary(gate, "sigmoid"))


def _attention(b: Builder, x: Tensor, pos: Tensor, il: int) -> Tensor:
    hp, u, n_head = b.hp, b.n_tokens, b.hp.n_head()
    size_v = hp.integer("attention.value_length_mla", 0)
    if b.has("attn_q_a", il):
        q = b.norm(ops.mul_mat(b.need("attn_q_a", il), x), "attn_q_a_norm", il)
        q = ops.mul_mat(b.need("attn_q_b", il), q)
    else:
        q = ops.mul_mat(b.need("attn_q", il), x)
    q, k, v = absorbed_query_key_value(b, x, q, pos, il)
    cur = b.attn_k(q, k, v, il, v_mla=b.need("attn_v_b", il), wo=None)
    gate = ops.reshape(ops.mul_mat(b.need("attn_gate", il), x), 1, n_head, u)
    cur = ops.mul(ops.reshape(cur, size_v, n_head, u), ops.unary(gate, "sigmoid"))
    return ops.mul_mat(b.need("attn_output", il), ops.cont(cur, size_v * n_head, u))
