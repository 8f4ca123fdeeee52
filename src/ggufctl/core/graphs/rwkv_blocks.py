"""Blocks of RWKV-6 and RWKV-7 and of their conversions from other models.

Source: llama.cpp src/models/rwkv6-base.cpp, rwkv7-base.cpp, src/llama-graph.cpp
`build_rwkv_token_shift_load`, `build_rwkv_token_shift_store` (pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Callable

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder, RecurrentInput
from ggufctl.core.graphs.mamba_blocks import F32
from ggufctl.core.hparams import HParams, Memory

__all__ = ["TimeMix", "build_converted", "build_rwkv", "lora", "set_rwkv", "store_wkv"]

TimeMix = Callable[[Builder, Tensor, Tensor, RecurrentInput, int], Tensor]
"""Given the normed tokens and the token before each, returns what is added."""

ChannelMix = Callable[[Builder, Tensor, Tensor, int], Tensor]


def set_rwkv(hp: HParams) -> None:
    """All blocks are recurrent; they remember the last token and a matrix per head."""
    hp.memory = Memory.RECURRENT
    hp.wkv_head_size = hp.integer("wkv.head_size", 0)
    hp.token_shift_count = hp.integer("token_shift_count", 2)


def build_rwkv(
    b: Builder,
    time_mix: TimeMix,
    channel_mix: ChannelMix,
    rescale_every: int = 0,
) -> None:
    """Build a whole RWKV model.

    Args:
        b: the graph's builder.
        time_mix: first half of a block.
        channel_mix: second half.
        rescale_every: halve the output of every so many blocks, 0 = never.
    """
    hp, u = b.hp, b.n_tokens
    shape = (hp.n_embd, b.n_seq_tokens, b.n_seqs)
    x = b.inp_embd()
    x = b.norm(x, "token_embd_norm", kind="layer", bias=True, pin_il=0)
    recurrent = b.recurrent_input()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        x = ops.reshape(x, *shape)
        shifts = _load_shifts(b, recurrent, il)
        time_shift, channel_shift = (
            ops.view(shifts, (hp.n_embd, 1, b.n_seqs), shifts.nb[1:3], i * hp.n_embd * F32)
            for i in range(2)
        )
        normed = b.norm(x, "attn_norm", il, kind="layer", bias=True)
        cur = time_mix(b, normed, _previous(normed, time_shift), recurrent, il)
        residual = ops.add(cur, x)
        cur = b.norm(residual, "attn_norm_2", il, kind="layer", bias=True)
        before = _previous(cur, channel_shift)
        _store_shifts(b, ops.concat(_last(normed), _last(cur), 1), il)
        rows = [ops.reshape(t, hp.n_embd, u) for t in (residual, cur, before)]
        if b.is_last(il):
            rows = [ops.get_rows(t, out_ids) for t in rows]
        residual, cur, before = rows
        x = ops.add(channel_mix(b, cur, before, il), residual)
        if rescale_every and (il + 1) % rescale_every == 0:
            x = ops.scale(x)
    b.finish(b.head(x, kind="layer", bias=True))


def build_converted(b: Builder, time_mix: TimeMix) -> None:
    """Build a transformer whose attention was replaced by a time mix."""
    hp, u = b.hp, b.n_tokens
    x = b.inp_embd()
    recurrent = b.recurrent_input()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        x = ops.reshape(x, hp.n_embd, b.n_seq_tokens, b.n_seqs)
        shift = _load_shifts(b, recurrent, il)
        normed = b.norm(x, "attn_norm", il)
        cur = time_mix(b, normed, _previous(normed, shift), recurrent, il)
        _store_shifts(b, _last(normed), il)
        residual = ops.reshape(ops.add(cur, x), hp.n_embd, u)
        if b.is_last(il):
            residual = ops.get_rows(residual, out_ids)
        cur = b.norm(residual, "ffn_norm", il)
        x = ops.add(b.ffn(cur, il, scales=False), residual)
    b.finish(b.head(x, bias=True))


def store_wkv(b: Builder, result: Tensor, il: int) -> Tensor:
    """Store the states at the end of a kernel's result; returns its outputs, flat."""
    hp, u, seqs = b.hp, b.n_tokens, b.n_seqs
    output = ops.view(result, (hp.n_embd * u,))
    n = hp.n_embd * hp.wkv_head_size * seqs
    new = ops.view(result, (n,), (), hp.n_embd * u * F32)
    b.expand(ops.cpy(new, ops.view(b.states(il)[1], (n,))))
    return output


def lora(b: Builder, name: str, x: Tensor, il: int, activation: str | None = None) -> Tensor:
    """Two thin matrices `<name>1` and `<name>2`, with an activation in between."""
    x = ops.mul_mat(b.need(f"{name}1", il), x)
    if activation is not None:
        x = ops.unary(x, activation)
    return ops.mul_mat(b.need(f"{name}2", il), x)


def _load_shifts(b: Builder, inp: RecurrentInput, il: int) -> Tensor:
    hp = b.hp
    shifts = b.rs(inp, b.states(il)[0], hp.n_embd_r)
    return ops.reshape(shifts, hp.n_embd, hp.token_shift_count, b.n_seqs)


def _store_shifts(b: Builder, shifts: Tensor, il: int) -> None:
    hp = b.hp
    n = hp.n_embd * hp.token_shift_count * b.n_seqs
    b.expand(ops.cpy(ops.view(shifts, (n,)), ops.view(b.states(il)[0], (n,))))


def _previous(x: Tensor, shift: Tensor) -> Tensor:
    """Token before each token: the remembered one, then all but the last."""
    n_embd, tokens, seqs, _ = x.ne
    return ops.concat(shift, ops.view(x, (n_embd, tokens - 1, seqs), x.nb[1:3]), 1)


def _last(x: Tensor) -> Tensor:
    """Last token of each sequence."""
    n_embd, tokens, seqs, _ = x.ne
    return ops.view(x, (n_embd, 1, seqs), x.nb[1:3], (tokens - 1) * n_embd * F32)
