"""Qwen3.5: gated delta nets with gated attention in every fourth block.

Source: llama.cpp src/models/qwen35.cpp, qwen35moe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs import delta_net, mtp
from ggufctl.core.graphs.builder import Builder, RecurrentInput
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    delta_net.set_delta_net(hp)
    hp.is_mrope = True


def draft_qwen35(b: Builder) -> None:
    """Build the graph of the nextn block: one of gated attention."""
    il = b.layers[0]
    x = mtp.fused_input(b)
    cur = _attention(b, b.norm(x, "attn_norm", il), b.inp_pos(), il)
    residual = ops.add(cur, x)
    cur = b.norm(residual, "post_attention_norm", il)
    x = ops.add(delta_net.feed_forward(b, cur, il), residual)
    b.finish(mtp.head_logits(b, mtp.keep_wanted(b, mtp.head_norm(b, x))))


@architecture("qwen35", "qwen35moe", hparams=_hparams, draft=draft_qwen35, rolls_back=True)
def build_qwen35(b: Builder) -> None:
    """Build the qwen35 graph: dense or mixture of experts."""
    x = b.inp_embd()
    recurrent = b.recurrent_input()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        cur = b.expand(b.norm(x, "attn_norm", il))
        if b.hp.is_recr(il):
            cur = _linear_attention(b, cur, recurrent, il)
        else:
            cur = _attention(b, cur, pos, il)
        residual = ops.add(cur, x)
        cur = b.norm(residual, "post_attention_norm", il)
        x = ops.add(delta_net.feed_forward(b, cur, il), residual)
    delta_net.finish(b, x, out_ids)


def _attention(b: Builder, x: Tensor, pos: Tensor, il: int) -> Tensor:
    q, k, v, gate = delta_net.gated_query_key_value(b, x, il)
    cur = b.attn(ops.rope(q, pos), ops.rope(k, pos), v, il, wo=None)
    return b.wo(ops.mul(cur, ops.unary(gate, "sigmoid")), il, bias=False)


def _linear_attention(b: Builder, x: Tensor, inp: RecurrentInput, il: int) -> Tensor:
    tokens, seqs = b.n_seq_tokens, b.n_seqs
    mixed = b.mm("attn_qkv", x, il)
    mixed = ops.reshape(mixed, mixed.ne[0], tokens, seqs)
    z = b.mm("attn_gate", x, il)
    gate, beta = delta_net.alpha_beta(b, x, il, tokens, seqs)
    cur = delta_net.stored_delta_net(b, inp, mixed, gate, beta, il)
    return delta_net.gated_output(b, cur, z, il)
