"""LFM2: short convolutions with attention in between, dense or mixture of experts.

Source: llama.cpp src/models/lfm2.cpp, lfm2moe.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder, RecurrentInput
from ggufctl.core.graphs.mamba_blocks import F32, set_hybrid
from ggufctl.core.graphs.prenorm import expert_gating
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory
from ggufctl.core.layout import ContextParams, Layout, build_layout


def _hparams(hp: HParams) -> None:
    set_hybrid(hp)
    hp.n_shortconv_l_cache = hp.integer("shortconv.l_cache", 0)
    hp.ssm_d_inner = hp.ssm_d_state = 0


def _lfm2_hparams(hp: HParams) -> None:
    _hparams(hp)
    n_swa = hp.integer("attention.sliding_window", 0)
    if n_swa:
        hp.memory = Memory.HYBRID_ISWA
        hp.n_swa, hp.has_swa = n_swa, True
        hp.is_swa_arr = [not hp.is_recr(il) for il in range(hp.n_layer_all)]


def _layout(hp: HParams, ctx: ContextParams) -> Layout:
    layout = build_layout(hp, ctx)
    if hp.has_swa:
        # llama.cpp leaves rotation out of the inputs of this kind of memory.
        for cache in layout.caches.values():
            cache.n_rot_k = cache.n_rot_v = 0
    return layout


@architecture("lfm2", hparams=_lfm2_hparams, layout=_layout)
def build_lfm2(b: Builder) -> None:
    """Build the lfm2 graph."""
    _build(b, b.hp.n_layer)


@architecture("lfm2moe", hparams=_hparams)
def build_lfm2moe(b: Builder) -> None:
    """Build the lfm2moe graph."""
    _build(b, b.hp.integer("leading_dense_block_count", 0))


def _build(b: Builder, n_dense_lead: int) -> None:
    hp = b.hp
    x = b.inp_embd()
    recurrent = b.recurrent_input()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        cur = b.norm(x, "attn_norm", il)
        if hp.is_recr(il):
            cur = _short_convolution(b, cur, recurrent, il)
        else:
            q, k, v = b.qkv(cur, il, n_embd_head=hp.n_embd_head_v_full)
            q, k = b.norm(q, "attn_q_norm", il), b.norm(k, "attn_k_norm", il)
            cur = b.attn(ops.rope(q, pos), ops.rope(k, pos), v, il, wo_bias=False)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        x = ops.add(x, cur)
        cur = b.norm(x, "ffn_norm", il)
        x = ops.add(x, _feed_forward(b, cur, il, is_dense=il < n_dense_lead))
    # The converter names the final norm as if it were the embeddings'.
    x = b.embd = b.norm(x, "token_embd_norm")
    if b.ctx.embeddings:
        b.expand(x)
    else:
        b.finish(b.mm_output(x))


def _feed_forward(b: Builder, x: Tensor, il: int, *, is_dense: bool) -> Tensor:
    if is_dense:
        return b.ffn(x, il, scales=False)
    return b.moe(
        x,
        il,
        gating=expert_gating(b.hp),
        norm_w=True,
        w_scale=b.hp.number("expert_weights_scale", 0.0),
        gate_up=None,
        probs_b=b.bias("exp_probs_b", il),
        scales=False,
    )


def _short_convolution(b: Builder, x: Tensor, inp: RecurrentInput, il: int) -> Tensor:
    """Gate, convolve over the last few tokens, and gate again."""
    hp, seqs, tokens = b.hp, b.n_seqs, b.n_seq_tokens
    n_embd, taps = hp.n_embd, hp.n_shortconv_l_cache - 1
    parts = b.mm("shortconv.in_proj", ops.reshape(x, n_embd, tokens, seqs), il, scale=False)
    width = parts.ne[0] // 3
    gate_in, gate_out, value = (
        ops.view(parts, (width, *parts.ne[1:3]), parts.nb[1:3], i * width * F32) for i in range(3)
    )
    cur = ops.transpose(ops.mul(gate_in, value))
    stored, _ = b.states(il)
    before = ops.reshape(b.rs(inp, stored, hp.n_embd_r), taps, n_embd, seqs)
    if hp.causal_attn:
        cur = ops.concat(before, cur)
    else:
        half = taps // 2
        left = ops.view(before, (half, n_embd, seqs), before.nb[1:3], (taps - half) * F32)
        cur = ops.pad(ops.concat(ops.cont(left), cur), half)
    last = ops.view(cur, (taps, *cur.ne[1:3]), cur.nb[1:3], (cur.ne[0] - taps) * F32)
    b.expand(ops.cpy(last, ops.view(stored, (taps * n_embd, seqs), (stored.nb[1],))))
    cur = ops.mul(gate_out, ops.ssm_conv(cur, b.need("shortconv.conv", il)))
    cur = b.mm("shortconv.out_proj", cur, il, scale=False)
    return ops.reshape(cur, cur.ne[0], b.n_tokens)
