"""State-space blocks of Mamba and Mamba-2, alone or inside hybrids.

Source: llama.cpp src/models/mamba-base.cpp `build_mamba_layer`, `build_mamba2_layer`
(pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder, RecurrentInput
from ggufctl.core.hparams import HParams, Memory

__all__ = ["F32", "convolve", "mamba", "mamba2", "set_hybrid"]

F32 = 4
"""Bytes of a state's element."""


def set_hybrid(hp: HParams) -> None:
    """Blocks without key/value heads are recurrent, the others attend."""
    hp.memory = Memory.HYBRID
    hp.is_recr_arr = [il < hp.n_layer and n == 0 for il, n in enumerate(hp.n_head_kv_arr)]


def convolve(
    b: Builder,
    windows: Tensor,
    x: Tensor,
    il: int,
    *,
    flat: bool = False,
    bias: bool = True,
    n_kept: int = 1,
) -> Tensor:
    """Convolve causally, keep each sequence's last window, and apply silu.

    Args:
        b: the graph's builder.
        windows: windows before the batch (taps × channels × sequences).
        x: input (channels × tokens × sequences).
        il: block.
        flat: store the windows as one row rather than as one per sequence.
        bias: add the convolution's bias.
        n_kept: windows to keep of each sequence: the last one, and those a token before and so on.
    """
    stored, _ = b.states(il)
    taps, channels, seqs, _ = windows.ne
    joined = ops.concat(windows, ops.transpose(x))
    row, tokens = taps * channels, x.ne[1]
    for slot in range(min(tokens, n_kept)):
        last = ops.view(joined, windows.ne[:3], joined.nb[1:3], (tokens - slot) * F32)
        offset = slot * b.layout.n_rs * row * F32
        target = (
            ops.view(stored, (row * seqs,))
            if flat
            else ops.view(stored, (row, seqs), (row * F32,), offset)
        )
        b.expand(ops.cpy(last, target))
    cur = ops.ssm_conv(joined, b.need("ssm_conv1d", il))
    if bias:
        cur = ops.add(cur, b.need("ssm_conv1d", il, "bias"))
    return ops.unary(cur, "silu")


def mamba(b: Builder, x: Tensor, inp: RecurrentInput, il: int) -> Tensor:
    """Build a Mamba block.

    Args:
        b: the graph's builder.
        x: normed input.
        inp: recurrent inputs.
        il: block.
    """
    hp, seqs, tokens = b.hp, b.n_seqs, b.n_seq_tokens
    d_inner, d_state, dt_rank = hp.ssm_d_inner, hp.ssm_d_state, hp.ssm_dt_rank
    conv_state, state = b.states(il)
    windows = ops.reshape(b.rs(inp, conv_state, hp.n_embd_r), hp.ssm_d_conv - 1, d_inner, seqs)
    xz = b.mm("ssm_in", ops.reshape(x, x.ne[0], tokens, seqs), il)
    half = (d_inner, tokens, seqs)
    z = ops.view(xz, half, xz.nb[1:3], d_inner * F32)
    x = convolve(b, windows, ops.view(xz, half, xz.nb[1:3]), il, flat=True)

    parts = b.mm("ssm_x", x, il, scale=False)
    nb = parts.nb[1:3]
    dt = ops.view(parts, (dt_rank, tokens, seqs), nb)
    shape = (d_state, 1, tokens, seqs)
    b_mat = ops.view(parts, shape, (d_state * F32, *nb), dt_rank * F32)
    c_mat = ops.view(parts, shape, (d_state * F32, *nb), (dt_rank + d_state) * F32)
    norms = ("ssm_dt_norm", "ssm_b_norm", "ssm_c_norm")
    if hp.key("ssm.dt_b_c_rms", False) or all(b.has(name, il) for name in norms):
        dt, b_mat, c_mat = (
            b.norm(t, name, il) for t, name in zip((dt, b_mat, c_mat), norms, strict=True)
        )
    else:
        dt = ops.cont(dt)
    dt = ops.add(b.mm("ssm_dt", dt, il, scale=False), b.need("ssm_dt", il, "bias"))
    heads = ops.reshape(x, 1, d_inner, tokens, seqs)

    def scan(states: Tensor, ids: Tensor) -> Tensor:
        states = ops.reshape(states, d_state, 1, d_inner, b.layout.n_rs)
        return ops.ssm_scan(states, heads, dt, b.need("ssm_a", il, ""), b_mat, c_mat, ids)

    y = b.rs(inp, state, hp.n_embd_s, scan)
    n = d_state * d_inner * seqs
    b.expand(ops.cpy(ops.view(y, (n,), (), heads.n_elements * F32), ops.view(state, (n,))))
    y = ops.view(y, half, (heads.nb[2], heads.nb[3]))
    y = ops.add(y, ops.mul(x, b.need("ssm_d", il, "")))
    y = ops.glu_split(ops.cont(z), y, "swiglu")
    cur = b.mm("ssm_out", y, il)
    return ops.reshape(cur, cur.ne[0], b.n_tokens)


