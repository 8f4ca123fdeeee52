"""DeepSeek-V4: a sliding window of raw keys plus compressed keys of all that came before.

Every fourth token (CSA) or every 128th (HCA) one compressed key is written, from
states that gather the tokens in between; CSA blocks let an indexer pick among theirs.
Caches and states stay apart per sequence even when the cache is unified.

Source: llama.cpp src/models/deepseek4.cpp, src/llama-kv-cache-dsv4.cpp
(pin in core/_pins.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs import hyper, mtp, sparse
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import (
    CONTEXT_PADDING,
    Cache,
    CacheLayer,
    ContextParams,
    Layout,
    hadamard_size,
    make_cache,
    pad,
    swa_cells,
)
from ggufctl.errors import InvalidGguf

CSA, HCA = 4, 128
"""Tokens per compressed key."""

RAW, LID = "raw", "lid"
_CACHE_OF = {CSA: "csa", HCA: "hca"}


def _ratios(hp: HParams) -> list[int]:
    """Tokens per compressed key of every block, 0 = none are kept."""
    return hp.per_layer("attention.compress_ratios", None) or [0] * hp.n_layer_all


def per_block(hp: HParams, name: str) -> list[float] | None:
    """One number per block from a scalar or an array, None without the key."""
    value = hp.key(name)
    if value is None:
        return None
    if isinstance(value, tuple):
        numbers = [float(v) if isinstance(v, int | float) else 0.0 for v in value]
        return (numbers + [0.0] * hp.n_layer_all)[: hp.n_layer_all]
    return [float(hp.number(name, 0.0))] * hp.n_layer_all


def set_clamps(hp: HParams) -> None:
    """Read the clamp limits of routed and shared experts."""
    hp.swiglu_clamp_exp = per_block(hp, "swiglu_clamp_exp") or hp.swiglu_clamp_exp
    hp.swiglu_clamp_shexp = per_block(hp, "swiglu_clamp_shexp") or list(hp.swiglu_clamp_exp)


def _hparams(hp: HParams) -> None:
    if f"blk.{hp.n_layer}.nextn.eh_proj.weight" not in hp.tensors:
        hp.n_layer_nextn = 0
    hp.n_swa = hp.integer("attention.sliding_window", 0)
    hp.has_swa = True
    hp.is_swa_arr = [True] * hp.n_layer_all
    hp.n_embd_out = sparse.positive(hp, "hyper_connection.count", sparse.MAX_STREAMS) * hp.n_embd
    set_clamps(hp)


def _layout(hp: HParams, ctx: ContextParams) -> Layout:
    ctx = replace(ctx, n_stream=ctx.n_seq_max, kv_unified=False)
    ratios = _ratios(hp)
    head, index = hp.n_embd_head_k(), sparse.positive(hp, "attention.indexer.key_length")
    layout = Layout(n_rs=max(1, ctx.n_seq_max), n_snapshots=ctx.n_snapshots)
    layout.caches[RAW] = _cache(hp, ctx, list(range(hp.n_layer_all)), swa_cells(hp, ctx), head)
    for ratio, name in _CACHE_OF.items():
        layers = [il for il, r in enumerate(ratios) if r == ratio]
        cells = pad(max(1, -(-ctx.n_ctx_seq // ratio)), CONTEXT_PADDING)
        layout.caches[name] = _cache(hp, ctx, layers, cells, head)
        if ratio == CSA:
            lid = Cache(cells, ctx.n_stream, ctx.type_k, ctx.type_v, ctx.v_trans)
            lid.layers = {il: CacheLayer(index, 0) for il in layers}
            lid.n_rot_k = hadamard_size(index)
            layout.caches[LID] = lid
    for il in range(hp.n_layer):
        rows = _state_rows(ratios[il]) * ctx.n_seq_max
        width = _state_width(ratios[il], head)
        if ratios[il] == CSA:
            width += _state_width(CSA, index)
        if rows:
            layout.extra_recurrent[il] = 2 * 4 * rows * width * (1 + layout.n_snapshots)
    return layout


def _draft_layout(hp: HParams, ctx: ContextParams) -> Layout:
    """Memory of the draft head's context: ordinary caches, of which the sliding one is used."""
    layout = Layout(n_rs=max(1, ctx.n_seq_max))
    layers = list(range(hp.n_layer, hp.n_layer_all))
    layout.caches["base"] = make_cache(hp, ctx, [], ctx.n_ctx_seq)
    sliding = layout.caches["swa"] = make_cache(hp, ctx, layers, swa_cells(hp, ctx))
    head = hp.n_embd_head_k()
    if hp.n_embd_head_k_full == sparse.positive(hp, "attention.indexer.key_length"):
        sliding.n_rot_k = hadamard_size(head)
    return layout


