"""RWKV-7 and transformers converted to it.

Source: llama.cpp src/models/rwkv7.cpp, arwkv7.cpp, rwkv7-base.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder, RecurrentInput
from ggufctl.core.graphs.mamba_blocks import F32
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.graphs.rwkv_blocks import (
    TimeMix,
    build_converted,
    build_rwkv,
    lora,
    set_rwkv,
    store_wkv,
)


@architecture("rwkv7", hparams=set_rwkv, ties_output=False)
def build_rwkv7(b: Builder) -> None:
    """Build the rwkv7 graph."""
    build_rwkv(b, _time_mix(), _channel_mix)


@architecture("arwkv7", hparams=set_rwkv, ties_output=False)
def build_arwkv7(b: Builder) -> None:
    """Build the arwkv7 graph."""
    build_converted(b, _time_mix())


def _channel_mix(b: Builder, x: Tensor, before: Tensor, il: int) -> Tensor:
    key = ops.add(ops.mul(ops.sub(before, x), b.need("channel_mix_lerp_k", il)), x)
    key = ops.sqr(ops.unary(b.mm("channel_mix_key", key, il, scale=False), "relu"))
    return b.mm("channel_mix_value", key, il, scale=False)


def _time_mix() -> TimeMix:
    """Time mix that lets later blocks read the first block's values."""
    first: list[Tensor] = []

    def mix(b: Builder, x: Tensor, before: Tensor, inp: RecurrentInput, il: int) -> Tensor:
        hp, u = b.hp, b.n_tokens
        size = hp.wkv_head_size
        n_head = hp.n_embd // size
        is_gated = b.has("time_mix_g1", il) and b.has("time_mix_g2", il)
        parts = _mixes(b, x, before, il, 6 if is_gated else 5)
        r = b.mm("time_mix_receptance", parts[0], il, scale=False)
        w = ops.add(lora(b, "time_mix_w", parts[1], il, "tanh"), b.need("time_mix_w0", il))
        w = ops.unary(ops.scale(ops.unary(w, "sigmoid")), "exp")
        k = b.mm("time_mix_key", parts[2], il, scale=False)
        v = b.mm("time_mix_value", parts[3], il, scale=False)
        if first:
            share = ops.add(lora(b, "time_mix_v", parts[3], il), b.need("time_mix_v0", il))
            v = ops.add(v, ops.mul(ops.sub(first[0], v), ops.unary(share, "sigmoid")))
        else:
            first.append(v)
        a = ops.add(lora(b, "time_mix_a", parts[4], il), b.need("time_mix_a0", il))
        a = ops.unary(a, "sigmoid")
        removed = ops.reshape(ops.mul(k, b.need("time_mix_k_k", il)), size, n_head, u)
        removed = ops.l2_norm(removed)
        scaled = ops.mul(k, b.need("time_mix_k_a", il))
        k = ops.add(k, ops.sub(ops.mul(a, scaled), scaled))
        r, w, k, v, a = (ops.reshape(t, size, n_head, u) for t in (r, w, k, v, a))
        state = b.rs(inp, b.states(il)[1], hp.n_embd_s)
        result = ops.rwkv_wkv7(r, w, k, v, ops.unary(removed, "neg"), ops.mul(removed, a), state)
        cur = _normed(b, store_wkv(b, result, il), n_head, il)
        bonus = ops.reshape(b.need("time_mix_r_k", il), size, n_head)
        bonus = ops.sum_rows(ops.mul(ops.mul(k, r), bonus))
        cur = ops.add(cur, ops.reshape(ops.mul(v, bonus), hp.n_embd, u))
        if is_gated:
            cur = ops.mul(cur, lora(b, "time_mix_g", parts[5], il, "sigmoid"))
        cur = b.mm("time_mix_output", cur, il, scale=False)
        return ops.reshape(cur, hp.n_embd, b.n_seq_tokens, b.n_seqs)

    return mix


def _normed(b: Builder, x: Tensor, n_head: int, il: int) -> Tensor:
    """Norm per head, in models that have one."""
    n_embd, u = b.hp.n_embd, b.n_tokens
    factor, bias = b.w("time_mix_ln", il), b.bias("time_mix_ln", il)
    if factor is None or bias is None:
        return ops.reshape(x, n_embd, u)
    x = ops.norm(ops.reshape(x, n_embd // n_head, n_head, u))
    return ops.add(ops.mul(ops.reshape(x, n_embd, u), factor), bias)


def _mixes(b: Builder, x: Tensor, before: Tensor, il: int, n: int) -> list[Tensor]:
    """Mix each token with its predecessor, by fixed factors for each of `n` parts."""
    n_embd, u = b.hp.n_embd, b.n_tokens
    step = ops.repeat(ops.sub(before, x), n_embd, b.n_seq_tokens, b.n_seqs, n)
    mixed = ops.add(ops.mul(step, b.need("time_mix_lerp_fused", il)), x)
    return [ops.view(mixed, (n_embd, u), (mixed.nb[1],), i * n_embd * u * F32) for i in range(n)]
