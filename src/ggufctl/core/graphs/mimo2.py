"""MiMo V2: attention sinks, scaled attention output, heads that vary by block.

Source: llama.cpp src/models/mimo2.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.ggml.types import row_bytes
from ggufctl.core.graphs import mtp
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, use_swa
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    use_swa(hp, hp.integer("attention.sliding_window", 0))


def draft_mimo2(b: Builder) -> None:
    """Build the graph of a nextn block, which is dense; each drafts one more token."""
    il, pos = b.layers[0], b.inp_pos()
    x = mtp.fused_input(b)
    q, k, v = _qkv(b, b.norm(x, "attn_norm", il), il)
    q, k = ops.rope(q, pos), ops.rope(k, pos)
    cur = b.attn(q, k, v, il, wo_bias=False, sinks=b.w("attn_sinks", il))
    if b.hp.number("attention.value_scale", 0.0):
        cur = ops.scale(cur)
    residual = ops.add(cur, x)
    cur = b.ffn(b.norm(residual, "ffn_norm", il), il, bias=True, scales=False)
    x = ops.get_rows(ops.add(cur, residual), b.inp_out_ids()).as_output()
    x = mtp.head_norm(b, x, otherwise=("layer_output_norm",))
    b.finish(mtp.head_logits(b, x))


@architecture("mimo2", hparams=_hparams, ties_output=False, draft=draft_mimo2)
def build_mimo2(b: Builder) -> None:
    """Build the mimo2 graph."""
    pos = b.inp_pos()
    is_scaled = b.hp.number("attention.value_scale", 0.0) not in (0.0, 1.0)

    def attention(x: Tensor, il: int) -> Tensor:
        q, k, v = _qkv(b, x, il)
        q, k = ops.rope(q, pos), ops.rope(k, pos)
        cur = b.attn(q, k, v, il, wo_bias=False, sinks=b.w("attn_sinks", il))
        return ops.scale(cur) if is_scaled else cur

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if not b.has("ffn_gate_inp", il):
            return b.ffn(cur, il, bias=True, scales=False)
        return b.moe(
            cur,
            il,
            gating="sigmoid",
            norm_w=True,
            probs_b=b.bias("exp_probs_b", il),
            gate_up=None,
            scales=False,
        )

    x = build_trunk(b, attention, feed_forward, crops=not b.hands_over)
    b.finish(b.head(mtp.keep_wanted(b, x) if b.hands_over else x))


def _qkv(b: Builder, x: Tensor, il: int) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value, never with the biases that the file may have."""
    hp, u = b.hp, b.n_tokens
    head_k, head_v = hp.n_embd_head_k(), hp.n_embd_head_v()
    n_head, n_head_kv = hp.n_head(il), hp.n_head_kv(il)
    sizes = ((head_k, n_head), (head_k, n_head_kv), (head_v, n_head_kv))
    if not b.has("attn_qkv", il):
        parts = (b.mm(name, x, il, scale=False) for name in ("attn_q", "attn_k", "attn_v"))
        q, k, v = (ops.reshape(t, *size, u) for t, size in zip(parts, sizes, strict=True))
        return q, k, v
    qkv = b.mm("attn_qkv", x, il, scale=False)
    row_k = row_bytes(qkv.type, head_k)
    starts = (0, row_k * n_head, row_k * (n_head + n_head_kv))
    q, k, v = (
        ops.view(qkv, (*size, u), (row_bytes(qkv.type, size[0]), qkv.nb[1]), start)
        for size, start in zip(sizes, starts, strict=True)
    )
    return q, k, v
