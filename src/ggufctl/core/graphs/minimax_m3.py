"""MiniMax-M3: grouped-query attention over blocks of positions that an indexer picks.

When llama.cpp reserves, the cache is empty and the axis of positions has its least length,
one padding step; the buffer grows as the cache fills. A dry run tells the small buffer, an
estimate of the real run the one of a full cache.

Source: llama.cpp src/models/minimax-m3.cpp, src/llama-kv-cache-msa.cpp
(pin in core/_pins.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.ggml.types import TYPES
from ggufctl.core.graphs import sparse
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.graphs.sparse import INDEX
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import ContextParams, Layout, make_cache, pad

POSITION_PADDING = 256
"""Least length of the axis of positions, and the step it grows by."""


def _layout(hp: HParams, ctx: ContextParams) -> Layout:
    layers = list(range(hp.n_layer_all))
    first = hp.integer("leading_dense_block_count", 0)
    layout = Layout(n_rs=max(1, ctx.n_seq_max))
    layout.caches["base"] = make_cache(hp, ctx, layers, ctx.n_ctx_seq)
    layout.caches[INDEX] = sparse.index_cache(hp, ctx, layers[first:], n_v=hp.n_embd_head_v())
    return layout


@dataclass(slots=True)
class _Blocks:
    """Inputs of block selection (llm_graph_input_msa)."""

    size: int
    n_best: int
    k_idxs: Tensor
    bias: Tensor
    pos_mask: Tensor
    pos_slot_i: Tensor
    pos_slot_f: Tensor | None = None
    cell_block: Tensor | None = None
    mask: Tensor | None = None


def _selection(b: Builder) -> _Blocks:
    hp, u = b.hp, b.n_tokens
    mask = b.attn_input().mask
    n_kv, per_stream, _, n_stream = mask.ne
    size = sparse.positive(hp, "attention.indexer.block_size")
    n_pos = pad(b.ctx.n_ctx_seq if b.in_use else POSITION_PADDING, size)
    n_block = n_pos // size
    blocks = _Blocks(
        size=size,
        n_best=min(hp.integer("attention.indexer.top_k", 0), n_block),
        k_idxs=b.input("i64", u, name="k_idxs_idx"),
        bias=b.input("f32", n_block, u, name="msa_bias"),
        pos_mask=b.input("f32", n_pos, u, name="msa_pos_mask"),
        pos_slot_i=b.input("i32", n_pos, n_stream, name="msa_pos_slot_i"),
    )
    if per_stream == 1:
        blocks.pos_slot_f = b.input("f32", n_pos, n_stream, name="msa_pos_slot_f")
    else:
        blocks.cell_block = b.input("i32", n_kv, n_stream, name="msa_cell_block")
        blocks.mask = ops.cast(mask, "f32")
    return blocks


@architecture(
    "minimax-m3",
    layout=_layout,
    ties_output=False,
    caveat="minimax-m3's compute buffer is told for a full cache; it starts smaller.",
)
def build_minimax_m3(b: Builder) -> None:
    """Build the minimax-m3 graph; dense attention without flash attention or own streams."""
    hp = b.hp
    n_dense = hp.integer("leading_dense_block_count", 0)
    x = b.inp_embd()
    pos = b.inp_pos()
    is_sparse = b.flash_attn and (b.ctx.n_seq_max == 1 or not b.ctx.kv_unified)
    blocks = _selection(b) if is_sparse else None
    out_ids = b.inp_out_ids()
    for il in b.layers:
        residual = x
        cur = b.norm(x, "attn_norm", il)
        q, k, v = b.qkv(cur, il)
        q, k = b.norm(q, "attn_q_norm", il), b.norm(k, "attn_k_norm", il)
        q, k = ops.rope(q, pos), ops.rope(k, pos)
        if blocks is None or il < n_dense:
            cur = b.attn(q, k, v, il, wo_bias=False)
        else:
            cur = _attn_blocks(b, cur, q, k, v, pos, blocks, il)
        if b.is_last(il):
            cur, residual = ops.get_rows(cur, out_ids), ops.get_rows(residual, out_ids)
        ffn_inp = ops.add(cur, residual)
        cur = b.norm(ffn_inp, "ffn_norm", il)
        x = ops.add(_feed_forward(b, cur, il, n_dense), ffn_inp)
    b.finish(b.head(x))


def _feed_forward(b: Builder, x: Tensor, il: int, n_dense: int) -> Tensor:
    hp = b.hp
    if il < n_dense:
        return b.ffn(x, il, "swiglu_oai", scales=False)
    routed = b.moe(
        x,
        il,
        "swiglu_oai",
        gating=sparse.expert_gating(hp),
        norm_w=bool(hp.key("expert_weights_norm", False)),
        w_scale=hp.number("expert_weights_scale", 0.0),
        gate_up=None,
        scales=False,
        probs_b=b.bias("exp_probs_b", il),
    )
    shared = b.ffn(
        x,
        il,
        "swiglu_oai",
        up="ffn_up_shexp",
        gate="ffn_gate_shexp",
        down="ffn_down_shexp",
        scales=False,
    )
    return ops.add(routed, shared)


def _attn_blocks(
    b: Builder,
    x: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    pos: Tensor,
    blocks: _Blocks,
    il: int,
) -> Tensor:
    """Attention over the blocks of positions that the indexer scores best."""
    hp, u, inp = b.hp, b.n_tokens, b.attn_input()
    n_head = sparse.positive(hp, "attention.indexer.head_count")
    size = sparse.positive(hp, "attention.indexer.key_length")
    iq = ops.reshape(b.mm("indexer.q_proj", x, il, scale=False), size, n_head, u)
    ik = ops.reshape(b.mm("indexer.k_proj", x, il, scale=False), size, 1, u)
    iq, ik = b.norm(iq, "indexer.q_norm", il), b.norm(ik, "indexer.k_norm", il)
    iq, ik = ops.rope(iq, pos), ops.rope(ik, pos)
    b.expand(b.cpy_k(INDEX, ik, blocks.k_idxs, il))
    index_keys = b.get_k(INDEX, il, size, 1)
    if inp.k_rot is not None:
        q, k = b.hadamard(q, inp.k_rot), b.hadamard(k, inp.k_rot)
    if inp.v_rot is not None:
        v = b.hadamard(v, inp.v_rot)
    for t in (q, k, v):
        b.expand(t)
    b.expand(b.cpy_k("base", k, inp.k_idxs, il))
    b.expand(b.cpy_v("base", v, inp.v_idxs, il))
    keys, values = b.get_k("base", il), b.get_v("base", il)
    if blocks.cell_block is None:
        cur = _gather(q, iq, index_keys, keys, values, blocks)
    else:
        n_stream = keys.ne[3]
        cur = _masked(q, iq, index_keys, keys, values, blocks, 0)
        for stream in range(1, n_stream):
            other = _masked(q, iq, index_keys, keys, values, blocks, stream)
            cur = ops.concat(cur, other, 1)
    if inp.v_rot is not None:
        cur = b.hadamard(cur, inp.v_rot)
    return b.wo(cur, il, bias=False)


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """One fused attention with the groups as its sequences (build_attn_msa_fa)."""
    size, heads, tokens, _ = q.ne
    n_seq = k.ne[3]
    rows = mask.ne[1]
    per_group = heads * tokens // (n_seq * rows)
    q = ops.permute(ops.reshape(q, size, per_group, n_seq, rows), 0, 2, 3, 1)
    cur = ops.permute(ops.flash_attn_ext(q, k, v, mask), 0, 1, 3, 2)
    if not cur.is_contiguous():
        cur = ops.cont(cur)
    return ops.reshape(cur, size * heads, tokens)


def _masked(
    q: Tensor,
    iq: Tensor,
    index_keys: Tensor,
    keys: Tensor,
    values: Tensor,
    blocks: _Blocks,
    stream: int,
) -> Tensor:
    """Attention of one stream's prompt, with unchosen blocks masked."""
    assert blocks.mask is not None and blocks.cell_block is not None
    n_kv, per, _, _ = blocks.mask.ne
    size, n_head = iq.ne[0], iq.ne[1]
    n_block, n_pos = blocks.bias.ne[0], blocks.pos_mask.ne[0]
    first, s = stream * per, stream
    iq = ops.view(iq, (size, n_head, per), iq.nb[1:3], first * iq.nb[2])
    ik = ops.view(index_keys, (size, n_kv), (index_keys.nb[2],), s * index_keys.nb[3])
    slots = ops.view(blocks.pos_slot_i, (n_pos,), (), s * blocks.pos_slot_i.nb[1])
    row = blocks.pos_mask.nb[1]
    pos_mask = ops.view(blocks.pos_mask, (n_pos, 1, per), (row, row), first * row)
    cells = ops.view(blocks.cell_block, (n_kv,), (), s * blocks.cell_block.nb[1])
    nb = (blocks.mask.nb[1], blocks.mask.nb[3])
    mask = ops.view(blocks.mask, (n_kv, per, 1), nb, s * nb[1])
    row = blocks.bias.nb[1]
    bias = ops.view(blocks.bias, (n_block, 1, per), (row, row), first * row)
    q = ops.view(q, (q.ne[0], q.ne[1], per), q.nb[1:3], first * q.nb[2])
    k, v = (ops.view(t, (*t.ne[:3], 1), t.nb[1:], s * t.nb[3]) for t in (keys, values))
    scores = ops.mul_mat(ops.get_rows(ik, slots), ops.reshape(iq, size, n_head * per))
    scores = ops.add_inplace(ops.reshape(scores, n_pos, n_head, per), pos_mask)
    scores = ops.add(ops.pool_2d(scores, blocks.size, 1, blocks.size, 1), bias)
    chosen = ops.top_k(scores, blocks.n_best)
    hidden = ops.repeat(ops.cast(ops.scale(bias), "f16"), n_block, n_head, per, 1)
    zeros = ops.scale(ops.cast(chosen, "f32"))
    shown = ops.set_rows(
        ops.reshape(hidden, 1, n_block, n_head * per),
        ops.reshape(zeros, 1, blocks.n_best, n_head * per),
        ops.reshape(chosen, blocks.n_best, n_head * per),
    )
    shown = ops.reshape(shown, n_block, n_head, per)
    shown = ops.cont(ops.permute(shown, 0, 2, 1, 3))
    shown = ops.cont(ops.transpose(ops.reshape(shown, n_block, per * n_head)))
    shown = ops.cont(ops.transpose(ops.get_rows(shown, cells)))
    shown = ops.add_inplace(ops.reshape(shown, n_kv, per, n_head), mask)
    shown = ops.cast(ops.reshape(shown, n_kv, per, 1, n_head), "f16")
    return _fused(q, ops.permute(k, 0, 3, 1, 2), ops.permute(v, 0, 3, 1, 2), shown)