def _cache(hp: HParams, ctx: ContextParams, layers: list[int], n_cells: int, head: int) -> Cache:
    cache = make_cache(hp, ctx, layers, n_cells, k_only=True)
    if layers and hp.n_embd_head_k_full == sparse.positive(hp, "attention.indexer.key_length"):
        cache.n_rot_k = hadamard_size(head)
    return cache


def _state_rows(ratio: int) -> int:
    return {CSA: 2 * CSA, HCA: HCA}.get(ratio, 0)


def _state_width(ratio: int, head: int) -> int:
    return 2 * head if ratio == CSA else head


# Inputs.


@dataclass(frozen=True, slots=True)
class _Compression:
    """Inputs of one kind of compression (llm_graph_input_dsv4::comp_input)."""

    cache: str
    ratio: int
    n_rows: int
    pos: Tensor
    persist_src: Tensor
    persist_dst: Tensor
    restore: tuple[Tensor, Tensor] | None
    """Rows that are taken back to, and where they go."""
    snapshot: tuple[Tensor, Tensor] | None
    """Rows that are kept to be taken back to, and where they go."""
    read: Tensor
    write: Tensor
    write_pos: Tensor
    mask: Tensor
    k_rot: Tensor | None


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Inputs of attention (llm_graph_input_dsv4)."""

    k_idxs: Tensor
    mask: Tensor
    k_rot: Tensor | None
    csa: _Compression
    hca: _Compression
    lid: _Compression


def _rotation(b: Builder, cache: str) -> Tensor | None:
    n = b.layout.caches[cache].n_rot_k
    return b.input("f32", n, n, name=f"{cache}_k_rot") if n else None


def _mask(b: Builder, cache: str, *, f16: bool) -> Tensor:
    n_cells, n_stream = b.layout.caches[cache].n_cells, b.n_seqs
    shape = (n_cells, b.n_tokens // n_stream, 1, n_stream)
    return b.input("f16" if f16 else "f32", *shape, name=f"{cache}_kq_mask")


def _compression(b: Builder, cache: str, ratio: int) -> _Compression:
    u = b.n_tokens
    n_rows = _state_rows(ratio) * b.ctx.n_seq_max
    n_persist = min(u, n_rows)
    n_blocks = u // ratio + max(1, b.n_seqs)
    n_read = (2 if ratio == CSA else 1) * ratio * n_blocks
    n_kept = b.layout.n_snapshots * n_rows

    def pair(what: str, n: int) -> tuple[Tensor, Tensor]:
        name = f"{cache}_state_{what}"
        return b.input("i32", n, name=f"{name}_src"), b.input("i32", n, name=f"{name}_dst")

    return _Compression(
        cache=cache,
        ratio=ratio,
        n_rows=n_rows,
        pos=b.input("i32", u, name=f"{cache}_state_pos"),
        persist_src=b.input("i32", n_persist, name=f"{cache}_state_persist_src"),
        persist_dst=b.input("i32", n_persist, name=f"{cache}_state_persist_dst"),
        restore=pair("restore", n_rows) if n_kept else None,
        snapshot=pair("snapshot", n_kept) if n_kept else None,
        read=b.input("i32", n_read, name=f"{cache}_state_read"),
        write=b.input("i64", n_blocks, name=f"{cache}_state_write"),
        write_pos=b.input("i32", n_blocks, name=f"{cache}_state_write_pos"),
        mask=_mask(b, cache, f16=cache == LID or b.flash_attn),
        k_rot=_rotation(b, cache),
    )


def _inputs(b: Builder) -> _Inputs:
    return _Inputs(
        k_idxs=b.input("i64", b.n_tokens, name="k_idxs"),
        mask=_mask(b, RAW, f16=b.flash_attn),
        k_rot=_rotation(b, RAW),
        csa=_compression(b, "csa", CSA),
        hca=_compression(b, "hca", HCA),
        lid=_compression(b, LID, CSA),
    )


# Compression.


def _state(b: Builder, inp: _Compression, width: int, il: int) -> tuple[Tensor, Tensor]:
    """Compressor states of a block, keys and scores, of all sequences in rows."""
    pair = []
    for what in ("kv", "score"):
        rows, n_planes = _state_rows(inp.ratio), b.ctx.n_seq_max * (1 + b.layout.n_snapshots)
        t = Tensor("f32", (width, rows, n_planes), name=f"{inp.cache}_state_{what}")
        t.buffer = b.placement.state_backend(il)
        pair.append(t)
    return pair[0], pair[1]


def _all_rows(state: Tensor, n_rows: int) -> Tensor:
    return ops.view(state, (state.ne[0], n_rows), (state.nb[1],))


def _compress(b: Builder, x: Tensor, inp: _Compression, name: str, head: int, il: int) -> None:
    """Write the compressed keys that this batch completes, and keep the rest in the state."""
    new_kv = b.mm(f"{name}_kv", x, il)
    new_score = b.mm(f"{name}_gate", x, il)
    new_score = ops.add(new_score, ops.get_rows(b.need(f"{name}_ape", il), inp.pos))
    states = _state(b, inp, _state_width(inp.ratio, head), il)
    n_all = inp.n_rows * (1 + b.layout.n_snapshots)
    sources = []
    restored = []
    for state, new in zip(states, (new_kv, new_score), strict=True):
        rows = _all_rows(state, n_all)
        if inp.restore is not None:
            src, dst = inp.restore
            rows = ops.set_rows(_all_rows(state, n_all), ops.get_rows(rows, src), dst)
        restored.append(rows)
        sources.append(ops.concat(_all_rows(rows, inp.n_rows), new, 1))
    pool = _pool_overlapping if inp.ratio == CSA else _pool_whole
    key = pool(sources[0], sources[1], inp, head)
    key = b.norm(key, f"{name}_norm", il)
    key = ops.rope(key, inp.write_pos)
    if inp.k_rot is not None:
        key = b.hadamard(key, inp.k_rot)
    b.expand(b.cpy_k(inp.cache, key, inp.write, il))
    if inp.snapshot is not None:
        src, dst = inp.snapshot
        news = zip(states, restored, (new_kv, new_score), strict=True)
        joined = [(state, ops.concat(rows, new, 1)) for state, rows, new in news]
        for state, rows in joined:
            b.expand(ops.set_rows(_all_rows(state, n_all), ops.get_rows(rows, src), dst))
    kept = [ops.get_rows(new, inp.persist_src) for new in (new_kv, new_score)]
    stored = [
        ops.set_rows(_all_rows(state, n_all), rows, inp.persist_dst)
        for state, rows in zip(states, kept, strict=True)
    ]
    for t in stored:
        b.expand(t)


def _weighted(values: Tensor, scores: Tensor) -> Tensor:
    values = ops.cont(ops.permute(values, 1, 0, 2, 3))
    scores = ops.cont(ops.permute(scores, 1, 0, 2, 3))
    total = ops.sum_rows(ops.mul(values, ops.soft_max(scores)))
    return ops.cont(ops.permute(total, 1, 0, 2, 3))


def _pool_whole(kv: Tensor, score: Tensor, inp: _Compression, head: int) -> Tensor:
    n_blocks = inp.write_pos.ne[0]
    kv, score = (
        ops.reshape(ops.get_rows(t, inp.read), head, inp.ratio, n_blocks) for t in (kv, score)
    )
    return _weighted(kv, score)


def _pool_overlapping(kv: Tensor, score: Tensor, inp: _Compression, head: int) -> Tensor:
    """Pool each group of tokens with the one before, of which another half is taken."""
    n_blocks, n_read = inp.write_pos.ne[0], inp.ratio * inp.write_pos.ne[0]

    def with_zero_row(t: Tensor) -> Tensor:
        row = ops.reshape(ops.scale(ops.view(t, (t.ne[0],))), t.ne[0], 1)
        return ops.concat(t, row, 1)

    def half(rows: Tensor, offset: int) -> Tensor:
        part = ops.cont(ops.view(rows, (head, n_read), (rows.nb[1],), offset))
        return ops.reshape(part, head, inp.ratio, n_blocks)

    kv, score = with_zero_row(kv), with_zero_row(score)
    both = []
    for t in (kv, score):
        rows = ops.get_rows(t, inp.read)
        before = half(rows, 0)
        both.append(ops.concat(before, half(rows, n_read * rows.nb[1] + head * rows.nb[0]), 1))
    return _weighted(both[0], both[1])


# Attention.


def _top_k(b: Builder, x: Tensor, qr: Tensor, pos: Tensor, inp: _Compression, il: int) -> Tensor:
    """Indices of the best-scored compressed keys."""
    hp = b.hp
    n_head = sparse.positive(hp, "attention.indexer.head_count")
    size = sparse.positive(hp, "attention.indexer.key_length")
    q = ops.reshape(b.mm("indexer.attn_q_b", qr, il), size, n_head, b.n_tokens)
    q = ops.rope(q, pos)
    assert inp.k_rot is not None
    q = b.hadamard(q, inp.k_rot)
    weights = ops.scale(b.mm("indexer.proj", x, il))
    keys = _whole(b.get_k(LID, il, size, 1))
    n_stream = keys.ne[3]
    q = sparse.split_streams(q, n_stream, 2)
    weights = sparse.split_streams(weights, n_stream, 1)
    scores = ops.lightning_indexer(q, keys, weights, inp.mask)
    n_best = min(scores.ne[0], hp.integer("attention.indexer.top_k", 0))
    return ops.cont(ops.top_k(scores, n_best))


def _whole(t: Tensor) -> Tensor:
    return ops.view(t, t.ne, t.nb[1:])


def _attend(
    b: Builder, x: Tensor, qr: Tensor, q: Tensor, kv: Tensor, pos: Tensor, inp: _Inputs, il: int
) -> Tensor:
    ratio = _ratios(b.hp)[il]
    top_k = _top_k(b, x, qr, pos, inp.lid, il) if ratio == CSA else None
    if inp.k_rot is not None:
        q, kv = b.hadamard(q, inp.k_rot), b.hadamard(kv, inp.k_rot)
    b.expand(q)
    b.expand(kv)
    b.expand(b.cpy_k(RAW, kv, inp.k_idxs, il))
    keys, mask = b.get_k(RAW, il), inp.mask
    if ratio in _CACHE_OF:
        comp = inp.csa if ratio == CSA else inp.hca
        keys = ops.concat(keys, _whole(b.get_k(comp.cache, il)), 2)
        kind = "f16" if b.flash_attn else "f32"
        shown = comp.mask if top_k is None else sparse.mask_top_k(comp.mask, top_k, zeros=kind)
        mask = ops.concat(mask, shown, 0)
    cur = b.mha(q, keys, keys, mask, il, sinks=b.w("attn_sinks", il))
    return cur if inp.k_rot is None else b.hadamard(cur, inp.k_rot)


def _queries(b: Builder, x: Tensor, pos: Tensor, il: int) -> tuple[Tensor, Tensor]:
    """Return the compressed query and the query itself, normed and roped."""
    head, n_head = b.hp.n_embd_head_k(il), b.hp.n_head(il)
    qr = b.norm(b.mm("attn_q_a", x, il), "attn_q_a_norm", il)
    q = ops.rms_norm(ops.reshape(b.mm("attn_q_b", qr, il), head, n_head, b.n_tokens))
    return qr, ops.rope(q, pos)


def _raw_keys(b: Builder, x: Tensor, pos: Tensor, il: int) -> Tensor:
    """Return the one key per token, which is its value as well."""
    kv = b.norm(b.mm("attn_kv", x, il), "attn_kv_a_norm", il)
    return ops.rope(ops.reshape(kv, b.hp.n_embd_head_k(il), 1, b.n_tokens), pos)


def _attention(b: Builder, x: Tensor, pos: Tensor, inp: _Inputs, il: int) -> Tensor:
    hp = b.hp
    head = hp.n_embd_head_k(il)
    qr, q = _queries(b, x, pos, il)
    kv = _raw_keys(b, x, pos, il)
    ratio = _ratios(hp)[il]
    if ratio == CSA:
        _compress(b, x, inp.csa, "attn_compressor", head, il)
        index = sparse.positive(hp, "attention.indexer.key_length")
        _compress(b, x, inp.lid, "indexer_compressor", index, il)
    elif ratio == HCA:
        _compress(b, x, inp.hca, "attn_compressor", head, il)
    elif ratio:
        raise InvalidGguf(f"The header's {hp.arch}.attention.compress_ratios holds {ratio}.")
    cur = _attend(b, x, qr, q, kv, pos, inp, il)
    return _output_groups(b, cur, pos, il)


def _output_groups(b: Builder, cur: Tensor, pos: Tensor, il: int) -> Tensor:
    """Undo rope on attention's result and project it group by group."""
    hp, u = b.hp, b.n_tokens
    head, n_head = hp.n_embd_head_k(il), hp.n_head(il)
    groups = sparse.positive(hp, "attention.output_group_count")
    rank = sparse.positive(hp, "attention.output_lora_rank")
    cur = ops.rope_back(ops.reshape(cur, head, n_head, u), pos)
    width = n_head // groups * head
    cur = ops.permute(ops.reshape(cur, width, groups, u), 0, 2, 1, 3)
    w = sparse.shaped_weight(b, "attn_output_a", il, width, rank, groups)
    cur = ops.permute(ops.mul_mat(w, cur), 0, 2, 1, 3)
    return b.mm("attn_output_b", ops.cont(cur, rank * groups, u), il)


