"""Gated delta nets and gated attention: the blocks of Qwen3-Next and Qwen3.5.

Source: llama.cpp src/models/delta-net-base.cpp, qwen3next.cpp, qwen35.cpp
(pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder, RecurrentInput
from ggufctl.core.graphs.kda import delta_rule, l2_norm
from ggufctl.core.graphs.mamba_blocks import F32
from ggufctl.core.graphs.prenorm import shared_expert
from ggufctl.core.hparams import HParams, Memory

__all__ = [
    "DEFAULT_INTERVAL",
    "alpha_beta",
    "conv_window",
    "feed_forward",
    "finish",
    "gated_output",
    "gated_query_key_value",
    "set_delta_net",
    "split_heads",
    "stored_delta_net",
]

DEFAULT_INTERVAL = 4
"""Every so many blocks one attends, unless the header says otherwise."""


def set_delta_net(hp: HParams, interval: int = DEFAULT_INTERVAL) -> None:
    """Make blocks recurrent as the header lists them, or all but every `interval`-th."""
    hp.memory = Memory.HYBRID
    flags = hp.flags("attention.recurrent_layers")
    if flags is None:
        hp.set_recr(hp.integer("full_attention_interval", interval))
    else:
        hp.is_recr_arr = flags
    hp.attn_layers = [il for il in range(hp.n_layer) if not hp.is_recr(il)]


def conv_window(b: Builder, inp: RecurrentInput, mixed: Tensor, il: int) -> Tensor:
    """Input of the convolution: the last window and the batch; stores the new window."""
    hp, stored = b.hp, b.states(il)[0]
    taps = b.need("ssm_conv1d", il).ne[0] - 1
    channels = hp.ssm_d_inner + 2 * hp.ssm_n_group * hp.ssm_d_state
    before = ops.reshape(b.rs(inp, stored, hp.n_embd_r), taps, channels, b.n_seqs)
    cur = ops.concat(before, ops.transpose(mixed))
    n_kept = 1 + b.layout.n_snapshots
    for i in range(n_kept):
        start = max(0, cur.ne[0] - taps - n_kept + 1 + i)
        last = ops.view(cur, before.ne[:3], cur.nb[1:3], start * F32)
        slot = (n_kept - 1 - i) * b.layout.n_rs * stored.nb[1]
        target = ops.view(stored, (taps * channels, b.n_seqs), (stored.nb[1],), slot)
        b.expand(ops.cpy(last, target))
    return cur


def split_heads(hp: HParams, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Convolved queries, keys and values; queries and keys are normed."""
    n_k, n_v, size_k = hp.ssm_n_group, hp.ssm_dt_rank, hp.ssm_d_state
    size_v = hp.ssm_d_inner // n_v
    tokens, seqs = x.ne[1], x.ne[2]
    row = (2 * size_k * n_k + size_v * n_v) * F32

    def part(size: int, heads: int, start: int) -> Tensor:
        nb = (size * F32, row, row * tokens)
        return ops.view(x, (size, heads, tokens, seqs), nb, start * F32)

    q, k = part(size_k, n_k, 0), part(size_k, n_k, size_k * n_k)
    return l2_norm(q), l2_norm(k), part(size_v, n_v, 2 * size_k * n_k)


def alpha_beta(b: Builder, x: Tensor, il: int, tokens: int, seqs: int) -> tuple[Tensor, Tensor]:
    """Decay and strength of the update, from a projection each."""
    n_v = b.hp.ssm_dt_rank
    beta = ops.reshape(b.mm("ssm_beta", x, il), 1, n_v, tokens, seqs)
    beta = ops.unary(beta, "sigmoid")
    alpha = ops.reshape(b.mm("ssm_alpha", x, il), n_v, tokens, seqs)
    return ops.reshape(decay(b, alpha, il), 1, n_v, tokens, seqs), beta


def decay(b: Builder, alpha: Tensor, il: int) -> Tensor:
    """Logarithm of the decay per head."""
    alpha = ops.unary(ops.add(alpha, b.need("ssm_dt", il, "bias")), "softplus")
    return ops.mul(alpha, b.need("ssm_a", il, ""))


