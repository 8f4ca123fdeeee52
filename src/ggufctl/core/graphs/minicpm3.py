"""MiniCPM3: latent attention that is decompressed before caching, scaled residuals.

Source: llama.cpp src/models/minicpm3.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, longrope_factors
from ggufctl.core.graphs.registry import architecture

__all__ = ["decompressed_heads"]


@architecture("minicpm3")
def build_minicpm3(b: Builder) -> None:
    """Build the minicpm3 graph."""
    pos = b.inp_pos()

    def attend(x: Tensor, il: int) -> Tensor:
        factors = longrope_factors(b, il)
        q = b.norm(b.mm("attn_q_a", x, il, scale=False), "attn_q_a_norm", il)
        q = b.mm("attn_q_b", q, il, scale=False)
        q, k, v = decompressed_heads(b, q, x, pos, il, factors)
        return b.attn(q, k, v, il, wo_bias=False)

    def feed_forward(x: Tensor, il: int) -> Tensor:
        return ops.scale(b.ffn(x, il, scales=False))

    x = build_trunk(
        b,
        attend,
        feed_forward,
        x=ops.scale(b.inp_embd()),
        after_attention=lambda cur, _il: ops.scale(cur),
    )
    b.embd = x = b.norm(x, "output_norm")
    b.finish(b.mm_output(ops.scale(x)))


def decompressed_heads(
    b: Builder, q: Tensor, x: Tensor, pos: Tensor, il: int, factors: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of every head from latent rows, rotated, ready to be cached.

    Args:
        b: the graph's builder.
        q: projected queries, all heads in one row.
        x: normed input of the block.
        pos: positions.
        il: block.
        factors: rope factors.
    """
    hp, u, n_head = b.hp, b.n_tokens, b.hp.n_head(il)
    rank, n_rot = hp.integer("attention.kv_lora_rank", 0), hp.n_rot(il)
    n_nope, n_v = hp.n_embd_head_k(il) - n_rot, hp.n_embd_head_v(il)
    q = ops.reshape(q, hp.n_embd_head_k(il), n_head, u)
    latent = b.mm("attn_kv_a_mqa", x, il, scale=False)
    row, size = latent.nb[1], latent.nb[0]
    compressed = ops.view(latent, (rank, u), (row,))
    k_pe = ops.view(latent, (n_rot, 1, u), (row, row), rank * size)
    compressed = b.norm(compressed, "attn_kv_a_norm", il)
    kv = b.mm("attn_kv_b", compressed, il, scale=False)
    strides = ((n_nope + n_v) * size, n_head * (n_nope + n_v) * size)
    k_nope = ops.view(kv, (n_nope, n_head, u), strides)
    v = ops.cont(ops.view(kv, (n_v, n_head, u), strides, n_nope * size))
    q, k_pe = ops.rope(q, pos, factors), ops.rope(k_pe, pos, factors)
    k = ops.concat(k_nope, ops.repeat(k_pe, n_rot, n_head, u, 1))
    return q, k, v