def window_attention(b: Builder, x: Tensor, pos: Tensor, il: int) -> Tensor:
    """Attend to the raw keys of a sliding window alone (build_attn for attn_k_iswa)."""
    inp = b.attn_input("swa")
    _, q = _queries(b, x, pos, il)
    kv = _raw_keys(b, x, pos, il)
    if inp.k_rot is not None:
        q, kv = b.hadamard(q, inp.k_rot), b.hadamard(kv, inp.k_rot)
    b.expand(q)
    b.expand(kv)
    b.expand(b.cpy_k("swa", kv, inp.k_idxs, il))
    keys = b.get_k("swa", il)
    values = ops.view(keys, (kv.ne[0], *keys.ne[1:]), keys.nb[1:])
    cur = b.mha(q, keys, values, inp.mask, il, sinks=b.w("attn_sinks", il))
    if inp.k_rot is not None:
        cur = b.hadamard(cur, inp.k_rot)
    return _output_groups(b, cur, pos, il)


def draft_deepseek4(b: Builder) -> None:
    """Build the graph of the nextn block, whose input and result are all streams."""
    hp, u, il, pos = b.hp, b.n_tokens, b.layers[0], b.inp_pos()
    hc = sparse.positive(hp, "hyper_connection.count", sparse.MAX_STREAMS)
    width = hp.n_embd * hc
    hidden = b.input("f32", width, u, name="mtp_h_input")
    h = b.norm(ops.reshape(hidden, hp.n_embd, hc, u), "nextn.hnorm", il)
    e = ops.reshape(b.norm(mtp.token_rows(b), "nextn.enorm", il), hp.n_embd, 1, u)
    e = ops.repeat(e, hp.n_embd, hc, u, 1)
    x = b.mm("nextn.eh_proj", ops.concat(e, h), il)
    cur, mix = hyper.mix_in(b, x, "hc_attn", il)
    cur = window_attention(b, b.norm(cur, "attn_norm", il), pos, il)
    x = hyper.mix_out(b, cur, mix, il)
    cur, mix = hyper.mix_in(b, x, "hc_ffn", il)
    x = hyper.mix_out(b, feed_forward(b, b.norm(cur, "ffn_norm", il), il), mix, il)
    flat = ops.get_rows(ops.reshape(x, width, u), b.inp_out_ids()).as_output()
    x = hyper.mix_head(b, ops.reshape(flat, hp.n_embd, hc, b.n_outputs))
    b.embd = mtp.head_norm(b, x)
    head = b.w("nextn.shared_head_head", il)
    b.finish(ops.mul_mat(b.output_weight() if head is None else head, b.embd))


