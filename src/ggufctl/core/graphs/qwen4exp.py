"""Qwen4-exp: gated delta net, attention over pooled selections, gated hyper-connections.

One block also adds an embedding of the last few tokens, looked up by their hash (PLE).

Source: llama.cpp src/models/qwen4exp.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs import hyper, mtp, sparse
from ggufctl.core.graphs.builder import Builder, RecurrentInput
from ggufctl.core.graphs.kda import delta_rule, l2_norm
from ggufctl.core.graphs.kpool import PoolCache, pool_counts, pooled_cache
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.graphs.sparse import INDEX
from ggufctl.core.hparams import HParams, Memory
from ggufctl.core.layout import ContextParams, Layout, make_cache
from ggufctl.errors import InvalidGguf

F32 = 4
"""Bytes of a state's element."""

FULL_ATTENTION_INTERVAL = 4
"""Blocks per attention block in headers that do not say."""


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.HYBRID
    hp.is_mrope = True
    hp.n_embd_out = sparse.positive(hp, "hyper_connection.count", sparse.MAX_STREAMS) * hp.n_embd
    recurrent = hp.flags("attention.recurrent_layers")
    if recurrent is None:
        interval = hp.integer("full_attention_interval", FULL_ATTENTION_INTERVAL, low=1)
        recurrent = [il < hp.n_layer and (il + 1) % interval != 0 for il in range(hp.n_layer_all)]
    hp.is_recr_arr = recurrent


def _pool_size(hp: HParams) -> int:
    """Tokens per pooled indexer key, 0 for dense attention."""
    ratios = hp.per_layer("attention.compress_ratios", None)
    size = next((r for r in ratios if r), 0)
    if size > sparse.MAX_STREAMS:
        raise InvalidGguf(f"The header's {hp.arch}.attention.compress_ratios holds {size}.")
    return size


def _ple_layers(hp: HParams) -> tuple[int, ...]:
    value = hp.key("ple.layers")
    return tuple(v for v in value if isinstance(v, int)) if isinstance(value, tuple) else ()


def _ple_history(hp: HParams) -> int:
    """Tokens before a batch that the PLE convolution still reads."""
    return (hp.integer("ple.conv_kernel", 1, low=1) - 1) * hp.integer("ple.ngram_size", 0)


def _layout(hp: HParams, ctx: ContextParams) -> Layout:
    attending = [il for il in range(hp.n_layer) if not hp.is_recr(il)]
    layout = _attention_layout(hp, ctx, attending)
    layout.n_snapshots = ctx.n_snapshots
    layout.recr_layers = [il for il in range(hp.n_layer) if hp.is_recr(il)]
    layout.n_embd_r, layout.n_embd_s = hp.n_embd_r, hp.n_embd_s
    row = _ple_history(hp) * hp.n_embd_out
    layout.extra_recurrent = dict.fromkeys(_ple_layers(hp), F32 * row * layout.n_rs_rows)
    return layout


def _draft_layout(hp: HParams, ctx: ContextParams) -> Layout:
    return _attention_layout(hp, ctx, list(range(hp.n_layer, hp.n_layer_all)))


def _attention_layout(hp: HParams, ctx: ContextParams, layers: list[int]) -> Layout:
    """Caches of attending blocks."""
    layout = Layout(n_rs=max(1, ctx.n_seq_max))
    layout.caches["base"] = make_cache(hp, ctx, layers, ctx.n_ctx_seq)
    # A row holds a raw key and the pooled one.
    n_keys = 2 if _pool_size(hp) else 1
    layout.caches[INDEX] = pooled_cache(hp, ctx, layers, n_keys)
    return layout


@dataclass(frozen=True, slots=True)
class _Pools:
    """Inputs of pool selection (llm_graph_input_kpool)."""

    size: int
    n_best: int
    k_idxs: Tensor
    cells: Tensor
    members: Tensor
    mask: Tensor
    tail: Tensor
    new_members: Tensor
    new_cells: Tensor
    new_pos: Tensor