def mamba2(b: Builder, x: Tensor, inp: RecurrentInput, il: int) -> Tensor:
    """Build a Mamba-2 block.

    Args:
        b: the graph's builder.
        x: normed input.
        inp: recurrent inputs.
        il: block.
    """
    hp, seqs, tokens = b.hp, b.n_seqs, b.n_seq_tokens
    d_inner, d_state, n_head, n_group = (
        hp.ssm_d_inner,
        hp.ssm_d_state,
        hp.ssm_dt_rank,
        hp.ssm_n_group,
    )
    head = d_inner // n_head
    channels = d_inner + 2 * n_group * d_state
    conv_state, state = b.states(il)
    windows = ops.reshape(b.rs(inp, conv_state, hp.n_embd_r), hp.ssm_d_conv - 1, channels, seqs)
    parts = b.mm("ssm_in", x, il)
    parts = ops.reshape(parts, parts.ne[0], tokens, seqs)
    nb = parts.nb[1:3]
    z = ops.view(parts, (head, n_head, tokens, seqs), (head * F32, *nb))
    mixed = ops.view(parts, (channels, tokens, seqs), nb, d_inner * F32)
    dt = ops.view(parts, (n_head, tokens, seqs), nb, (d_inner + channels) * F32)
    n_kept = 1 + b.layout.n_snapshots
    mixed = convolve(b, windows, mixed, il, n_kept=n_kept)

    nb = mixed.nb[1:3]
    heads = ops.view(mixed, (head, n_head, tokens, seqs), (head * F32, *nb))
    shape, group_nb = (d_state, n_group, tokens, seqs), (d_state * F32, *nb)
    b_mat = ops.view(mixed, shape, group_nb, d_inner * F32)
    c_mat = ops.view(mixed, shape, group_nb, (d_inner + n_group * d_state) * F32)
    dt = ops.add(ops.cont(dt), b.need("ssm_dt", il, "bias"))

    def scan(states: Tensor, ids: Tensor) -> Tensor:
        states = ops.reshape(states, d_state, head, n_head, state.ne[1])
        return ops.ssm_scan(states, heads, dt, b.need("ssm_a", il, ""), b_mat, c_mat, ids, n_kept)

    y = b.rs(inp, state, hp.n_embd_s, scan)
    n = d_state * d_inner
    n_written = min(tokens, n_kept)
    new = ops.view(y, (n, seqs, n_written), (n * F32, n * F32 * seqs), heads.n_elements * F32)
    target = ops.view(state, (n, seqs, n_written), (state.nb[1], b.layout.n_rs * n * F32))
    b.expand(ops.cpy(new, target))
    step = heads.nb[1]
    y = ops.view(y, heads.ne, (step, n_head * step, tokens * n_head * step))
    y = ops.add(y, ops.mul(heads, b.need("ssm_d", il, "")))
    y = ops.glu_split(ops.cont(z), y, "swiglu")
    if b.has("ssm_norm", il):
        y = b.norm(ops.reshape(y, d_inner // n_group, n_group, tokens, seqs), "ssm_norm", il)
    return b.mm("ssm_out", ops.reshape(y, d_inner, b.n_tokens), il)