def _gather(
    q: Tensor, iq: Tensor, index_keys: Tensor, keys: Tensor, values: Tensor, blocks: _Blocks
) -> Tensor:
    """Attention of one token per stream, with the chosen blocks gathered."""
    assert blocks.pos_slot_f is not None
    size, n_head = iq.ne[0], iq.ne[1]
    head, n_kv_head, n_kv, n_stream = keys.ne
    n_block, n_pos, n, best = blocks.bias.ne[0], blocks.pos_mask.ne[0], blocks.size, blocks.n_best
    ik = ops.view(index_keys, (size, n_kv, n_stream), index_keys.nb[2:])
    ik = ops.get_rows(ik, blocks.pos_slot_i)
    iq = ops.reshape(iq, size, n_head, 1, n_stream)
    scores = ops.mul_mat(ops.reshape(ik, size, n_pos, 1, n_stream), iq)
    scores = ops.add_inplace(scores, ops.reshape(blocks.pos_mask, n_pos, 1, 1, n_stream))
    scores = ops.pool_2d(scores, n, 1, n, 1)
    scores = ops.add(scores, ops.reshape(blocks.bias, n_block, 1, 1, n_stream))
    first = ops.scale(ops.cast(ops.top_k(scores, best), "f32"))
    first = ops.repeat(ops.reshape(first, 1, best, n_head, n_stream), n, best, n_head, n_stream)
    positions = ops.add(first, ops.reshape(ops.arange(n), n, 1, 1))
    n_row = n * best * n_head
    positions = ops.cast(ops.reshape(positions, n_row, n_stream), "i32")
    cells = ops.get_rows(ops.reshape(blocks.pos_slot_f, 1, n_pos, n_stream), positions)
    cells = ops.scale(ops.reshape(cells, n, best, n_head, n_stream))
    cells = ops.add(cells, ops.reshape(ops.arange(n_kv_head), 1, 1, n_head))
    rows = ops.cast(ops.reshape(cells, n_row, n_stream), "i32")
    k, v = (
        ops.view(t, (head, n_kv_head * n_kv, n_stream), (t.nb[1], t.nb[3])) for t in (keys, values)
    )
    mask = ops.reshape(blocks.pos_mask, 1, n_pos, n_stream)
    k, v, mask = ops.get_rows(k, rows), ops.get_rows(v, rows), ops.get_rows(mask, positions)
    k, v = (ops.reshape(t, head, n * best, 1, n_head * n_stream) for t in (k, v))
    k, v = (
        t if t.type == kind else ops.cast(t, kind)
        for t, kind in ((k, _gathered_type(keys)), (v, _gathered_type(values)))
    )
    mask = ops.cast(ops.reshape(mask, n * best, 1, 1, n_head * n_stream), "f16")
    return _fused(q, k, v, mask)


def _gathered_type(cache: Tensor) -> str:
    return "f16" if TYPES[cache.type].is_quantized else cache.type
