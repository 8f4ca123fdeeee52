"""Qwen3-Next: gated delta nets with gated attention in every fourth block.

Source: llama.cpp src/models/qwen3next.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs import delta_net, mtp
from ggufctl.core.graphs.builder import Builder, RecurrentInput
from ggufctl.core.graphs.mamba_blocks import F32
from ggufctl.core.graphs.registry import architecture


def draft_qwen3next(b: Builder) -> None:
    """Build the graph of the nextn block; only wanted rows pass its experts."""
    il = b.layers[0]
    x = mtp.fused_input(b)
    pos, out_ids = b.inp_pos(), b.inp_out_ids()
    q, k, v, gate = delta_net.gated_query_key_value(b, b.norm(x, "attn_norm", il), il)
    cur = b.attn(ops.rope(q, pos), ops.rope(k, pos), v, il, wo=None)
    cur = b.wo(ops.mul(cur, ops.unary(gate, "sigmoid")), il, bias=False)
    residual = ops.add(ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids))
    cur = b.norm(residual, "post_attention_norm", il)
    x = ops.add(delta_net.feed_forward(b, cur, il), residual)
    b.finish(mtp.head_logits(b, mtp.head_norm(b, x).as_output()))


@architecture("qwen3next", hparams=delta_net.set_delta_net, draft=draft_qwen3next)
def build_qwen3next(b: Builder) -> None:
    """Build the qwen3next graph."""
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
    hp, u = b.hp, b.n_tokens
    size, heads, heads_kv = hp.n_embd_head_v_full, hp.n_head(il), hp.n_head_kv(il)
    full, k, v = b.qkv(
        x, il, n_embd_head=2 * size, n_embd_head_k=size, n_embd_head_v=size, reshape=False
    )
    full = ops.reshape(full, 2 * size, heads, u, 1)
    q = ops.view(full, (size, heads, u, 1), full.nb[1:])
    gate = ops.view(full, (size, heads, u, 1), full.nb[1:], size * F32)
    k, v = (ops.reshape(t, size, heads_kv, u) for t in (k, v))
    q, k = b.norm(q, "attn_q_norm", il), b.norm(k, "attn_k_norm", il)
    cur = b.attn(ops.rope(q, pos), ops.rope(k, pos), v, il, wo=None)
    gate = ops.unary(ops.cont(gate, size * heads, u), "sigmoid")
    return b.wo(ops.mul(cur, gate), il, bias=False)


def _linear_attention(b: Builder, x: Tensor, inp: RecurrentInput, il: int) -> Tensor:
    hp, seqs, tokens = b.hp, b.n_seqs, b.n_seq_tokens
    n_k, n_v = hp.ssm_n_group, hp.ssm_dt_rank
    mixed, z = _mixed_and_gate(b, x, il)
    per_key = n_v // n_k
    both = ops.reshape(b.mm("ssm_ba", x, il, scale=False), 2 * per_key, n_k, tokens, seqs)
    shape = (per_key, n_k, tokens, seqs)
    beta = ops.view(both, shape, both.nb[1:])
    alpha = ops.view(both, shape, both.nb[1:], per_key * F32)
    beta = ops.unary(ops.cont(beta), "sigmoid")
    gate = delta_net.decay(b, ops.cont(alpha, n_v, tokens, seqs), il)
    beta, gate = (ops.reshape(t, 1, n_v, tokens, seqs) for t in (beta, gate))
    cur = delta_net.stored_delta_net(b, inp, mixed, gate, beta, il, repeats=True)
    return delta_net.gated_output(b, cur, z, il, scale=False)


def _mixed_and_gate(b: Builder, x: Tensor, il: int) -> tuple[Tensor, Tensor]:
    """Queries, keys and values in one row, and the output gate."""
    hp, seqs, tokens = b.hp, b.n_seqs, b.n_seq_tokens
    if b.has("attn_qkv", il):
        mixed = b.mm("attn_qkv", x, il, scale=False)
        gate = b.mm("attn_gate", x, il, scale=False)
        return ops.reshape(mixed, mixed.ne[0], tokens, seqs), gate
    # Older files interleave the four parts per key head.
    n_k, n_v, size_k = hp.ssm_n_group, hp.ssm_dt_rank, hp.ssm_d_state
    width_v = hp.ssm_d_inner // n_k
    full = b.mm("ssm_in", x, il, scale=False)
    full = ops.reshape(full, 2 * (size_k + width_v), n_k, tokens, seqs)

    def part(width: int, start: int) -> Tensor:
        return ops.view(full, (width, n_k, tokens, seqs), full.nb[1:], start * F32)

    gate = ops.cont(part(width_v, 2 * size_k + width_v))
    q, k = (ops.cont(part(size_k, i * size_k), size_k * n_k, tokens, seqs) for i in range(2))
    v = ops.cont(part(width_v, 2 * size_k), hp.ssm_d_inner // n_v * n_v, tokens, seqs)
    return ops.concat(ops.concat(q, k), v), gate
