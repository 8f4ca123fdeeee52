"""Kimi Linear: delta attention with latent attention in between, without positions.

Source: llama.cpp src/models/kimi-linear.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.kda import kda
from ggufctl.core.graphs.mamba_blocks import F32, set_hybrid
from ggufctl.core.graphs.prenorm import expert_gating, has_lead, shared_expert
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams

__all__ = ["absorbed_query_key_value", "set_kda_mla"]


def set_kda_mla(hp: HParams) -> None:
    """Delta attention in blocks without key/value heads, latent attention in the others."""
    set_hybrid(hp)
    hp.n_embd_head_kda = hp.integer("kda.head_dim", 0)
    lengths = (hp.integer(f"attention.{part}_length_mla", 0) for part in ("key", "value"))
    hp.is_mla = all(lengths)


@architecture("kimi-linear", hparams=set_kda_mla, ties_output=False, reserve_one_seq=True)
def build_kimi_linear(b: Builder) -> None:
    """Build the kimi-linear graph."""
    hp = b.hp
    x = b.inp_embd()
    recurrent = b.recurrent_input()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        cur = b.expand(b.norm(x, "attn_norm", il))
        if hp.is_recr(il):
            cur = kda(b, cur, recurrent, il, full_gate=False, decay=_decay)
        else:
            cur = _attention(b, cur, il)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        residual = ops.add(cur, x)
        cur = b.norm(residual, "ffn_norm", il)
        x = ops.add(_feed_forward(b, cur, il), residual)
    b.embd = b.norm(x, "output_norm")
    b.finish(ops.mul_mat(b.output_weight(), b.embd))


def _decay(b: Builder, x: Tensor, il: int) -> Tensor:
    """Logarithm of the decay per channel."""
    hp = b.hp
    gate = ops.mul_mat(b.need("ssm_f_b", il), ops.mul_mat(b.need("ssm_f_a", il), x))
    gate = ops.unary(ops.add(gate, b.need("ssm_dt", il, "bias")), "softplus")
    gate = ops.reshape(gate, hp.n_embd_head_kda, hp.n_head(), b.n_tokens)
    return ops.mul(gate, ops.reshape(b.need("ssm_a", il, ""), 1, hp.n_head(), 1))


def _feed_forward(b: Builder, x: Tensor, il: int) -> Tensor:
    hp = b.hp
    if has_lead(hp, il):
        return b.ffn(x, il, scales=False)
    routed = b.moe(
        x,
        il,
        gating=expert_gating(hp),
        norm_w=True,
        w_scale=hp.number("expert_weights_scale", 0.0),
        n_used=hp.n_expert_used,
        gate_up=None,
        probs_b=b.bias("exp_probs_b", il),
        scales=False,
    )
    return ops.add(routed, shared_expert(b, x, il))


def _attention(b: Builder, x: Tensor, il: int) -> Tensor:
    q = ops.mul_mat(b.need("attn_q", il), x)
    if b.has("attn_k_b", il):
        q, k, v = absorbed_query_key_value(b, x, q, None, il)
        return b.attn_k(q, k, v, il, v_mla=b.need("attn_v_b", il))
    return _uncompressed_attention(b, x, q, il)


def _uncompressed_attention(b: Builder, x: Tensor, q: Tensor, il: int) -> Tensor:
    """Attention of older files, which cache keys and values of all heads."""
    hp, u, n_head = b.hp, b.n_tokens, b.hp.n_head()
    size, size_v = hp.n_embd_head_k_full, hp.n_embd_head_v_full
    kv, rotary = _latent(b, x, il)
    kv = ops.mul_mat(b.need("attn_kv_b", il), b.norm(kv, "attn_kv_a_norm", il))
    plain = size - hp.n_rot()
    row = (plain + size_v) * F32
    k = ops.view(kv, (plain, n_head, u), (row, row * n_head))
    v = ops.cont(ops.view(kv, (size_v, n_head, u), (row, row * n_head), plain * F32))
    k = ops.concat(ops.repeat(rotary, hp.n_rot(), n_head, u, 1), k)
    return b.attn(ops.reshape(q, size, n_head, u), k, v, il, wo_bias=False)


def _latent(b: Builder, x: Tensor, il: int) -> tuple[Tensor, Tensor]:
    """Compressed keys and values, and the part of the keys that all heads share."""
    u, n_rot = b.n_tokens, b.hp.n_rot()
    rank = b.hp.integer("attention.kv_lora_rank", 0)
    both = ops.mul_mat(b.need("attn_kv_a_mqa", il), x)
    row = (rank + n_rot) * F32
    shared = ops.view(both, (n_rot, 1, u), (row, row), rank * F32)
    return ops.view(both, (rank, u), (row,)), shared


def absorbed_query_key_value(
    b: Builder, x: Tensor, q: Tensor, pos: Tensor | None, il: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Latent attention's queries, keys and values, with the key matrix moved to the queries.

    Args:
        b: the graph's builder.
        x: normed input.
        q: queries, flat.
        pos: positions, None for a model without.
        il: block.
    """
    hp, u, n_head, n_rot = b.hp, b.n_tokens, b.hp.n_head(), b.hp.n_rot()
    size = hp.integer("attention.key_length_mla", 0)
    row = size * F32
    plain = ops.view(q, (size - n_rot, n_head, u), (row, row * n_head))
    rotary = ops.view(q, (n_rot, n_head, u), (row, row * n_head), (size - n_rot) * F32)
    kv, shared = _latent(b, x, il)
    if pos is not None:
        rotary, shared = ops.rope(rotary, pos), ops.rope(shared, pos)
    kv = b.norm(kv, "attn_kv_a_norm", il)
    plain = ops.mul_mat(b.need("attn_k_b", il), ops.permute(plain, 0, 2, 1, 3))
    q = ops.concat(ops.permute(plain, 0, 2, 1, 3), rotary)
    kv = ops.reshape(kv, kv.ne[0], 1, u)
    return q, ops.concat(kv, shared), kv
