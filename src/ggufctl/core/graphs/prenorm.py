"""Pieces that many transformers share: norm before attention and feed-forward, experts.

Source: llama.cpp src/models/*.cpp, where every family writes them out; src/llama-model.cpp
`get_rope_factors` (pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Callable

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.hparams import HParams, Memory
from ggufctl.core.placement import block_of
from ggufctl.errors import InvalidGguf

__all__ = [
    "Block",
    "QkNorm",
    "build_trunk",
    "expert_gating",
    "has_lead",
    "header_experts",
    "loads_nextn_except",
    "longrope_factors",
    "per_block_numbers",
    "self_attention",
    "shared_expert",
    "use_swa",
]

Block = Callable[[Tensor, int], Tensor]
"""Part of a block: given its input and the block's number, returns its output."""

GATING = {1: "softmax", 2: "sigmoid", 3: "softmax_weight", 4: "sqrt_softplus"}
"""`expert_gating_func` → what the router's logits go through."""


class QkNorm:
    """Where queries and keys are normed per head."""

    NONE = "none"
    BEFORE_ROPE = "before"
    AFTER_ROPE = "after"


def build_trunk(
    b: Builder,
    attention: Block,
    feed_forward: Block,
    *,
    x: Tensor | None = None,
    before: Block | None = None,
    after_attention: Block | None = None,
    after_block: Block | None = None,
    ffn_norm: str = "ffn_norm",
    norm_kind: str = "rms",
    norm_bias: bool = False,
    crops: bool = True,
) -> Tensor:
    """Build all blocks: x + attention(norm(x)), then the same with the feed-forward.

    Args:
        b: the graph's builder.
        attention: given the normed input.
        feed_forward: given the normed sum.
        x: input of the first block, by default the embeddings.
        before: what is done to a block's input first.
        after_attention: what is done before the residual is added, on output rows only.
        after_block: what is done to a block's output.
        ffn_norm: name of the second norm.
        norm_kind: kind of both norms, see `Builder.norm`.
        norm_bias: whether the norms add the biases the file has.
        crops: whether the last block keeps output rows only.

    Returns:
        Output of the last block.
    """
    x = b.inp_embd() if x is None else x
    out_ids = b.inp_out_ids() if crops else None
    for il in b.layers:
        residual = x = x if before is None else before(x, il)
        cur = attention(b.norm(x, "attn_norm", il, kind=norm_kind, bias=norm_bias), il)
        if out_ids is not None and b.is_last(il):
            cur, residual = ops.get_rows(cur, out_ids), ops.get_rows(residual, out_ids)
        if after_attention is not None:
            cur = after_attention(cur, il)
        ffn_inp = ops.add(cur, residual)
        cur = feed_forward(b.norm(ffn_inp, ffn_norm, il, kind=norm_kind, bias=norm_bias), il)
        x = ops.add(cur, ffn_inp)
        if after_block is not None:
            x = after_block(x, il)
    return x


def self_attention(
    b: Builder,
    pos: Tensor,
    *,
    qk_norm: str = QkNorm.NONE,
    rope: Callable[[int], bool] | None = None,
    factors: Callable[[Builder, int], Tensor | None] | None = None,
    n_embd_head: int | None = None,
    wo: str | None = "attn_output",
    wo_bias: bool = True,
    sinks: bool = False,
    q_scale: Tensor | None = None,
) -> Block:
    """Attention over the cache with rotary positions, as a block's part.

    Args:
        b: the graph's builder.
        pos: positions.
        qk_norm: whether and when queries and keys are normed; a missing norm is none.
        rope: whether a block rotates, by default all do.
        factors: rope factors of a block.
        n_embd_head: width of a head, if not the header's.
        wo: name of the output projection, None for none.
        wo_bias: add its bias if the file has one.
        sinks: whether the blocks have attention sinks.
        q_scale: temperature by which queries are multiplied.
    """

    def rotate(x: Tensor, norm: str, il: int) -> Tensor:
        rotates = rope is None or rope(il)
        if qk_norm == QkNorm.BEFORE_ROPE and b.has(norm, il):
            x = b.norm(x, norm, il)
        if rotates:
            x = ops.rope(x, pos, factors(b, il) if factors is not None else None)
        if qk_norm == QkNorm.AFTER_ROPE and b.has(norm, il):
            x = b.norm(x, norm, il)
        return x

    def attend(x: Tensor, il: int) -> Tensor:
        q, k, v = b.qkv(x, il, n_embd_head=n_embd_head)
        q, k = rotate(q, "attn_q_norm", il), rotate(k, "attn_k_norm", il)
        if q_scale is not None:
            q = ops.mul(q, q_scale)
        sink = b.w("attn_sinks", il) if sinks else None
        return b.attn(q, k, v, il, wo=wo, wo_bias=wo_bias, sinks=sink)

    return attend


