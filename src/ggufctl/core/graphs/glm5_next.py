"""GLM-5.3: delta attention and latent attention over pooled selections, hyper-connected.

Source: llama.cpp src/models/glm5-next.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs import hyper, kda, sparse
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.deepseek4 import set_clamps
from ggufctl.core.graphs.kpool import PoolCache, pool_counts, pooled_cache
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.graphs.sparse import INDEX
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import ContextParams, Layout, make_cache

SIGMOID = 2
"""Gating function of headers without one."""

GATHER_MAX_BATCH = 16
"""Largest micro-batch that gathers selected keys instead of masking the others."""


def _hparams(hp: HParams) -> None:
    kda.set_kda(hp)
    sparse.set_latent(hp)
    set_clamps(hp)


def _has_indexer(hp: HParams) -> list[bool]:
    """Whether each block has an indexer of its own; the others take the pick before."""
    flags = hp.flags("attention.indexer.types")
    return [True] * hp.n_layer if flags is None else flags[: hp.n_layer]


def _layout(hp: HParams, ctx: ContextParams) -> Layout:
    layout = Layout(n_rs=max(1, ctx.n_seq_max))
    attending = [il for il in range(hp.n_layer) if not hp.is_recr(il)]
    own = _has_indexer(hp)
    layout.caches["base"] = make_cache(hp, ctx, attending, ctx.n_ctx_seq)
    # A row holds a key, the gate it is pooled with, and the pooled key.
    layout.caches[INDEX] = pooled_cache(hp, ctx, [il for il in attending if own[il]], 3)
    layout.recr_layers = [il for il in range(hp.n_layer) if hp.is_recr(il)]
    layout.n_embd_r, layout.n_embd_s = hp.n_embd_r, hp.n_embd_s
    return layout


@dataclass(frozen=True, slots=True)
class _Pools:
    """Inputs of pool selection (llm_graph_input_kpool)."""

    size: int
    n_best: int
    has_tail: bool
    gathers: bool
    k_idxs: Tensor
    cells: Tensor
    members: Tensor
    mask: Tensor
    tail: Tensor
    live: Tensor
    new_members: Tensor
    new_cells: Tensor


def _pools(b: Builder) -> _Pools:
    hp, u = b.hp, b.n_tokens
    size = max(1, hp.integer("attention.indexer.kpool", 1))
    top_k = hp.integer("attention.indexer.top_k", 0)
    n_pool, n_new = pool_counts(b, size)
    has_tail = bool(hp.key("attention.indexer.kpool_select_tail", True))
    n_best = min(n_pool, top_k // size)
    n_chosen = size * n_best + (size - 1 if has_tail else 0)
    pools = _Pools(
        size=size,
        n_best=n_best,
        has_tail=has_tail,
        gathers=b.ctx.n_ubatch <= GATHER_MAX_BATCH and b.ctx.n_ctx > top_k + size - 1,
        k_idxs=b.input("i64", u, name="k_idxs_idx"),
        cells=b.input("i32", n_pool, name="pool_cells"),
        members=b.input("i32", size, n_pool, name="pool_idxs"),
        mask=b.input("f16", n_pool, u, name="pool_mask"),
        tail=b.input("i32", size - 1, u, name="tail_idxs"),
        live=b.input("f32", n_chosen, 1, 1, u, name="gather_mask"),
        new_members=b.input("i32", size, n_new, name="new_pool_idxs"),
        new_cells=b.input("i64", n_new, name="new_pool_rep"),
    )
    for t in (pools.cells, pools.members, pools.mask, pools.tail, pools.live):
        b.expand(t)
    return pools


@architecture(
    "glm5-next",
    hparams=_hparams,
    layout=_layout,
    ties_output=False,
    fused_ops=hyper.FUSED_OPS,
)
def build_glm5_next(b: Builder) -> None:
    """Build the glm5-next graph."""
    hp = b.hp
    hc = sparse.positive(hp, "hyper_connection.count", sparse.MAX_STREAMS)
    gating = sparse.expert_gating(hp, SIGMOID)
    own = _has_indexer(hp)
    x = b.inp_embd()
    recurrent = b.recurrent_input()
    pools = _pools(b)
    out_ids = b.inp_out_ids()
    x = hyper.spread(b, x, hc)
    chosen: Tensor | None = None
    for il in b.layers:
        cur, mix = hyper.mix_in(b, x, "hc_attn", il)
        cur = b.expand(b.norm(cur, "attn_norm", il))
        if hp.is_recr(il):
            cur = kda.kda(b, cur, recurrent, il, full_gate=False)
        else:
            cur, chosen = _attention(b, cur, pools, None if own[il] else chosen, il)
        x = hyper.mix_out(b, cur, mix, il)
        cur, mix = hyper.mix_in(b, x, "hc_ffn", il)
        cur = b.norm(cur, "ffn_norm", il)
        cur = sparse.feed_forward(
            b, cur, il, gating=gating, scales=False, gate_up=None, clamp_glu=True
        )
        x = hyper.mix_out(b, cur, mix, il)
    flat = ops.get_rows(ops.reshape(x, hp.n_embd * hc, b.n_tokens), out_ids)
    x = ops.reshape(flat, hp.n_embd, hc, b.n_outputs)
    sparse.finish(b, hyper.mean(x))


def _attention(
    b: Builder, x: Tensor, pools: _Pools, chosen: Tensor | None, il: int
) -> tuple[Tensor, Tensor]:
    """Latent attention without rope over a selection; returns it to share it."""
    hp, u, n_head = b.hp, b.n_tokens, b.hp.n_head()
    rank = sparse.positive(hp, "attention.kv_lora_rank")
    size = sparse.positive(hp, "attention.key_length_mla")
    qr = b.norm(ops.mul_mat(b.need("attn_q_a", il), x), "attn_q_a_norm", il)
    q = ops.reshape(ops.mul_mat(b.need("attn_q_b", il), qr), size - hp.n_rot(), n_head, u)
    kv = b.norm(ops.mul_mat(b.need("attn_kv_a_mqa", il), x), "attn_kv_a_norm", il)
    kv = ops.reshape(kv, rank, 1, u)
    q = ops.mul_mat(b.need("attn_k_b", il), ops.permute(q, 0, 2, 1, 3))
    q = ops.permute(q, 0, 2, 1, 3)
    inp = b.attn_input("base")
    if chosen is None:
        chosen = _select(b, x, qr, inp.mask, pools, il)
    b.expand(q)
    b.expand(kv)
    b.expand(b.cpy_k("base", kv, inp.k_idxs, il))
    v_b = b.need("attn_v_b", il)
    if pools.gathers:
        b.expand(inp.mask)
        cur = _gathered(b, q, chosen, pools, v_b, il)
    else:
        mask = ops.reshape(chosen, *inp.mask.ne)
        keys = b.get_k("base", il, rank, 1)
        values = ops.view(keys, keys.ne, keys.nb[1:])
        cur = b.mha(q, keys, values, mask, il, v_mla=v_b)
    return ops.mul_mat(b.need("attn_output", il), cur), chosen


def _gathered(b: Builder, q: Tensor, chosen: Tensor, pools: _Pools, v_b: Tensor, il: int) -> Tensor:
    k, _ = b.kv_tensors("base", il)
    rank, n, u = k.ne[0], chosen.ne[0], b.n_tokens
    rows = ops.view(k, (rank, k.ne[1] * k.ne[2]), (k.nb[1],))
    keys = ops.reshape(ops.get_rows(rows, ops.reshape(chosen, n * u)), rank, n, 1, u)
    scores = ops.mul_mat(keys, ops.permute(q, 0, 2, 3, 1))
    scores = ops.soft_max(scores, pools.live)
    scores.param = True
    cur = ops.mul_mat(ops.cont(ops.transpose(keys)), scores)
    cur = ops.mul_mat(v_b, cur)
    return ops.reshape(ops.cont(ops.permute(cur, 0, 2, 1, 3)), cur.ne[0] * q.ne[1], u)


def _select(b: Builder, x: Tensor, qr: Tensor, mask: Tensor, pools: _Pools, il: int) -> Tensor:
    """Mask of the best-scored pools and the unfinished one, or their cells when gathering."""
    hp, u = b.hp, b.n_tokens
    n_head = sparse.positive(hp, "attention.indexer.head_count")
    head = sparse.positive(hp, "attention.indexer.key_length")
    q = ops.reshape(ops.mul_mat(b.need("indexer.attn_q_b", il), qr), head, n_head, u)
    k = ops.mul_mat(b.need("indexer.attn_k", il), x)
    k = b.norm(k, "indexer.k_norm", il, kind="layer", bias=True)
    gate = ops.mul_mat(b.need("indexer_compressor_gate", il), x)
    blank = ops.fill(ops.new_tensor("f32", head, u))
    row = ops.reshape(ops.concat(ops.concat(k, gate), blank), 3 * head, 1, u)
    b.expand(b.cpy_k(INDEX, row, pools.k_idxs, il))
    pooled = _pool_keys(b, pools, head, il)
    weights = ops.scale(ops.mul_mat(b.need("indexer.proj", il), x))
    scores = ops.lightning_indexer(q, pooled, weights, pools.mask)
    cells = _best_cells(scores, pools, u)
    return cells if pools.gathers else _shown(b, cells, mask, pools)


def _pool_keys(b: Builder, pools: _Pools, head: int, il: int) -> Tensor:
    """Pool the keys of pools this batch completes; returns all pooled keys."""
    cache = PoolCache.of(b, il, head)
    size, n_new = pools.new_members.ne[:2]
    rows = ops.get_rows(cache.tokens, ops.reshape(pools.new_members, size * n_new))
    rows = ops.reshape(rows, 2 * head, size, n_new)
    keys = ops.view(rows, (head, size, n_new), rows.nb[1:3])
    gates = ops.view(rows, (head, size, n_new), rows.nb[1:3], head * rows.nb[0])
    gates = ops.add(gates, b.need("indexer_compressor_ape", il))
    gates = ops.cont(ops.permute(gates, 1, 0, 2, 3))
    shares = ops.reshape(ops.soft_max(ops.reshape(gates, size, head * n_new)), size, head, n_new)
    keys = ops.cont(ops.permute(keys, 1, 0, 2, 3))
    fresh = ops.reshape(ops.sum_rows(ops.mul(shares, keys)), head, n_new)
    b.expand(ops.set_rows(cache.pooled, fresh, pools.new_cells))
    pooled = ops.get_rows(cache.pooled, pools.cells)
    return ops.reshape(pooled, head, 1, pools.cells.ne[0])


def _best_cells(scores: Tensor, pools: _Pools, u: int) -> Tensor:
    """Cells of the best-scored pools in order, and those of the unfinished one."""
    n, n_pool = pools.n_best, scores.ne[0]
    best = ops.top_k(scores, n)
    found = ops.get_rows(ops.reshape(scores, 1, n_pool, u), best)
    order = ops.argsort(ops.reshape(found, n, u))
    best = ops.get_rows(ops.reshape(ops.cast(best, "f32"), 1, n, u), order)
    best = ops.cast(ops.cont(ops.reshape(best, n, u)), "i32")
    cells = ops.get_rows(pools.members, ops.reshape(best, n * u))
    cells = ops.reshape(cells, pools.size * n, u)
    return ops.concat(cells, pools.tail) if pools.has_tail else cells


def _shown(b: Builder, cells: Tensor, mask: Tensor, pools: _Pools) -> Tensor:
    """Attention mask with all but `cells` hidden; slots without a cell write past its end."""
    u, n, n_kv = b.n_tokens, cells.ne[0], mask.ne[0]
    b.expand(cells)

    def filled(width: int) -> Tensor:
        row = ops.fill(ops.new_tensor(mask.type, width))
        return ops.reshape(ops.repeat(row, width, u, 1, 1), 1, width, u)

    hidden, zeros = filled(n_kv + n), filled(n)
    live = ops.unary(ops.reshape(pools.live, n, u), "exp")
    spare = ops.arange(n)
    ids = ops.cast(cells, "f32")
    ids = ops.add(ops.mul(ops.sub(ids, spare), live), spare)
    ids = ops.cast(ids, "i32")
    shown = ops.set_rows(hidden, zeros, ops.reshape(ids, n, u, 1))
    shown = ops.view(shown, (n_kv, u), (shown.nb[2],))
    return ops.add(shown, ops.reshape(mask, n_kv, u))
