"""PLaMo 2: scanning blocks of its own with attention in between.

Source: llama.cpp src/models/plamo2.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder, RecurrentInput
from ggufctl.core.graphs.mamba_blocks import F32, convolve, set_hybrid
from ggufctl.core.graphs.plamo3 import normed_query_key_value, sandwiched_feed_forward
from ggufctl.core.graphs.registry import architecture

MIN_DT_DIM = 64


@architecture("plamo2", hparams=set_hybrid)
def build_plamo2(b: Builder) -> None:
    """Build the plamo2 graph."""
    x = b.inp_embd()
    pos = b.inp_pos()
    recurrent = b.recurrent_input()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        cur = b.norm(x, "attn_norm", il)
        if b.hp.is_recr(il):
            cur = _scan(b, cur, recurrent, il)
        else:
            q, k, v = normed_query_key_value(b, cur, il)
            cur = b.attn(ops.rope(q, pos), ops.rope(k, pos), v, il, wo_bias=False)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        x = sandwiched_feed_forward(b, cur, x, il)
    b.finish(b.head(x))


def _scan(b: Builder, x: Tensor, inp: RecurrentInput, il: int) -> Tensor:
    hp, seqs, tokens = b.hp, b.n_seqs, b.n_seq_tokens
    d_inner, d_state, n_head = hp.ssm_d_inner, hp.ssm_d_state, hp.ssm_dt_rank
    head = d_inner // n_head
    conv_state, state = b.states(il)
    windows = ops.reshape(b.rs(inp, conv_state, hp.n_embd_r), hp.ssm_d_conv - 1, d_inner, seqs)
    zx = b.mm("ssm_in", ops.reshape(x, x.ne[0], tokens, seqs), il, scale=False)
    zx = ops.cont(ops.permute(zx, 0, 2, 1, 3), 2 * head, n_head, tokens, seqs)
    shape = (head, n_head, tokens, seqs)
    x = ops.cont(ops.view(zx, shape, zx.nb[1:], head * F32), d_inner, tokens, seqs)
    z = ops.view(zx, shape, zx.nb[1:])
    x = convolve(b, windows, x, il, flat=True, bias=False)

    dt, b_mat, c_mat = _parameters(b, x, il)
    a = ops.reshape(b.need("ssm_a", il, ""), 1, n_head)
    heads = ops.view(x, shape, (head * F32, d_inner * F32, d_inner * tokens * F32))

    def scan(states: Tensor, ids: Tensor) -> Tensor:
        states = ops.reshape(states, d_state, head, n_head, b.layout.n_rs)
        return ops.ssm_scan(states, heads, dt, a, b_mat, c_mat, ids)

    y = b.rs(inp, state, hp.n_embd_s, scan)
    n = d_inner * d_state * seqs
    new = ops.view(y, (n,), (), d_inner * tokens * seqs * F32)
    b.expand(ops.cpy(new, ops.view(state, (n,))))
    y = ops.view(y, shape, heads.nb[1:])
    y = ops.add(y, ops.mul(heads, ops.reshape(b.need("ssm_d", il, ""), 1, n_head)))
    y = ops.glu_split(ops.cont(z), y, "swiglu")
    y = ops.view(y, (d_inner, tokens, seqs), y.nb[2:])
    cur = b.mm("ssm_out", y, il, scale=False)
    return ops.reshape(cur, cur.ne[0], b.n_tokens)


def _parameters(b: Builder, x: Tensor, il: int) -> tuple[Tensor, Tensor, Tensor]:
    """Step sizes, input and output matrices of the scan, all normed."""
    hp, seqs, tokens = b.hp, b.n_seqs, b.n_seq_tokens
    d_state = hp.ssm_d_state
    parts = b.mm("ssm_x", x, il, scale=False)

    def part(width: int, start: int, norm: str) -> Tensor:
        t = ops.view(parts, (width, tokens, seqs), parts.nb[1:3], start * F32)
        return b.norm(t, b.need(norm, il, ""), il)

    b_mat, c_mat = part(d_state, 0, "ssm_b_norm"), part(d_state, d_state, "ssm_c_norm")
    dt = part(max(MIN_DT_DIM, hp.n_embd // 16), 2 * d_state, "ssm_dt_norm")
    dt = ops.add(b.mm("ssm_dt", dt, il, scale=False), b.need("ssm_dt", il, "bias"))
    b_mat, c_mat = (
        ops.view(t, (d_state, 1, tokens, seqs), (d_state * F32, *t.nb[1:3])) for t in (b_mat, c_mat)
    )
    return dt, b_mat, c_mat