def longrope_factors(b: Builder, il: int) -> Tensor | None:
    """Rope factors, of longrope models those for the context's length."""
    factors = b.rope_factors(il)
    if factors is not None:
        return factors
    original = b.hp.integer("rope.scaling.original_context_length", b.hp.n_ctx_train)
    is_long = b.ctx.n_ctx_seq > original
    return b.rope_factors(il, "rope_factors_long" if is_long else "rope_factors_short")


def has_lead(hp: HParams, il: int) -> bool:
    """Whether a block is one of the dense ones before the experts."""
    return il < hp.integer("leading_dense_block_count", 0)


def expert_gating(hp: HParams, default: str = "softmax") -> str:
    """What the router's logits go through, as `Builder.moe` names it.

    Raises:
        InvalidGguf: the header names a function that llama.cpp does not know.
    """
    number = hp.integer("expert_gating_func", 0)
    if number and number not in GATING:
        raise InvalidGguf(f"The header's {hp.arch}.expert_gating_func is {number}, not 1 to 4.")
    return GATING.get(number, default)


def header_experts(
    b: Builder, x: Tensor, il: int, *, gating: str | None = None, scales: bool = False
) -> Tensor:
    """Routed experts whose gating, normalisation and scale the header gives.

    Args:
        b: the graph's builder.
        x: normed input.
        il: block.
        gating: what the router's logits go through, by default as the header says.
        scales: apply the experts' `.scale` tensors.
    """
    hp = b.hp
    return b.moe(
        x,
        il,
        gating=expert_gating(hp) if gating is None else gating,
        norm_w=bool(hp.key("expert_weights_norm", False)),
        w_scale=hp.number("expert_weights_scale", 0.0),
        probs_b=b.bias("exp_probs_b", il),
        scales=scales,
    )


def shared_expert(b: Builder, x: Tensor, il: int, *, scales: bool = False) -> Tensor:
    """Expert that every token takes."""
    return b.ffn(
        x,
        il,
        up="ffn_up_shexp",
        gate="ffn_gate_shexp",
        down="ffn_down_shexp",
        scales=scales,
    )


def loads_nextn_except(*skipped: str) -> Callable[[HParams, str], bool]:
    """Rule of a loader that reads over only some tensors of nextn blocks.

    Args:
        skipped: beginnings of the names, after the block's number, of those it reads over.
    """

    def loads(hp: HParams, name: str) -> bool:
        il = block_of(name)
        if il is None or not hp.n_layer or il < hp.n_layer:
            return True
        return not name.removeprefix(f"blk.{il}.").startswith(skipped)

    return loads


def per_block_numbers(hp: HParams, name: str) -> list[float]:
    """One number per block from a scalar or an array, 0 without the key.

    Raises:
        InvalidGguf: the array is too short or holds something else.
    """
    value = hp.key(name)
    if not isinstance(value, tuple):
        return [hp.number(name, 0.0)] * hp.n_layer_all
    numbers = [float(v) for v in value if isinstance(v, int | float)]
    if len(numbers) < hp.n_layer_all:
        raise InvalidGguf(f"The header's {hp.arch}.{name} lacks numbers for some blocks.")
    return numbers[: hp.n_layer_all]


def use_swa(
    hp: HParams, n_swa: int, period: int | None = None, *, dense_first: bool = False
) -> None:
    """Give a model a second cache for its sliding blocks.

    Args:
        hp: hyper-parameters to change.
        n_swa: window [tokens].
        period: see `HParams.set_swa`; None = the header must name the sliding blocks.
        dense_first: whether a period starts with its dense block.

    Raises:
        InvalidGguf: the header does not name the sliding blocks but has to.
    """
    pattern = "attention.sliding_window_pattern"
    if period is None and hp.flags(pattern) is None:
        raise InvalidGguf(f"The header has no array {hp.arch}.{pattern}.")
    hp.memory = Memory.ISWA
    hp.set_swa(n_swa, period or 0, dense_first=dense_first)
