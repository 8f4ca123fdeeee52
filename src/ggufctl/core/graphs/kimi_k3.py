"""Kimi-K3: delta attention and latent attention in turn, with attention over past residuals.

Every few blocks the residual is banked and begun anew; every block's input then mixes
all banked ones. The bank grows with depth, so no two blocks have the same graph.

Source: llama.cpp src/models/kimi-k3.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.ggml.types import row_bytes
from ggufctl.core.graphs import kda, sparse
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import MAX_LAYERS, HParams


def _hparams(hp: HParams) -> None:
    kda.set_kda(hp)
    sparse.set_latent(hp)


@architecture("kimi-k3", hparams=_hparams, ties_output=False, period=MAX_LAYERS)
def build_kimi_k3(b: Builder) -> None:
    """Build the kimi-k3 graph."""
    hp = b.hp
    bank_every = hp.integer("attn_res.block_size", 0)
    n_dense = hp.integer("leading_dense_block_count", 0)
    bank: Tensor | None = None
    x = b.inp_embd()
    recurrent = b.recurrent_input()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        cur = _mix(bank, x, b.w("attn_res_score", il))
        banked = bank_every > 0 and il % bank_every == 0
        if banked:
            kept = ops.reshape(x, hp.n_embd, 1, b.n_tokens)
            bank = kept if bank is None else ops.concat(bank, kept, 1)
        cur = b.expand(b.norm(cur, "attn_norm", il))
        if hp.is_recr(il):
            cur = kda.kda(b, cur, recurrent, il, full_gate=True)
        else:
            cur = _latent_attention(b, cur, il)
        x = cur if banked else ops.add(x, cur)
        cur = b.norm(_mix(bank, x, b.w("ffn_res_score", il)), "ffn_norm", il)
        cur = _gated(b, cur, il) if il < n_dense else _latent_moe(b, cur, il)
        x = ops.add(x, cur)
    x = ops.get_rows(_mix(bank, x, b.w("output_res_score")), out_ids)
    sparse.finish(b, x)


def _mix(bank: Tensor | None, x: Tensor, weight: Tensor | None) -> Tensor:
    """Attend over the banked residuals and the current one."""
    if bank is None or weight is None:
        return x
    n, tokens = bank.ne[1], bank.ne[2]
    of_bank = ops.sum_rows(ops.mul(ops.rms_norm(bank), weight))
    of_bank = ops.reshape(of_bank, n, tokens)
    of_current = ops.sum_rows(ops.mul(ops.rms_norm(x), weight))
    probs = ops.soft_max(ops.concat(of_bank, of_current))
    shares = ops.cont(ops.view(probs, (n, tokens), (probs.nb[1],)))
    share = ops.cont(ops.view(probs, (1, tokens), (probs.nb[1],), probs.nb[0] * n))
    return ops.add(ops.dsv4_hc_pre(bank, shares), ops.mul(x, share))


def _latent_attention(b: Builder, x: Tensor, il: int) -> Tensor:
    """Latent attention without rope, gated before its output matrix."""
    hp, u, n_head = b.hp, b.n_tokens, b.hp.n_head(il)
    rank, n_rot = sparse.positive(hp, "attention.kv_lora_rank"), hp.n_rot()
    size = sparse.positive(hp, "attention.key_length_mla")
    if b.has("attn_q_a", il):
        q = b.norm(ops.mul_mat(b.need("attn_q_a", il), x), "attn_q_a_norm", il)
        q = ops.mul_mat(b.need("attn_q_b", il), q)
    else:
        q = ops.mul_mat(b.need("attn_q", il), x)
    kv, k_pe = sparse.latent_kv(b, x, il, rank, n_rot)
    kv = b.norm(kv, "attn_kv_a_norm", il)
    row, n_nope = row_bytes(q.type, size), size - n_rot
    nb = (row, row * n_head)
    q_nope = ops.view(q, (n_nope, n_head, u), nb)
    q_pe = ops.view(q, (n_rot, n_head, u), nb, row_bytes(q.type, n_nope))
    absorbed = ops.mul_mat(b.need("attn_k_b", il), ops.permute(q_nope, 0, 2, 1, 3))
    q = ops.concat(ops.permute(absorbed, 0, 2, 1, 3), q_pe)
    kv = ops.reshape(kv, rank, 1, u)
    cur = b.attn_k(q, ops.concat(kv, k_pe), kv, il, v_mla=b.need("attn_v_b", il), wo=None)
    gate = b.w("attn_gate", il)
    if gate is not None:
        cur = ops.mul(cur, ops.unary(ops.mul_mat(gate, x), "sigmoid"))
    return ops.mul_mat(b.need("attn_output", il), cur)


def _situ(b: Builder, gate: Tensor, up: Tensor) -> Tensor:
    cur = ops.scale(ops.unary(ops.scale(gate), "tanh"))
    cur = ops.mul(cur, ops.unary(gate, "sigmoid"))
    if b.hp.number("activation.situ_linear_beta", 0.0) > 0:
        up = ops.scale(ops.unary(ops.scale(up), "tanh"))
    return ops.mul(cur, up)


def _gated(b: Builder, x: Tensor, il: int, suffix: str = "") -> Tensor:
    """Feed-forward network with the situ activation."""
    gate = ops.mul_mat(b.need(f"ffn_gate{suffix}", il), x)
    up = ops.mul_mat(b.need(f"ffn_up{suffix}", il), x)
    return ops.mul_mat(b.need(f"ffn_down{suffix}", il), _situ(b, gate, up))


def _latent_moe(b: Builder, x: Tensor, il: int) -> Tensor:
    """Routed experts on a narrower input, shared ones at full width."""
    hp = b.hp
    down, up = b.w("ffn_routed_down", il), b.w("ffn_routed_up", il)
    narrow = x if down is None else ops.mul_mat(down, x)
    cur = b.moe(
        narrow,
        il,
        gating=sparse.expert_gating(hp),
        norm_w=bool(hp.key("expert_weights_norm", False)),
        w_scale=hp.number("expert_weights_scale", 0.0),
        n_used=hp.n_expert_used,
        gate_up=None,
        scales=False,
        probs_b=b.bias("exp_probs_b", il),
        probs_in=ops.mul_mat(b.need("ffn_gate_inp", il), x),
        activate=lambda gate, up: _situ(b, gate, up),
    )
    if b.has("ffn_routed_norm", il):
        cur = b.norm(cur, "ffn_routed_norm", il)
    if up is not None:
        cur = ops.mul_mat(up, cur)
    if b.has("ffn_gate_shexp", il):
        cur = ops.add(cur, _gated(b, x, il, "_shexp"))
    return cur