def stored_delta_net(
    b: Builder,
    inp: RecurrentInput,
    mixed: Tensor,
    gate: Tensor,
    beta: Tensor,
    il: int,
    *,
    repeats: bool = False,
) -> Tensor:
    """Convolve and run the delta rule, with states from sequence to sequence.

    Args:
        b: the graph's builder.
        inp: recurrent inputs.
        mixed: queries, keys and values (channels × tokens × sequences).
        gate: decay.
        beta: strength.
        il: block.
        repeats: give every value head a query and key of its own.
    """
    hp, seqs = b.hp, b.n_seqs
    n_k, n_v = hp.ssm_n_group, hp.ssm_dt_rank
    size = hp.ssm_d_inner // n_v
    cur = conv_window(b, inp, mixed, il)
    state = ops.reshape(b.rs(inp, b.states(il)[1], hp.n_embd_s), size, size, n_v, seqs)
    cur = ops.unary(ops.ssm_conv(cur, b.need("ssm_conv1d", il)), "silu")
    q, k, v = split_heads(hp, cur)
    if repeats and n_k != n_v:
        q, k = (_interleave(t, n_v // n_k) for t in (q, k))
    return delta_rule(b, q, k, v, gate, beta, state, il)


def _interleave(x: Tensor, times: int) -> Tensor:
    """Repeat each head `times` times in place."""
    size, heads, tokens, seqs = x.ne
    x = ops.reshape(x, size, 1, heads, tokens * seqs)
    return ops.reshape(
        ops.repeat(x, size, times, heads, tokens * seqs), size, times * heads, tokens, seqs
    )


def gated_output(b: Builder, x: Tensor, z: Tensor, il: int, *, scale: bool = True) -> Tensor:
    """Norm per head, gate with `z`, project back (n_embd × n_tokens)."""
    size, heads, tokens, seqs = x.ne
    z = ops.reshape(z, size, heads, tokens, seqs)
    x = ops.mul(b.norm(x, "ssm_norm", il), ops.unary(z, "silu"))
    x = b.mm("ssm_out", ops.reshape(x, size * heads, tokens, seqs), il, scale=scale)
    return ops.reshape(x, b.hp.n_embd, tokens * seqs)


def gated_query_key_value(b: Builder, x: Tensor, il: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normed queries and keys, values, and the gate that the query projection holds."""
    hp, u = b.hp, b.n_tokens
    size, heads, heads_kv = hp.n_embd_head_v_full, hp.n_head(il), hp.n_head_kv(il)
    full, k, v = b.qkv(
        x,
        il,
        n_embd_head=2 * size,
        n_embd_head_k=size,
        n_embd_head_v=size,
        reshape=False,
    )
    nb = (2 * size * F32, 2 * size * heads * F32)
    q = b.norm(ops.view(full, (size, heads, u), nb), "attn_q_norm", il)
    k = b.norm(ops.reshape(k, size, heads_kv, u), "attn_k_norm", il)
    gate = ops.cont(ops.view(full, (size, heads, u), nb, size * F32), size * heads, u)
    return q, k, ops.reshape(v, size, heads_kv, u), gate


def feed_forward(b: Builder, x: Tensor, il: int) -> Tensor:
    """Dense feed-forward, or experts with a gated shared one."""
    if not b.has("ffn_gate_inp", il):
        return b.ffn(x, il)
    routed = b.moe(x, il, norm_w=True, w_scale=b.hp.number("expert_weights_scale", 0.0))
    if not b.has("ffn_up_shexp", il):
        return routed
    shared = shared_expert(b, x, il, scales=True)
    gate = ops.unary(b.mm("ffn_gate_inp_shexp", x, il, scale=False), "sigmoid")
    return ops.add(routed, ops.mul(shared, gate))


def finish(b: Builder, x: Tensor, out_ids: Tensor) -> None:
    """Final norm of all tokens, which a draft head reads, and logits of the wanted ones."""
    x = ops.get_rows(b.norm(x, "output_norm").as_output(), out_ids)
    b.embd = x
    if b.has("cls.output"):
        b.embd = b.expand(b.add_bias(b.mm("cls.output", x, scale=False), "cls.output"))
    b.finish(b.mm_output(x))
