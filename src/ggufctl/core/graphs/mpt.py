"""MPT: ALiBi or learned positions, optional biases everywhere.

Source: llama.cpp src/models/mpt.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    hp.clamp_kqv = hp.number("attention.clamp_kqv", 0.0)
    hp.use_alibi = hp.number("attention.max_alibi_bias", 0.0) > 0


@architecture("mpt", hparams=_hparams)
def build_mpt(b: Builder) -> None:
    """Build the mpt graph."""
    x = b.inp_embd()
    positions = b.w("position_embd")
    if positions is not None:
        x = ops.add(x, ops.get_rows(positions, b.inp_pos()))
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(b.norm(x, "attn_norm", il, kind="layer", bias=True), il)
        if b.has("attn_q_norm", il):
            q, k = _norm_rows(b, q, k, il)
        cur = b.attn(q, k, v, il)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        ffn_inp = ops.add(cur, x)
        cur = b.norm(ffn_inp, "ffn_norm", il, kind="layer", bias=True)
        cur = b.ffn(
            cur,
            il,
            "gelu",
            gate=None,
            bias=True,
            act_scales=b.w("ffn.act", il, "scales"),
            scales=False,
        )
        x = ops.add(cur, ffn_inp)
    b.finish(b.head(x, kind="layer", bias=True))


def _norm_rows(b: Builder, q: Tensor, k: Tensor, il: int) -> tuple[Tensor, Tensor]:
    """Norm queries and keys over all heads at once."""
    flat_q = ops.reshape(q, q.ne[0] * q.ne[1], q.ne[2])
    flat_k = ops.reshape(k, k.ne[0] * k.ne[1], k.ne[2])
    flat_q = b.norm(flat_q, "attn_q_norm", il, kind="layer", bias=True)
    flat_k = b.norm(flat_k, "attn_k_norm", il, kind="layer", bias=True)
    return ops.reshape(flat_q, *q.ne[:3]), ops.reshape(flat_k, *k.ne[:3])
