"""RWKV-6 and Qwen2 converted to it.

Source: llama.cpp src/models/rwkv6.cpp, rwkv6qwen2.cpp, rwkv6-base.cpp
(pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder, RecurrentInput
from ggufctl.core.graphs.mamba_blocks import F32
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.graphs.rwkv_blocks import build_converted, build_rwkv, lora, set_rwkv, store_wkv
from ggufctl.core.hparams import HParams

MIXES = "wkvrg"
"""Parts that tokens are mixed with their predecessors for."""


def _hparams(hp: HParams) -> None:
    set_rwkv(hp)
    every = hp.integer("rescale_every_n_layers", 0)
    if every:
        hp.block_marks = [(il + 1) % every == 0 for il in range(hp.n_layer_all)]


@architecture("rwkv6", hparams=_hparams, ties_output=False)
def build_rwkv6(b: Builder) -> None:
    """Build the rwkv6 graph."""
    build_rwkv(b, _time_mix, _channel_mix, b.hp.integer("rescale_every_n_layers", 0))


@architecture("rwkv6qwen2", hparams=set_rwkv, ties_output=False)
def build_rwkv6qwen2(b: Builder) -> None:
    """Build the rwkv6qwen2 graph."""
    build_converted(b, _time_mix)


def _channel_mix(b: Builder, x: Tensor, before: Tensor, il: int) -> Tensor:
    step = ops.sub(before, x)
    key = ops.add(ops.mul(step, b.need("channel_mix_lerp_k", il)), x)
    receptance = ops.add(ops.mul(step, b.need("channel_mix_lerp_r", il)), x)
    receptance = b.mm("channel_mix_receptance", receptance, il, scale=False)
    receptance = ops.unary(receptance, "sigmoid")
    key = ops.sqr(ops.unary(b.mm("channel_mix_key", key, il, scale=False), "relu"))
    return ops.mul(receptance, b.mm("channel_mix_value", key, il, scale=False))


def _time_mix(b: Builder, x: Tensor, before: Tensor, inp: RecurrentInput, il: int) -> Tensor:
    hp, u = b.hp, b.n_tokens
    size = hp.wkv_head_size
    n_head = hp.n_embd // size
    is_converted = not b.has("time_mix_first", il)
    w, k, v, r, g = _mixes(b, x, before, il)
    r, k, v = (
        b.add_bias(b.mm(name, t, il, scale=False), name, il)
        for name, t in (("time_mix_receptance", r), ("time_mix_key", k), ("time_mix_value", v))
    )
    g = b.mm("time_mix_gate", g, il, scale=False)
    g = ops.unary(g, "sigmoid" if is_converted else "silu")
    heads_kv = hp.n_head_kv(il)
    if heads_kv not in (0, n_head):
        k, v = (
            ops.repeat(ops.reshape(t, size, 1, heads_kv, u), size, n_head // heads_kv, heads_kv, u)
            for t in (k, v)
        )
    k, v, r = (ops.reshape(t, size, n_head, u) for t in (k, v, r))
    w = ops.add(lora(b, "time_mix_decay_w", w, il, "tanh"), b.need("time_mix_decay", il))
    w = ops.unary(ops.unary(ops.unary(w, "exp"), "neg"), "exp")
    w = ops.reshape(w, size, n_head, u)
    if is_converted:
        k = ops.sub(k, ops.mul(k, w))
    state = b.rs(inp, b.states(il)[1], hp.n_embd_s)
    if is_converted:
        result = ops.gated_linear_attn(k, v, r, w, state)
    else:
        result = ops.rwkv_wkv6(k, v, r, b.need("time_mix_first", il), w, state)
    cur = store_wkv(b, result, il)
    if not is_converted:
        cur = ops.norm(ops.reshape(cur, hp.n_embd // n_head, n_head, u))
    cur = ops.reshape(cur, hp.n_embd, u)
    if not is_converted:
        cur = ops.mul(cur, b.need("time_mix_ln", il))
        cur = ops.add(cur, b.need("time_mix_ln", il, "bias"))
    cur = b.mm("time_mix_output", ops.mul(cur, g), il, scale=False)
    return ops.reshape(cur, hp.n_embd, b.n_seq_tokens, b.n_seqs)


def _mixes(b: Builder, x: Tensor, before: Tensor, il: int) -> list[Tensor]:
    """Mix each token with its predecessor, by factors that depend on both."""
    n_embd, u, n = b.hp.n_embd, b.n_tokens, len(MIXES)
    step = ops.reshape(ops.sub(before, x), n_embd, u)
    x = ops.reshape(x, n_embd, u)
    factors = ops.add(ops.mul(step, b.need("time_mix_lerp_x", il)), x)
    w1, w2 = b.need("time_mix_w1", il), b.need("time_mix_w2", il)
    factors = ops.unary(ops.mul_mat(w1, factors), "tanh")
    factors = ops.reshape(factors, w1.ne[1] // n, 1, n, u)
    factors = ops.cont(ops.permute(factors, 0, 1, 3, 2))
    factors = ops.mul_mat(ops.reshape(w2, w2.ne[0], w2.ne[1], 1, n), factors)
    fused = b.w("time_mix_lerp_fused", il)

    def part(t: Tensor, i: int) -> Tensor:
        return ops.view(t, (n_embd, u), (t.nb[1],), i * n_embd * u * F32)

    if fused is not None:
        step, x = ops.reshape(step, n_embd, 1, u), ops.reshape(x, n_embd, 1, u)
        mixed = ops.add(ops.mul(ops.add(factors, fused), step), x)
        return [part(mixed, i) for i in range(n)]
    return [
        ops.add(ops.mul(ops.add(part(factors, i), b.need(f"time_mix_lerp_{m}", il)), step), x)
        for i, m in enumerate(MIXES)
    ]
