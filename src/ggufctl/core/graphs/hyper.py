"""Hyper-connections: several residual streams that each block mixes, as DeepSeek-V4 has.

Source: llama.cpp src/models/deepseek4.cpp `build_hc_pre`, `build_hc_post`,
`build_hc_head`, `build_hc_sinkhorn` (pin in core/_pins.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.sparse import positive

__all__ = [
    "FUSED_OPS",
    "Mix",
    "head_weights",
    "mean",
    "mix_head",
    "mix_in",
    "mix_out",
    "mix_weights",
    "spread",
    "weighted_sum",
]

PRE, COMB, POST = "DSV4_HC_PRE", "DSV4_HC_COMB", "DSV4_HC_POST"

MAX_ITERATIONS = 1024
"""Most iterations of the normalisation that a header may ask for."""

FUSED_OPS = (PRE, COMB, POST)
"""Operations that llama.cpp probes for, in its order."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What brings a block's result back into the streams."""

    residual: Tensor
    post: Tensor
    comb: Tensor


def spread(b: Builder, x: Tensor, n_stream: int) -> Tensor:
    """Copy an embedding into every stream (n_embd × streams × n_tokens)."""
    x = ops.reshape(x, x.ne[0], 1, b.n_tokens)
    return ops.repeat(x, x.ne[0], n_stream, b.n_tokens, 1)


def _flat(t: Tensor, n: int, first: int) -> Tensor:
    return ops.view(t, (n,), (), first * t.nb[0])


def _rows(t: Tensor, n: int, first: int) -> Tensor:
    return ops.view(t, (n, t.ne[1]), (t.nb[1],), first * t.nb[0])


def _affine(x: Tensor, factor: Tensor, base: Tensor) -> Tensor:
    return ops.add(ops.mul(x, factor), base)


def _mixes(b: Builder, x: Tensor, name: str, il: int | None) -> Tensor:
    flat = ops.reshape(x, x.ne[0] * x.ne[1], x.ne[2])
    return ops.mul_mat(b.need(name, il), ops.rms_norm(flat))


def mix_weights(b: Builder, x: Tensor, name: str, il: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of the streams in a block's input and of its result in them, and all mixes.

    Args:
        b: builder.
        x: streams (n_embd × streams × n_tokens).
        name: common part of the weights' names, "hc_attn" or "hc_ffn".
        il: block.
    """
    hc = x.ne[1]
    mixes = _mixes(b, x, f"{name}_fn", il)
    factor, base = b.need(f"{name}_scale", il), b.need(f"{name}_base", il)
    pre = _affine(_rows(mixes, hc, 0), _flat(factor, 1, 0), _flat(base, hc, 0))
    pre = ops.scale(ops.unary(pre, "sigmoid"))
    post = _affine(_rows(mixes, hc, hc), _flat(factor, 1, 1), _flat(base, hc, hc))
    return pre, ops.scale(ops.unary(post, "sigmoid")), mixes


def mix_in(b: Builder, x: Tensor, name: str, il: int) -> tuple[Tensor, Mix]:
    """Input of a block from its streams, and how its result goes back; see `mix_weights`."""
    hc, tokens = x.ne[1], x.ne[2]
    pre, post, mixes = mix_weights(b, x, name, il)
    factor, base = b.need(f"{name}_scale", il), b.need(f"{name}_base", il)
    if COMB in b.unfused:
        comb = _rows(mixes, hc * hc, 2 * hc)
        comb = _affine(comb, _flat(factor, 1, 2), _flat(base, hc * hc, 2 * hc))
        comb = _sinkhorn(b, ops.reshape(comb, hc, hc, tokens))
    else:
        comb = ops.dsv4_hc_comb(mixes, factor, base)
        b.fused_nodes.append((comb, il))
    if PRE in b.unfused:
        return weighted_sum(x, pre), Mix(x, post, comb)
    result = ops.dsv4_hc_pre(x, pre)
    b.fused_nodes.append((result, il))
    return result, Mix(x, post, comb)


def _sinkhorn(b: Builder, comb: Tensor) -> Tensor:
    """Rows and columns normalised in turn until both sum to one."""
    comb = ops.soft_max(comb)
    epsilon = ops.fill(ops.new_tensor("f32", 1))
    comb = ops.add(comb, epsilon)

    def norm_columns(comb: Tensor) -> Tensor:
        total = ops.sum_rows(ops.cont(ops.permute(comb, 1, 0, 2, 3)))
        return ops.div(comb, ops.permute(ops.add(total, epsilon), 1, 0, 2, 3))

    comb = norm_columns(comb)
    for _ in range(1, positive(b.hp, "hyper_connection.sinkhorn_iterations", MAX_ITERATIONS)):
        comb = ops.div(comb, ops.add(ops.sum_rows(comb), epsilon))
        comb = norm_columns(comb)
    return comb


def weighted_sum(x: Tensor, weights: Tensor) -> Tensor:
    """Sum of the streams by their weights, spelled out."""
    n_embd, hc, tokens, _ = x.ne
    total: Tensor | None = None
    for i in range(hc):
        stream = ops.view(x, (n_embd, tokens), (x.nb[2],), i * x.nb[1])
        weight = ops.view(weights, (1, tokens), (weights.nb[1],), i * weights.nb[0])
        part = ops.mul(stream, weight)
        total = part if total is None else ops.add(total, part)
    assert total is not None
    return total


def mix_out(b: Builder, x: Tensor, mix: Mix, il: int) -> Tensor:
    """Streams after a block whose result is `x`."""
    residual, post, comb = mix.residual, mix.post, mix.comb
    if POST not in b.unfused:
        result = ops.dsv4_hc_post(x, residual, post, comb)
        b.fused_nodes.append((result, il))
        return result
    n_embd, tokens = x.ne[0], x.ne[1]
    hc = residual.ne[1]
    streams: Tensor | None = None
    for to in range(hc):
        weight = ops.view(post, (1, tokens), (post.nb[1],), to * post.nb[0])
        cur = ops.mul(x, weight)
        for source in range(hc):
            stream = ops.view(
                residual, (n_embd, tokens), (residual.nb[2],), source * residual.nb[1]
            )
            offset = to * comb.nb[0] + source * comb.nb[1]
            share = ops.view(comb, (1, tokens), (comb.nb[2],), offset)
            cur = ops.add(cur, ops.mul(stream, share))
        cur = ops.reshape(cur, n_embd, 1, tokens)
        streams = cur if streams is None else ops.concat(streams, cur, 1)
    assert streams is not None
    return streams


def head_weights(b: Builder, x: Tensor) -> Tensor:
    """Weights of the streams where they are joined at the end."""
    mixes = _mixes(b, x, "output_hc_fn", None)
    pre = _affine(mixes, b.need("output_hc_scale"), b.need("output_hc_base"))
    return ops.scale(ops.unary(pre, "sigmoid"))


def mix_head(b: Builder, x: Tensor) -> Tensor:
    """Join the streams before the final norm."""
    return weighted_sum(x, head_weights(b, x))


def mean(x: Tensor) -> Tensor:
    """Mean of the streams (build_hc_mean)."""
    n_embd, hc, tokens, _ = x.ne
    total = ops.view(x, (n_embd, tokens), (x.nb[2],))
    for i in range(1, hc):
        total = ops.add(total, ops.view(x, (n_embd, tokens), (x.nb[2],), i * x.nb[1]))
    return ops.scale(total)
