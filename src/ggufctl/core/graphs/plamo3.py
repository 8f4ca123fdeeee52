"""PLaMo 3: fused projections, norms before and after, sliding windows.

Source: llama.cpp src/models/plamo3.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.mamba_blocks import F32
from ggufctl.core.graphs.prenorm import use_swa
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams

__all__ = ["normed_query_key_value", "sandwiched_feed_forward"]

DEFAULT_PERIOD = 8


def _hparams(hp: HParams) -> None:
    n_swa = hp.integer("attention.sliding_window", 0)
    if not n_swa:
        return
    pattern = hp.key("attention.sliding_window_pattern", DEFAULT_PERIOD)
    use_swa(hp, n_swa, pattern if isinstance(pattern, int) else DEFAULT_PERIOD)


@architecture("plamo3", hparams=_hparams)
def build_plamo3(b: Builder) -> None:
    """Build the plamo3 graph."""
    x = b.inp_embd()
    pos = b.inp_pos()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = normed_query_key_value(b, b.norm(x, "attn_norm", il), il)
        cur = b.attn(ops.rope(q, pos), ops.rope(k, pos), v, il, wo_bias=False)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        x = sandwiched_feed_forward(b, cur, x, il)
    b.finish(b.head(x))


def normed_query_key_value(b: Builder, x: Tensor, il: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split the fused projection; queries and keys are normed per head."""
    hp, u = b.hp, b.n_tokens
    size, size_v = hp.n_embd_head_k_full, hp.n_embd_head_v_full
    n_q, n_k = size * hp.n_head(il), size * hp.n_head_kv(il)
    qkv = b.mm("attn_qkv", x, il, scale=False)

    def part(width: int, heads: int, start: int) -> Tensor:
        return ops.view(qkv, (width, heads, u), (width * F32, qkv.nb[1]), start * F32)

    q, k = part(size, hp.n_head(il), 0), part(size, hp.n_head_kv(il), n_q)
    v = part(size_v, hp.n_head_kv(il), n_q + n_k)
    return b.norm(q, "attn_q_norm", il), b.norm(k, "attn_k_norm", il), v


def sandwiched_feed_forward(b: Builder, cur: Tensor, residual: Tensor, il: int) -> Tensor:
    """Norm and add what attention gave, then the feed-forward between two norms."""
    post_attention = b.need("post_attention_norm", il, "")
    residual = ops.add(b.norm(cur, post_attention, il), residual)
    cur = b.norm(residual, "ffn_norm", il)
    cur = b.ffn(cur, il, "swiglu", gate=None, parallel=False, scales=False)
    return ops.add(b.norm(cur, b.need("post_ffw_norm", il, ""), il), residual)
