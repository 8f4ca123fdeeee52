"""Kimi delta attention: linear attention with a gate per channel, as blocks of hybrids.

Source: llama.cpp src/models/glm5-next.cpp and kimi-k3.cpp `build_kda_layer`,
src/models/delta-net-base.cpp `build_recurrent_attn` (pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Callable

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder, RecurrentInput
from ggufctl.core.graphs.sparse import positive
from ggufctl.core.hparams import HParams, Memory

__all__ = ["delta_rule", "kda", "l2_norm", "run_delta_rule", "set_kda"]

F32 = 4
"""Bytes of a state's element."""


def set_kda(hp: HParams) -> None:
    """Blocks without key/value heads are recurrent; the others cache a compressed latent."""
    hp.memory = Memory.HYBRID
    hp.n_embd_head_kda = hp.integer("kda.head_dim", 0)
    hp.n_embd_head_v_full = positive(hp, "attention.kv_lora_rank")
    hp.is_recr_arr = [n == 0 for n in hp.n_head_kv_arr]


def l2_norm(x: Tensor) -> Tensor:
    """L2 norm as llama.cpp spells it out (build_gdn_l2_norm)."""
    return ops.scale(ops.rms_norm(x))


def run_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, gate: Tensor, beta: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Run the fused gated delta rule; returns its output and the new state.

    llama.cpp never resolves whether the fusion is supported: it is always used.
    """
    result = ops.gated_delta_net(q, k, v, gate, beta, state)
    size, heads, tokens, seqs = v.ne
    row = size * F32
    output = ops.view(result, v.ne, (row, row * heads, row * heads * tokens))
    new_state = ops.view(
        result,
        (size, size, heads, seqs),
        (row, row * size, row * size * heads),
        row * heads * tokens * seqs,
    )
    return output, new_state


def delta_rule(
    b: Builder, q: Tensor, k: Tensor, v: Tensor, gate: Tensor, beta: Tensor, state: Tensor, il: int
) -> Tensor:
    """Run the fused gated delta rule and store the new state; returns its output."""
    _, stored = b.states(il)
    if b.layout.n_snapshots:
        return _delta_rule_with_snapshots(b, (q, k, v, gate, beta, state), stored)
    output, new_state = run_delta_rule(q, k, v, gate, beta, state)
    b.expand(ops.cpy(new_state, ops.view(stored, (stored.ne[0], v.ne[3]), (stored.nb[1],))))
    return output


def _delta_rule_with_snapshots(
    b: Builder, inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], stored: Tensor
) -> Tensor:
    """The same, with the states after each of the last tokens kept as well."""
    n_kept = 1 + b.layout.n_snapshots
    result = ops.gated_delta_net(*inputs, n_slots=n_kept)
    size, heads, tokens, seqs = inputs[2].ne
    row, width = size * F32, size * size * heads
    output = ops.view(result, inputs[2].ne, (row, row * heads, row * heads * tokens))
    n_written = min(tokens, n_kept)
    shape = (width, seqs, n_written)
    states = ops.view(result, shape, (width * F32, width * seqs * F32), row * heads * tokens * seqs)
    slots = ops.view(stored, shape, (stored.nb[1], b.layout.n_rs * stored.nb[1]))
    b.expand(ops.cpy(states, slots))
    return output


def kda(
    b: Builder,
    x: Tensor,
    inp: RecurrentInput,
    il: int,
    *,
    full_gate: bool,
    decay: Callable[[Builder, Tensor, int], Tensor] | None = None,
) -> Tensor:
    """Build a block of Kimi delta attention.

    Args:
        b: builder.
        x: normed input.
        inp: recurrent inputs.
        il: block.
        full_gate: gate the output by one full matrix instead of two thin ones.
        decay: decay per channel, if not as the header's bound has it.
    """
    hp, u, seqs, tokens = b.hp, b.n_tokens, b.n_seqs, b.n_seq_tokens
    n_head, size = hp.n_head(), hp.n_embd_head_kda
    conv_state, state = b.states(il)
    windows = b.rs(inp, conv_state, hp.n_embd_r)
    q, k, v = (_conv(b, x, conv_state, windows, i, name, il) for i, name in enumerate("qkv"))
    gate = (decay or _decay)(b, x, il)
    gate = ops.reshape(gate, size, n_head, tokens, seqs)
    beta = ops.mul_mat(b.need("ssm_beta", il), x)
    beta = ops.unary(ops.reshape(beta, 1, n_head, tokens, seqs), "sigmoid")
    flat = ops.reshape(x, x.ne[0], tokens, seqs) if full_gate else x
    current = ops.reshape(b.rs(inp, state, hp.n_embd_s), size, size, n_head, seqs)
    cur = ops.cont(delta_rule(b, l2_norm(q), l2_norm(k), v, gate, beta, current, il))
    if full_gate:
        out_gate = ops.mul_mat(b.need("ssm_g", il), ops.reshape(flat, x.ne[0], u))
    else:
        out_gate = ops.mul_mat(b.need("ssm_g_a", il), x)
        if b.has("ssm_g_b", il):
            out_gate = ops.mul_mat(b.need("ssm_g_b", il), out_gate)
    out_gate = ops.reshape(out_gate, size, n_head, u)
    normed = b.norm(ops.reshape(cur, size, n_head, u), "ssm_norm", il)
    cur = ops.mul(normed, ops.unary(out_gate, "sigmoid"))
    return ops.mul_mat(b.need("attn_output", il), ops.cont(cur, size * n_head, u))


def _decay(b: Builder, x: Tensor, il: int) -> Tensor:
    """Logarithm of the decay per channel."""
    hp = b.hp
    shape = (hp.n_embd_head_kda, hp.n_head(), b.n_tokens)
    gate = ops.mul_mat(b.need("ssm_f_b", il), ops.mul_mat(b.need("ssm_f_a", il), x))
    gate = ops.add(gate, b.need("ssm_dt", il, "bias"))
    a = ops.reshape(b.need("ssm_a", il, ""), 1, hp.n_head(), 1)
    bound = hp.key("kda.gate_lower_bound")
    if not isinstance(bound, int | float) or bound == float("-inf"):
        return ops.mul(ops.reshape(ops.unary(gate, "softplus"), *shape), a)
    gate = ops.mul(ops.reshape(gate, *shape), a)
    return ops.scale(ops.unary(ops.scale(gate), "sigmoid"))


def _conv(
    b: Builder, x: Tensor, stored: Tensor, windows: Tensor, part: int, name: str, il: int
) -> Tensor:
    """Project to query, key or value, convolve causally and keep the last window."""
    hp, seqs, tokens = b.hp, b.n_seqs, b.n_seq_tokens
    width, n_conv = hp.n_embd_head_kda * hp.n_head(), hp.ssm_d_conv
    shape = (n_conv - 1, width, seqs)
    nb = ((n_conv - 1) * F32, hp.n_embd_r * F32)
    offset = part * (n_conv - 1) * width * F32
    before = ops.view(windows, shape, nb, offset)
    cur = ops.reshape(ops.mul_mat(b.need(f"attn_{name}", il), x), width, tokens, seqs)
    cur = ops.concat(before, ops.transpose(cur))
    for slot in range(min(tokens, 1 + b.layout.n_snapshots)):
        last = ops.view(cur, shape, cur.nb[1:3], (tokens - slot) * cur.nb[0])
        there = offset + slot * b.layout.n_rs * nb[1]
        b.expand(ops.cpy(last, ops.view(stored, shape, nb, there)))
    kernel = ops.reshape(b.need(f"ssm_conv1d_{name}", il), n_conv, width)
    cur = ops.unary(ops.reshape(ops.ssm_conv(cur, kernel), width, b.n_tokens), "silu")
    return ops.reshape(cur, hp.n_embd_head_kda, hp.n_head(), tokens, seqs)
