"""Blocks shared by models with sparse attention: latent attention and its key indexer.

An indexer scores every cached token with a small key of its own; attention then sees
only the best-scored ones. The indexer's keys are a second cache, named "idx" here.

Source: llama.cpp src/llama-graph.cpp (`build_attn_inp_k_dsa`, `build_attn` for
attn_k_dsa), src/llama-kv-cache-dsa.cpp, src/models/deepseek32.cpp (pin in
core/_pins.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.ggml.types import row_bytes
from ggufctl.core.graphs import mtp
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import (
    Cache,
    CacheLayer,
    ContextParams,
    Layout,
    hadamard_size,
    make_cache,
)
from ggufctl.core.placement import block_of
from ggufctl.errors import InvalidGguf

__all__ = [
    "INDEX",
    "MAX_STREAMS",
    "IndexerInput",
    "Latent",
    "attn_top_k",
    "draft_latent",
    "dsa_layout",
    "expert_gating",
    "feed_forward",
    "finish",
    "index_cache",
    "indexer_input",
    "latent_block",
    "latent_kv",
    "latent_query",
    "lightning_indexer",
    "loads_trunk",
    "mask_top_k",
    "positive",
    "set_latent",
    "shaped_weight",
    "split_streams",
]

MAX_STREAMS = 64
"""Most hyper-connection streams and pooled tokens that a header may ask for."""

INDEX = "idx"
"""Name of the indexer's key cache in a layout."""

_GATING = {1: "softmax", 2: "sigmoid", 3: "softmax_weight", 4: "sqrt_softplus"}


def positive(hp: HParams, name: str, most: int = 1 << 20) -> int:
    """Integer of the header that must be at least one.

    Raises:
        InvalidGguf: it is missing, zero, or above `most`.
    """
    value = hp.integer(name, 0)
    if not 1 <= value <= most:
        raise InvalidGguf(f"The header's {hp.arch}.{name} must be 1 to {most}, not {value}.")
    return value


def expert_gating(hp: HParams, default: int = 0) -> str:
    """How router logits become probabilities, by the header's `expert_gating_func`.

    Raises:
        InvalidGguf: the header names none that llama.cpp knows.
    """
    value = hp.integer("expert_gating_func", 0) or default
    if value not in _GATING:
        raise InvalidGguf(f"The header's {hp.arch}.expert_gating_func is {value}, unknown.")
    return _GATING[value]


def loads_trunk(hp: HParams, name: str) -> bool:
    """Load the trunk, and of nextn blocks the selection bias, whose skip flag is missing."""
    il = block_of(name)
    return il is None or il < hp.n_layer or name.endswith(".exp_probs_b.bias")


def shaped_weight(b: Builder, name: str, il: int | None, *ne: int) -> Tensor:
    """Weight that the loader reshapes to `ne` (TENSOR_ALLOW_RESHAPE)."""
    stored = b.need(name, il)
    w = Tensor(stored.type, ne, name=stored.name)
    w.buffer, w.is_weight = stored.buffer, True
    return w


# Layout.


def set_latent(hp: HParams) -> None:
    """Mark the attention as latent: the cache keeps one compressed key per token.

    Raises:
        InvalidGguf: the header lacks the decompressed head sizes.
    """
    for name in ("attention.key_length_mla", "attention.value_length_mla"):
        positive(hp, name)
    hp.is_mla = True


def index_cache(
    hp: HParams,
    ctx: ContextParams,
    layers: list[int],
    *,
    width: int | None = None,
    n_v: int = 0,
) -> Cache:
    """Cache of one indexer key per token.

    Args:
        hp: hyper-parameters.
        ctx: resolved settings.
        layers: blocks with an indexer.
        width: elements of a cached row, by default one key.
        n_v: elements of the value row that llama.cpp allocates beside it, never used.
    """
    head = positive(hp, "attention.indexer.key_length")
    cache = Cache(ctx.n_ctx_seq, ctx.n_stream, ctx.type_k, ctx.type_v, ctx.v_trans)
    cache.layers = {il: CacheLayer(width or head, n_v) for il in layers}
    cache.n_rot_k = hadamard_size(head)
    return cache


def dsa_layout(
    hp: HParams, ctx: ContextParams, layers: list[int], index_layers: list[int]
) -> Layout:
    """Latent cache for `layers` and an indexer cache for `index_layers`."""
    layout = Layout(n_rs=max(1, ctx.n_seq_max))
    layout.caches["base"] = make_cache(hp, ctx, layers, ctx.n_ctx_seq)
    layout.caches[INDEX] = index_cache(hp, ctx, index_layers)
    return layout


# Indexer.


@dataclass(slots=True)
class IndexerInput:
    """Inputs of the lightning indexer (the lid part of llm_graph_input_attn_k_dsa)."""

    k_idxs: Tensor
    mask: Tensor
    k_rot: Tensor | None