def _pools(b: Builder) -> _Pools | None:
    hp, u = b.hp, b.n_tokens
    size = _pool_size(hp)
    if not size:
        return None
    n_pool, n_new = pool_counts(b, size)
    pools = _Pools(
        size=size,
        n_best=min(n_pool, hp.integer("attention.indexer.top_k", 0) // size),
        k_idxs=b.input("i64", u, name="k_idxs_idx"),
        cells=b.input("i32", n_pool, name="pool_cells"),
        members=b.input("i32", size, n_pool, name="pool_idxs"),
        mask=b.input("f16", n_pool, u, name="pool_mask"),
        tail=b.input("i32", size - 1, u, name="tail_idxs"),
        new_members=b.input("i32", size, n_new, name="new_pool_idxs"),
        new_cells=b.input("i64", n_new, name="new_pool_rep"),
        new_pos=b.input("i32", 4 * n_new, name="new_pool_pos"),
    )
    for t in (pools.cells, pools.members, pools.mask, pools.tail):
        b.expand(t)
    return pools


def draft_qwen4exp(b: Builder) -> None:
    """Build the graph of the nextn block, whose input and result are all streams."""
    hp, u, il = b.hp, b.n_tokens, b.layers[0]
    hc = sparse.positive(hp, "hyper_connection.count", sparse.MAX_STREAMS)
    width = hp.n_embd * hc
    hidden = b.input("f32", width, u, name="mtp_h_input")
    rows = mtp.token_rows(b)
    b.expand(b.recurrent_input().s_copy)
    pools = _pools(b)
    pos, out_ids = b.inp_pos(), b.inp_out_ids()
    weight = sparse.shaped_weight(b, "nextn.hnorm", il, hp.n_embd, hc)
    h = b.norm(ops.reshape(hidden, hp.n_embd, hc, u), weight, il)
    e = ops.reshape(b.norm(rows, "nextn.enorm", il), hp.n_embd, 1, u)
    e = ops.repeat(e, hp.n_embd, hc, u, 1)
    x = b.mm("nextn.eh_proj", ops.concat(e, h), il, scale=False)
    cur, inject = _mix_in(b, x, "hc_attn", il)
    x = _mix_out(b, _attention(b, cur, pos, pools, il), x, inject, il)
    cur, inject = _mix_in(b, x, "hc_ffn", il)
    x = _mix_out(b, _feed_forward(b, cur, il), x, inject, il)
    flat = ops.reshape(x, width, u)
    wanted = ops.get_rows(flat, out_ids)
    speculation = b.ctx.speculation
    is_in_use = speculation is not None and speculation.in_use
    b.expand((wanted if is_in_use else flat).as_output())
    b.embd, _ = _mix(b, ops.reshape(wanted, hp.n_embd, hc, wanted.ne[1]), "nextn.hc_head", il)
    b.finish(b.mm_output(b.embd))


@architecture(
    "qwen4exp",
    hparams=_hparams,
    layout=_layout,
    fused_ops=(hyper.PRE, hyper.POST),
    draft=draft_qwen4exp,
    draft_layout=_draft_layout,
    rolls_back=True,
)
def build_qwen4exp(b: Builder) -> None:
    """Build the qwen4exp graph."""
    hp = b.hp
    hc = sparse.positive(hp, "hyper_connection.count", sparse.MAX_STREAMS)
    x = b.expand(b.inp_embd())
    recurrent = b.recurrent_input()
    pools = _pools(b)
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    ple_layers = _ple_layers(hp)
    ple = _ple_embedding(b) if ple_layers else None
    x = b.expand(hyper.spread(b, x, hc))
    for il in b.layers:
        if ple is not None and il in ple_layers:
            x = _ple(b, x, ple, recurrent, il)
        cur, inject = _mix_in(b, x, "hc_attn", il)
        b.expand(cur)
        if hp.is_recr(il):
            cur = _linear(b, cur, recurrent, il)
        else:
            cur = _attention(b, cur, pos, pools, il)
        if b.is_last(il) and not b.hands_over:
            cur, inject = ops.get_rows(cur, out_ids), ops.get_rows(inject, out_ids)
            x = _wanted(x, out_ids)
        x = _mix_out(b, cur, x, inject, il)
        cur, inject = _mix_in(b, x, "hc_ffn", il)
        cur = _feed_forward(b, cur, il)
        x = b.pin(_mix_out(b, cur, x, inject, il), il)
    if b.hands_over:
        b.expand(ops.reshape(x, hp.n_embd * hc, x.ne[2]).as_output())
        x = _wanted(x, out_ids)
    normed, gate = _gate(b, x, "output_hc", None)
    b.embd = _collapse(normed, gate, x)
    b.finish(b.mm_output(b.embd))


def _wanted(x: Tensor, out_ids: Tensor) -> Tensor:
    """Streams of the rows that are put out."""
    n_embd, hc, tokens, _ = x.ne
    x = ops.get_rows(ops.reshape(x, n_embd * hc, tokens), out_ids)
    return ops.reshape(x, n_embd, hc, x.ne[1])


# Hyper-connections.


def _gate(b: Builder, x: Tensor, name: str, il: int | None) -> tuple[Tensor, Tensor]:
    """Normed streams and the gate on them, flat."""
    n_embd, hc, tokens, _ = x.ne
    weight = sparse.shaped_weight(b, f"{name}_norm", il, n_embd, hc)
    normed = ops.reshape(ops.mul(ops.rms_norm(x), weight), n_embd * hc, tokens)
    low = ops.unary(ops.scale(b.mm(f"{name}_down", normed, il, scale=False)), "silu")
    return normed, b.mm(f"{name}_up", low, il, scale=False)


def _mix_in(b: Builder, x: Tensor, name: str, il: int) -> tuple[Tensor, Tensor]:
    """Input of a block from its streams, and the weights of its result in them."""
    mixed, normed = _mix(b, x, name, il)
    return mixed, b.mm(f"{name}_inject", normed, il, scale=False)


def _mix(b: Builder, x: Tensor, name: str, il: int) -> tuple[Tensor, Tensor]:
    """One stream of all, and what it was mixed from."""
    normed, gate = _gate(b, x, name, il)
    if hyper.PRE in b.unfused:
        mixed = _collapse(normed, gate, x)
    else:
        mixed = ops.dsv4_hc_pre(ops.reshape(normed, *x.ne), ops.reshape(gate, *x.ne))
        b.fused_nodes.append((mixed, il))
    return mixed, normed


def _collapse(normed: Tensor, gate: Tensor, x: Tensor) -> Tensor:
    """Gated mean of the streams, spelled out."""
    n_embd, hc, tokens, _ = x.ne
    gated = ops.reshape(ops.mul(normed, ops.unary(gate, "sigmoid")), n_embd, hc, tokens)
    mixed = ops.cont(ops.view(gated, (n_embd, tokens), (gated.nb[2],)))
    for i in range(1, hc):
        mixed = ops.add(mixed, ops.view(gated, (n_embd, tokens), (gated.nb[2],), i * gated.nb[1]))
    return ops.scale(mixed)


def _mix_out(b: Builder, x: Tensor, residual: Tensor, inject: Tensor, il: int) -> Tensor:
    """Streams after a block whose result is `x`."""
    n_embd, hc, tokens, _ = residual.ne
    weight = ops.scale(ops.unary(ops.scale(inject), "sigmoid"))
    if hyper.POST not in b.unfused:
        result = ops.dsv4_hc_post(x, residual, weight, None)
        b.fused_nodes.append((result, il))
        return result
    weight = ops.reshape(weight, 1, hc, tokens)
    x = ops.repeat(ops.reshape(x, n_embd, 1, tokens), n_embd, hc, tokens, 1)
    return ops.add(residual, ops.mul(x, weight))


# Attention.


def _attention(b: Builder, x: Tensor, pos: Tensor, pools: _Pools | None, il: int) -> Tensor:
    hp, u = b.hp, b.n_tokens
    head, n_head, n_kv_head = hp.n_embd_head_v(), hp.n_head(), hp.n_head_kv(il)
    inp = b.attn_input("base")
    shown = None if pools is None else _select(b, x, pos, inp.mask, pools, il)
    both = b.mm("attn_q", x, il)
    nb = (2 * head * F32, 2 * head * n_head * F32)
    q = b.norm(ops.view(both, (head, n_head, u), nb), "attn_q_norm", il)
    k, v = b.mm("attn_k", x, il), b.mm("attn_v", x, il)
    k = b.norm(ops.reshape(k, head, n_kv_head, u), "attn_k_norm", il)
    gate = ops.cont(ops.view(both, (head, n_head, u), nb, head * F32), head * n_head, u)
    v = ops.reshape(v, head, n_kv_head, u)
    q, k = ops.rope(q, pos), ops.rope(k, pos)
    cur = b.attn(q, k, v, il, wo=None) if shown is None else _attend(b, q, k, v, shown, il)
    return b.mm("attn_output", ops.mul(cur, ops.unary(gate, "sigmoid")), il)


def _attend(b: Builder, q: Tensor, k: Tensor, v: Tensor, shown: Tensor, il: int) -> Tensor:
    """Attention over the cells that a selection leaves."""
    inp = b.attn_input("base")
    if inp.k_rot is not None:
        q, k = b.hadamard(q, inp.k_rot), b.hadamard(k, inp.k_rot)
    if inp.v_rot is not None:
        v = b.hadamard(v, inp.v_rot)
    for t in (q, v, k):
        b.expand(t)
    b.expand(b.cpy_k("base", k, inp.k_idxs, il))
    b.expand(b.cpy_v("base", v, inp.v_idxs, il))
    mask = ops.reshape(shown, *inp.mask.ne)
    cur = b.mha(q, b.get_k("base", il), b.get_v("base", il), mask, il)
    return cur if inp.v_rot is None else b.hadamard(cur, inp.v_rot)


def _select(b: Builder, x: Tensor, pos: Tensor, mask: Tensor, pools: _Pools, il: int) -> Tensor:
    """Attention mask of the best-scored pools and the unfinished one."""
    hp, u = b.hp, b.n_tokens
    head = sparse.positive(hp, "attention.indexer.key_length")
    n_head = sparse.positive(hp, "attention.indexer.head_count")
    k = b.mm("indexer.k_proj", x, il, scale=False)
    blank = ops.fill(ops.new_tensor("f32", head, u))
    row = ops.reshape(ops.concat(k, blank), 2 * head, 1, u)
    b.expand(b.cpy_k(INDEX, row, pools.k_idxs, il))
    pooled = _pool_keys(b, pools, head, il)
    q = ops.reshape(b.mm("indexer.q_proj", x, il, scale=False), head, n_head, u)
    q = ops.rope(b.norm(q, "indexer.q_norm", il), pos)
    weights = ops.fill(ops.new_tensor("f32", n_head, u))
    scores = ops.lightning_indexer(q, pooled, weights, pools.mask)
    return _shown(b, scores, mask, pools)


def _pool_keys(b: Builder, pools: _Pools, head: int, il: int) -> Tensor:
    """Pool the keys of pools this batch completes; returns all pooled keys."""
    cache = PoolCache.of(b, il, head)
    size, n_new = pools.new_members.ne[:2]
    rows = ops.get_rows(cache.tokens, ops.reshape(pools.new_members, size * n_new))
    rows = ops.reshape(rows, head, size, n_new)
    total: Tensor | None = None
    for i in range(size):
        part = ops.view(rows, (head, n_new), (rows.nb[2],), i * rows.nb[1])
        total = ops.cont(part) if total is None else ops.add(total, part)
    assert total is not None
    fresh = b.norm(ops.scale(total), "indexer.k_norm", il)
    fresh = ops.rope(ops.reshape(fresh, head, 1, n_new), pools.new_pos)
    fresh = ops.reshape(fresh, head, n_new)
    b.expand(ops.set_rows(cache.pooled, fresh, pools.new_cells))
    pooled = ops.get_rows(cache.pooled, pools.cells)
    return ops.reshape(pooled, head, 1, pools.cells.ne[0])


def _shown(b: Builder, scores: Tensor, mask: Tensor, pools: _Pools) -> Tensor:
    u, n, size, n_pool = b.n_tokens, pools.n_best, pools.size, scores.ne[0]
    n_kv, rows, planes, streams = mask.ne
    best = ops.top_k(scores, n)
    cells = ops.get_rows(pools.members, ops.reshape(best, n * u))
    cells = ops.concat(ops.reshape(cells, size * n, u), pools.tail)
    n_cells = cells.ne[0]
    b.expand(cells)

    def filled(width: int) -> Tensor:
        row = ops.fill(ops.new_tensor(mask.type, width))
        return ops.reshape(ops.repeat(row, width, u, 1, 1), 1, width, u)

    hidden, zeros = filled(n_kv + n_cells), filled(n_cells)
    found = ops.get_rows(ops.reshape(scores, 1, n_pool, u), best)
    live = ops.repeat(ops.clamp(ops.scale(found)), size, n, u, 1)
    live = ops.reshape(live, size * n, u)
    live_tail = ops.clamp(ops.scale(ops.cast(pools.tail, "f32")))
    live = ops.concat(live, live_tail)
    spare = ops.scale(ops.cumsum(ops.fill(live)))
    ids = ops.cast(cells, "f32")
    ids = ops.add(ops.mul(ops.sub(ids, spare), live), spare)
    ids = ops.cast(ids, "i32")
    shown = ops.set_rows(hidden, zeros, ops.reshape(ids, n_cells, u, 1))
    row_nb = shown.nb[2]
    nb = (row_nb, row_nb * rows, row_nb * rows * planes)
    return ops.add(ops.view(shown, (n_kv, rows, planes, streams), nb), mask)


# Linear attention.


def _conv_window(
    b: Builder, stored: Tensor, x: Tensor, inp: RecurrentInput, n_before: int
) -> Tensor:
    """Put what a convolution needs of earlier batches before `x`, and keep its tail."""
    width, seqs = x.ne[0], b.n_seqs
    before = ops.reshape(b.rs(inp, stored, stored.ne[0]), n_before, width, seqs)
    cur = ops.concat(before, ops.transpose(x))
    for slot in range(1 + b.layout.n_snapshots):
        first = max(0, cur.ne[0] - n_before - slot)
        tail = ops.view(cur, (n_before, width, seqs), cur.nb[1:3], first * cur.nb[0])
        offset = slot * b.layout.n_rs * stored.nb[1]
        target = ops.view(stored, (n_before * width, seqs), (stored.nb[1],), offset)
        b.expand(ops.cpy(ops.cont(tail), target))
    return cur


def _linear(b: Builder, x: Tensor, inp: RecurrentInput, il: int) -> Tensor:
    """Gated delta net."""
    hp, u, seqs, tokens = b.hp, b.n_tokens, b.n_seqs, b.n_seq_tokens
    size, n_k, n_v = hp.ssm_d_state, hp.ssm_n_group, hp.ssm_dt_rank
    mixed = b.mm("attn_qkv", x, il)
    mixed = ops.reshape(mixed, mixed.ne[0], tokens, seqs)
    z = b.mm("attn_gate", x, il)
    beta = ops.reshape(b.mm("ssm_beta", x, il), 1, n_v, tokens, seqs)
    beta = ops.unary(beta, "sigmoid")
    gate = ops.reshape(b.mm("ssm_alpha", x, il), n_v, tokens, seqs)
    gate = ops.unary(ops.add(gate, b.need("ssm_dt", il, "bias")), "softplus")
    gate = ops.reshape(ops.mul(gate, b.need("ssm_a", il, "")), 1, n_v, tokens, seqs)
    conv_state, state = b.states(il)
    kernel = b.need("ssm_conv1d", il)
    window = _conv_window(b, conv_state, mixed, inp, kernel.ne[0] - 1)
    current = ops.reshape(b.rs(inp, state, hp.n_embd_s), size, size, n_v, seqs)
    mixed = ops.unary(ops.ssm_conv(window, kernel), "silu")
    row = size * (2 * n_k + n_v) * F32
    nb = (size * F32, row, row * tokens)
    q = ops.view(mixed, (size, n_k, tokens, seqs), nb)
    k = ops.view(mixed, (size, n_k, tokens, seqs), nb, size * n_k * F32)
    v = ops.view(mixed, (size, n_v, tokens, seqs), nb, 2 * size * n_k * F32)
    cur = delta_rule(b, l2_norm(q), l2_norm(k), v, gate, beta, current, il)
    z = ops.reshape(z, size, n_v, tokens, seqs)
    cur = ops.mul(b.norm(cur, "ssm_norm", il), ops.unary(z, "sigmoid"))
    cur = b.mm("ssm_out", ops.reshape(cur, size * n_v, tokens, seqs), il)
    return ops.reshape(cur, hp.n_embd, u)


def _feed_forward(b: Builder, x: Tensor, il: int) -> Tensor:
    routed = b.moe(x, il, norm_w=True, w_scale=b.hp.number("expert_weights_scale", 0.0))
    if not b.has("ffn_up_shexp", il):
        return routed
    shared = b.ffn(x, il, up="ffn_up_shexp", gate="ffn_gate_shexp", down="ffn_down_shexp")
    gate = ops.unary(b.mm("ffn_gate_inp_shexp", x, il, scale=False), "sigmoid")
    return ops.add(routed, ops.mul(shared, gate))


# Embedding of n-grams.


def _ple_embedding(b: Builder) -> Tensor:
    """Rows of the n-gram table, one per hash and token, side by side."""
    hp, u = b.hp, b.n_tokens
    n = (hp.integer("ple.ngram_size", 1, low=1) - 1) * hp.integer("ple.heads_per_ngram", 0)
    rows = ops.get_rows(b.need("per_layer_token_embd"), b.input("i32", n * u, name="ple_rows"))
    return b.expand(ops.reshape(rows, rows.ne[0] * n, u))


def _ple(b: Builder, x: Tensor, embd: Tensor, inp: RecurrentInput, il: int) -> Tensor:
    """Add the n-gram embedding to the streams, gated and convolved."""
    hp, u, seqs, tokens = b.hp, b.n_tokens, b.n_seqs, b.n_seq_tokens
    n_embd, hc, _, _ = x.ne
    width = n_embd * hc

    def normed(t: Tensor, name: str) -> Tensor:
        t = ops.rms_norm(ops.reshape(t, n_embd, hc, u))
        return ops.mul(t, sparse.shaped_weight(b, name, il, n_embd, hc))

    key = b.mm("ple_key", embd, il, scale=False)
    value = b.mm("ple_value", embd, il, scale=False)
    key, query = normed(key, "ple_norm_key"), normed(x, "ple_norm_query")
    match = ops.scale(ops.sum_rows(ops.mul(key, query)))
    size = ops.sqrt(ops.clamp(ops.unary(match, "abs")))
    gate = ops.unary(ops.mul(ops.unary(match, "sgn"), size), "sigmoid")
    value = ops.repeat(ops.reshape(value, n_embd, 1, u), n_embd, hc, u, 1)
    gated = ops.mul(value, gate)
    cur = normed(ops.reshape(gated, width, u), "ple_norm_conv")
    cur = ops.reshape(ops.reshape(cur, width, u), width, tokens, seqs)
    n_before = _ple_history(hp)
    stored = Tensor("f32", (n_before * width, b.layout.n_rs_rows), name="cache_ple_r")
    stored.buffer = b.placement.state_backend(il)
    window = _conv_window(b, stored, cur, inp, n_before)
    cur = _dilated_conv(b, window, n_before, width, il)
    cur = ops.cont(ops.unary(cur, "silu"))
    return ops.add(x, ops.add(gated, ops.reshape(cur, n_embd, hc, u)))


def _dilated_conv(b: Builder, window: Tensor, n_before: int, width: int, il: int) -> Tensor:
    """Depth-wise convolution as a sum of shifted copies."""
    hp, seqs, tokens = b.hp, b.n_seqs, b.n_seq_tokens
    kernel = b.need("ple_conv1d", il)
    taps = sparse.positive(hp, "ple.conv_kernel", sparse.MAX_STREAMS)
    step = hp.integer("ple.ngram_size", 0)
    total: Tensor | None = None
    for i in range(taps):
        start = n_before - (taps - 1 - i) * step
        part = ops.view(window, (tokens, width, seqs), window.nb[1:3], start * window.nb[0])
        part = ops.cont(ops.transpose(part))
        weight = ops.view(kernel, (1, width), (kernel.nb[1],), i * kernel.nb[0])
        weight = ops.reshape(ops.cont(weight), width)
        if weight.type != "f32":
            weight = ops.cast(weight, "f32")
        term = ops.mul(part, weight)
        total = term if total is None else ops.add(total, term)
    assert total is not None
    return total
