"""Hunyuan-V4: gated latent attention, optionally indexed, in independent hyper-connections.

Source: llama.cpp src/models/hy-v4.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs import hyper, sparse
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.deepseek4 import per_block
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import ContextParams, Layout, make_cache


def _hparams(hp: HParams) -> None:
    sparse.set_latent(hp)
    # Dense and shared experts are not clamped.
    hp.swiglu_clamp_exp = per_block(hp, "swiglu_clamp_exp") or hp.swiglu_clamp_exp


def _has_indexer(hp: HParams) -> list[bool]:
    """Whether each block has an indexer of its own; the others take the pick before."""
    flags = hp.flags("attention.indexer.types") or []
    return flags[: hp.n_layer]


def _layout(hp: HParams, ctx: ContextParams) -> Layout:
    layers = list(range(hp.n_layer_all))
    if not hp.integer("attention.indexer.top_k", 0):
        return Layout(
            caches={"base": make_cache(hp, ctx, layers, ctx.n_ctx_seq)},
            n_rs=max(1, ctx.n_seq_max),
        )
    own = [il for il, flag in enumerate(_has_indexer(hp)) if flag]
    return sparse.dsa_layout(hp, ctx, layers, own)


@architecture("hy_v4", hparams=_hparams, layout=_layout, ties_output=False)
def build_hy_v4(b: Builder) -> None:
    """Build the hy_v4 graph."""
    hp = b.hp
    hc = sparse.positive(hp, "hyper_connection.count", sparse.MAX_STREAMS)
    gating = sparse.expert_gating(hp)
    own = _has_indexer(hp)
    x = b.inp_embd()
    pos = b.inp_pos()
    indexed = hp.integer("attention.indexer.top_k", 0) > 0
    indexer = sparse.indexer_input(b, rotates=False) if indexed else None
    out_ids = b.inp_out_ids()
    x = hyper.spread(b, x, hc)
    top_k: Tensor | None = None
    for il in b.layers:
        cur, post = _mix_in(b, x, "hc_attn", il)
        cur = b.norm(cur, "attn_norm", il)
        qr = b.norm(ops.mul_mat(b.need("attn_q_a", il), cur), "attn_q_a_norm", il)
        if indexer is not None and (own[il] or top_k is None):
            top_k = sparse.lightning_indexer(b, cur, qr, pos, indexer, il)
        cur = _attention(b, cur, qr, pos, top_k, il)
        x = _mix_out(cur, x, post)
        cur, post = _mix_in(b, x, "hc_ffn", il)
        cur = b.norm(cur, "ffn_norm", il)
        cur = sparse.feed_forward(
            b, cur, il, gating=gating, scales=False, gate_up=None, clamp_glu=True
        )
        x = _mix_out(cur, x, post)
    flat = ops.get_rows(ops.reshape(x, hp.n_embd * hc, b.n_tokens), out_ids)
    x = ops.reshape(flat, hp.n_embd, hc, b.n_outputs)
    sparse.finish(b, _reduce(x, hyper.head_weights(b, x)))


def _attention(
    b: Builder, x: Tensor, qr: Tensor, pos: Tensor, top_k: Tensor | None, il: int
) -> Tensor:
    hp = b.hp
    latent = sparse.latent_block(
        b,
        x,
        qr,
        pos,
        il,
        n_head=hp.n_head(),
        size=sparse.positive(hp, "attention.key_length_mla"),
        rank=sparse.positive(hp, "attention.kv_lora_rank"),
    )
    v_b, sinks = b.need("attn_v_b", il), b.w("attn_sinks", il)
    if top_k is None:
        q, k, v = latent.q, latent.k, latent.v
        cur = b.attn_k(q, k, v, il, v_mla=v_b, wo=None, sinks=sinks)
    else:
        cur = sparse.attn_top_k(b, latent, top_k, il, v_mla=v_b, wo=None, sinks=sinks)
    gate = ops.unary(ops.mul_mat(b.need("attn_gate", il), x), "sigmoid")
    return b.mm("attn_output", ops.mul(cur, gate), il, scale=False)


def _mix_in(b: Builder, x: Tensor, name: str, il: int) -> tuple[Tensor, Tensor]:
    """Input of a block, and the weights of its result in every stream."""
    pre, post, _ = hyper.mix_weights(b, x, name, il)
    return _reduce(x, pre), ops.scale(post)


def _reduce(x: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the streams, in f32."""
    wide = ops.cast(x, "f32")
    return ops.cast(hyper.weighted_sum(wide, weights), x.type)


def _mix_out(x: Tensor, residual: Tensor, post: Tensor) -> Tensor:
    n_embd, hc, tokens, _ = residual.ne
    wide, post, streams = (ops.cast(t, "f32") for t in (x, post, residual))
    result: Tensor | None = None
    for i in range(hc):
        stream = ops.view(streams, (n_embd, tokens), (streams.nb[2],), i * streams.nb[1])
        weight = ops.view(post, (1, tokens), (post.nb[1],), i * post.nb[0])
        cur = ops.reshape(ops.add(stream, ops.mul(wide, weight)), n_embd, 1, tokens)
        result = cur if result is None else ops.concat(result, cur, 1)
    assert result is not None
    return ops.cast(result, residual.type)