def indexer_input(b: Builder, *, rotates: bool = True) -> IndexerInput:
    """Inputs of the indexer. Its mask is f16 always: llama.cpp never unfuses the indexer.

    Args:
        b: builder.
        rotates: whether queries and keys are rotated before they are compared.
    """
    cache = b.layout.caches[INDEX]
    n = cache.n_rot_k
    return IndexerInput(
        k_idxs=b.input("i64", b.n_tokens, name="k_idxs_lid"),
        mask=b.mask(cache.n_cells, f16=True),
        k_rot=b.input("f32", n, n, name="k_rot_lid") if rotates else None,
    )


def split_streams(x: Tensor, n_stream: int, dim: int) -> Tensor:
    """View with tokens (dimension `dim`) split over streams, which become the last one."""
    ne, nb = list(x.ne), list(x.nb)
    ne[dim] //= n_stream
    ne[3] = n_stream
    strides = tuple(nb[i] // n_stream if i > dim else nb[i] for i in (1, 2, 3))
    return ops.view(x, tuple(ne), strides)


def lightning_indexer(
    b: Builder, x: Tensor, qr: Tensor, pos: Tensor, inp: IndexerInput, il: int
) -> Tensor:
    """Indices of the best-scored cached tokens for each token.

    Args:
        b: builder.
        x: normed input of the block.
        qr: compressed query.
        pos: positions.
        inp: inputs of the indexer.
        il: block.
    """
    hp, u = b.hp, b.n_tokens
    n_head = positive(hp, "attention.indexer.head_count")
    size = positive(hp, "attention.indexer.key_length")
    q = ops.mul_mat(b.need("indexer.attn_q_b", il), qr)
    q = ops.rope(ops.reshape(q, size, n_head, u), pos)
    k = ops.mul_mat(b.need("indexer.attn_k", il), x)
    k = b.norm(k, "indexer.k_norm", il, kind="layer", bias=True)
    k = ops.rope(ops.reshape(k, size, 1, u), pos)
    if inp.k_rot is not None:
        q, k = ops.mul_mat(inp.k_rot, q), ops.mul_mat(inp.k_rot, k)
    b.expand(b.cpy_k(INDEX, k, inp.k_idxs, il))
    weights = ops.mul_mat(b.need("indexer.proj", il), x)
    keys = b.get_k(INDEX, il, size, 1)
    n_stream = keys.ne[3]
    q = split_streams(q, n_stream, 2)
    weights = ops.scale(split_streams(weights, n_stream, 1))
    scores = ops.lightning_indexer(q, keys, weights, inp.mask)
    n_best = min(scores.ne[0], hp.integer("attention.indexer.top_k", 0))
    return ops.cont(ops.top_k(scores, n_best))


def mask_top_k(mask: Tensor, top_k: Tensor, *, zeros: str = "f32") -> Tensor:
    """Attention mask that leaves only the cells `top_k` names.

    Args:
        mask: mask to narrow.
        top_k: cells per token.
        zeros: type of the zeros that are written into it.
    """
    n_kv, rows, _, n_stream = mask.ne
    hidden = ops.fill(mask)
    hidden = ops.view(hidden, (1, n_kv, rows, n_stream), hidden.nb[:3])
    n_best, _, _, last = top_k.ne
    ids = ops.view(
        top_k, (n_best, top_k.ne[1], last, 1), (top_k.nb[1], top_k.nb[2], last * top_k.nb[3])
    )
    shown = ops.set_rows(hidden, ops.fill(ops.new_tensor(zeros, 1, *ids.ne[:3])), ids)
    shown = ops.view(shown, (n_kv, rows, 1, n_stream), (shown.nb[2], shown.nb[3], shown.nb[3]))
    return ops.add(shown, mask)


def attn_top_k(
    b: Builder,
    latent: Latent,
    top_k: Tensor,
    il: int,
    *,
    v_mla: Tensor | None,
    wo: str | None = "attn_output",
    sinks: Tensor | None = None,
) -> Tensor:
    """Latent attention over the cells `top_k` names (build_attn for attn_k_dsa)."""
    inp = b.attn_input("base")
    q, k, v = latent.q, latent.k, latent.v
    for t in (q, v, k):
        b.expand(t)
    b.expand(b.cpy_k("base", k, inp.k_idxs, il))
    mask = mask_top_k(inp.mask, top_k)
    keys = b.get_k("base", il)
    values = ops.view(keys, (v.ne[0], *keys.ne[1:]), keys.nb[1:])
    cur = b.mha(q, keys, values, mask, il, sinks=sinks, v_mla=v_mla)
    return b.wo(cur, il, wo, bias=False)


# Latent attention.


@dataclass(frozen=True, slots=True)
class Latent:
    """Query, key and value of latent attention with the up-projection absorbed (MQA)."""

    q: Tensor
    k: Tensor
    v: Tensor


def latent_query(
    b: Builder, qr: Tensor, il: int, n_head: int, size: int, n_rot: int
) -> tuple[Tensor, Tensor]:
    """Parts of the query without and with rope, from the compressed query `qr`."""
    q = ops.mul_mat(b.need("attn_q_b", il), qr)
    row, n_nope = row_bytes(q.type, size), size - n_rot
    nb = (row, row * n_head)
    nope = ops.view(q, (n_nope, n_head, b.n_tokens), nb)
    return nope, ops.view(q, (n_rot, n_head, b.n_tokens), nb, row_bytes(q.type, n_nope))


def latent_kv(b: Builder, x: Tensor, il: int, rank: int, n_rot: int) -> tuple[Tensor, Tensor]:
    """Compressed key/value and the shared rope key, not normed, not roped."""
    both = ops.mul_mat(b.need("attn_kv_a_mqa", il), x)
    row = row_bytes(both.type, rank + n_rot)
    kv = ops.view(both, (rank, b.n_tokens), (row,))
    return kv, ops.view(both, (n_rot, 1, b.n_tokens), (row, row), row_bytes(both.type, rank))


def latent_block(
    b: Builder,
    x: Tensor,
    qr: Tensor,
    pos: Tensor,
    il: int,
    *,
    n_head: int,
    size: int,
    rank: int,
    norms_k: bool = False,
) -> Latent:
    """Query, key and value of latent attention.

    Args:
        b: builder.
        x: normed input of the block.
        qr: compressed query.
        pos: positions.
        il: block.
        n_head: heads.
        size: width of a decompressed query head.
        rank: width of the compressed key/value.
        norms_k: norm the shared rope key.
    """
    n_rot, u = b.hp.n_rot(), b.n_tokens
    q_nope, q_pe = latent_query(b, qr, il, n_head, size, n_rot)
    kv, k_pe = latent_kv(b, x, il, rank, n_rot)
    if norms_k:
        k_pe = b.norm(k_pe, "attn_k_norm", il)
    q_pe, k_pe = ops.rope(q_pe, pos), ops.rope(k_pe, pos)
    kv = b.norm(kv, "attn_kv_a_norm", il)
    absorbed = ops.mul_mat(b.need("attn_k_b", il), ops.permute(q_nope, 0, 2, 1, 3))
    q = ops.concat(ops.permute(absorbed, 0, 2, 1, 3), q_pe)
    kv = ops.reshape(kv, rank, 1, u)
    return Latent(q, ops.concat(kv, k_pe), kv)


def feed_forward(
    b: Builder,
    x: Tensor,
    il: int,
    *,
    gating: str,
    scales: bool = True,
    gate_up: str | None = "ffn_gate_up_exps",
    clamp_glu: bool = False,
) -> Tensor:
    """Leading dense blocks, then routed experts plus a shared one (DeepSeek style).

    Args:
        b: builder.
        x: normed input.
        il: block.
        gating: how router logits become probabilities.
        scales: apply the weights' `.scale` tensors.
        gate_up: name of merged gate and up experts, None where the C++ takes none.
        clamp_glu: see `Builder.ffn`.
    """
    hp = b.hp
    if il < hp.integer("leading_dense_block_count", 0):
        return b.ffn(x, il, scales=scales, clamp_glu=clamp_glu)
    routed = b.moe(
        x,
        il,
        gating=gating,
        norm_w=bool(hp.key("expert_weights_norm", False)),
        w_scale=hp.number("expert_weights_scale", 0.0),
        probs_b=b.bias("exp_probs_b", il),
        scales=scales,
        gate_up=gate_up,
        clamp_glu=clamp_glu,
    )
    shared = b.ffn(
        x,
        il,
        up="ffn_up_shexp",
        gate="ffn_gate_shexp",
        down="ffn_down_shexp",
        scales=scales,
        clamp_glu=clamp_glu,
    )
    return ops.add(routed, shared)


def draft_latent(b: Builder, *, gating: str, scales: bool = True) -> None:
    """Build the graph of a nextn block: latent attention without an indexer, and experts.

    Args:
        b: builder.
        gating: how router logits become probabilities.
        scales: apply the experts' `.scale` tensors.
    """
    hp, il = b.hp, b.layers[0]
    x = mtp.fused_input(b)
    cur = b.norm(x, "attn_norm", il)
    qr = b.norm(ops.mul_mat(b.need("attn_q_a", il), cur), "attn_q_a_norm", il)
    size = positive(hp, "attention.key_length_mla")
    rank = positive(hp, "attention.kv_lora_rank")
    latent = latent_block(b, cur, qr, b.inp_pos(), il, n_head=hp.n_head(), size=size, rank=rank)
    cur = b.attn_k(latent.q, latent.k, latent.v, il, v_mla=b.need("attn_v_b", il))
    residual = ops.add(cur, x)
    cur = feed_forward(b, b.norm(residual, "ffn_norm", il), il, gating=gating, scales=scales)
    x = mtp.head_norm(b, ops.add(cur, residual))
    b.finish(mtp.head_logits(b, mtp.keep_wanted(b, x)))


def finish(b: Builder, x: Tensor) -> None:
    """Final norm and a plain output matrix, to which neither scale nor adapters apply."""
    b.embd = b.norm(x, "output_norm")
    b.finish(ops.mul_mat(b.output_weight(), b.embd))