@architecture(
    "deepseek4",
    hparams=_hparams,
    layout=_layout,
    ties_output=False,
    mixed_batch=False,
    fused_ops=hyper.FUSED_OPS,
    draft=draft_deepseek4,
    draft_layout=_draft_layout,
    rolls_back=True,
)
def build_deepseek4(b: Builder) -> None:
    """Build the deepseek4 graph."""
    hp = b.hp
    hc = sparse.positive(hp, "hyper_connection.count", sparse.MAX_STREAMS)
    n_hash = hp.integer("hash_layer_count", 0)
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    inp = _inputs(b)
    b.expand(inp.mask)
    x = hyper.spread(b, x, hc)
    for il in b.layers:
        cur, mix = hyper.mix_in(b, x, "hc_attn", il)
        cur = _attention(b, b.norm(cur, "attn_norm", il), pos, inp, il)
        x = hyper.mix_out(b, cur, mix, il)
        cur, mix = hyper.mix_in(b, x, "hc_ffn", il)
        for t in (mix.residual, mix.post, mix.comb):
            b.expand(t)
        cur = feed_forward(b, b.norm(cur, "ffn_norm", il), il, by_token=il < n_hash)
        x = b.pin(hyper.mix_out(b, cur, mix, il), il)
    if b.hands_over:
        x.as_output()
    flat = ops.get_rows(ops.reshape(x, hp.n_embd * hc, b.n_tokens), out_ids)
    x = ops.reshape(flat, hp.n_embd, hc, b.n_outputs)
    sparse.finish(b, hyper.mix_head(b, x))


def feed_forward(b: Builder, x: Tensor, il: int, *, by_token: bool = False) -> Tensor:
    """Routed experts plus a shared one; early blocks choose experts by token id."""
    hp = b.hp
    selected = None
    if by_token:
        assert b.inp_tokens is not None
        selected = ops.get_rows(b.need("ffn_gate_tid2eid", il), b.inp_tokens)
    routed = b.moe(
        x,
        il,
        gating=sparse.expert_gating(hp),
        norm_w=bool(hp.key("expert_weights_norm", False)),
        w_scale=hp.number("expert_weights_scale", 0.0),
        n_used=hp.n_expert_used,
        gate_up=None,
        scales=False,
        probs_b=None if by_token else b.bias("exp_probs_b", il),
        selected=selected,
        clamp_glu=True,
    )
    shared = b.ffn(
        x,
        il,
        up="ffn_up_shexp",
        gate="ffn_gate_shexp",
        down="ffn_down_shexp",
        scales=False,
        clamp_glu=True,
    )
    return ops.add(routed, shared)
