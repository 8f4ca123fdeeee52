"""MiniMax-Text-01: lightning attention with soft-max attention in every eighth block.

Source: llama.cpp src/models/minimax-01.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder, RecurrentInput
from ggufctl.core.graphs.delta_net import set_delta_net
from ggufctl.core.graphs.mamba_blocks import F32
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams

DEFAULT_INTERVAL = 8


def _hparams(hp: HParams) -> None:
    set_delta_net(hp, DEFAULT_INTERVAL)
    hp.n_embd_head_la = hp.n_embd_head_k_full
    hp.ssm_d_conv = hp.ssm_d_inner = hp.ssm_d_state = hp.ssm_n_group = 0


@dataclass(frozen=True, slots=True)
class _Decay:
    """Inputs of lightning attention (llm_graph_input_la)."""

    slopes: Tensor
    q: Tensor
    k: Tensor
    diagonal: Tensor


@architecture("minimax-01", hparams=_hparams, reserve_one_seq=True)
def build_minimax_01(b: Builder) -> None:
    """Build the minimax-01 graph."""
    hp, tokens, seqs, n_head = b.hp, b.n_seq_tokens, b.n_seqs, b.hp.n_head()
    x = b.inp_embd()
    recurrent = b.recurrent_input()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    decay = _Decay(
        slopes=b.input("f32", n_head, name="slopes"),
        q=b.input("f32", 1, n_head, tokens, seqs, name="q_decay_exp"),
        k=b.input("f32", 1, n_head, tokens, seqs, name="k_decay_exp"),
        diagonal=b.input("f32", tokens, tokens, n_head, seqs, name="diag_decay_exp"),
    )
    for il in b.layers:
        cur = residual = b.norm(x, "attn_norm", il)
        if hp.is_recr(il):
            cur = _lightning(b, cur, decay, recurrent, il)
        else:
            q, k, v = b.qkv(cur, il, n_embd_head=hp.n_embd_head_v_full)
            cur = b.attn(ops.rope(q, pos), ops.rope(k, pos), v, il, wo_bias=False)
        if b.is_last(il):
            cur, residual = ops.get_rows(cur, out_ids), ops.get_rows(residual, out_ids)
        cur = residual = b.norm(ops.add(cur, ops.scale(residual)), "ffn_norm", il)
        cur = b.moe(
            cur,
            il,
            norm_w=True,
            w_scale=hp.number("expert_weights_scale", 0.0),
            gate_up=None,
            scales=False,
        )
        x = ops.add(cur, ops.scale(residual))
    b.finish(b.head(x))


def _lightning(b: Builder, x: Tensor, decay: _Decay, inp: RecurrentInput, il: int) -> Tensor:
    hp, tokens, seqs, n_head = b.hp, b.n_seq_tokens, b.n_seqs, b.hp.n_head()
    size = hp.n_embd_head_v_full
    unused, stored = b.states(il)
    b.expand(b.rs(inp, unused, hp.n_embd_r))
    slopes = ops.scale(decay.slopes)
    x = ops.reshape(x, x.ne[0], tokens, 1, seqs)
    qkv = ops.unary(b.mm("attn_qkv", x, il, scale=False), "silu")
    qkv = ops.reshape(qkv, 3 * size, n_head, tokens, seqs)
    q, k, v = (
        ops.view(qkv, (size, n_head, tokens, seqs), qkv.nb[1:], i * size * F32) for i in range(3)
    )
    before = ops.reshape(b.rs(inp, stored, hp.n_embd_s), size, size, n_head, seqs)
    q_decay, k_decay, diagonal = (
        ops.unary(ops.scale(t), "exp") for t in (decay.q, decay.k, decay.diagonal)
    )
    old = ops.mul_mat(before, ops.permute(ops.mul(q, q_decay), 0, 2, 1, 3))
    scores = ops.mul_mat(ops.permute(k, 0, 2, 1, 3), ops.permute(q, 0, 2, 1, 3))
    values = ops.cont(ops.permute(v, 1, 2, 0, 3))
    new = ops.mul_mat(values, ops.mul(scores, diagonal))
    cur = b.expand(ops.add(old, new))

    block_decay = ops.reshape(ops.unary(ops.scale(slopes), "exp"), 1, 1, n_head)
    kept = ops.mul(before, block_decay)
    keys = ops.cont(ops.permute(ops.mul(k, k_decay), 1, 2, 0, 3))
    state = ops.add(kept, ops.mul_mat(keys, values))
    b.expand(ops.cpy(state, ops.view(stored, (hp.n_embd_s * seqs,))))

    cur = ops.cont(ops.permute(cur, 0, 2, 1, 3))
    cur = ops.reshape(cur, size * n_head, tokens, 1, seqs)
    cur = b.norm(cur, "attn_norm_2", il)
    gate = ops.unary(b.mm("attn_gate", x, il, scale=False), "sigmoid")
    cur = b.mm("attn_output", ops.mul(gate, cur), il, scale=False)
    return ops.reshape(cur, cur.ne[0], b.n_tokens)
