"""LLaDA: a diffusion model, llama without causality or a cache.

Source: llama.cpp src/models/llada.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Callable

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory

__all__ = ["build_diffusion", "no_cache"]


def no_cache(hp: HParams) -> None:
    """Diffusion models attend the whole batch and keep no cache."""
    hp.memory = Memory.NONE
    hp.causal_attn = False


@architecture("llada", hparams=no_cache)
def build_llada(b: Builder) -> None:
    """Build the llada graph."""
    build_diffusion(b, lambda cur, il: b.ffn(cur, il, scales=False))


def build_diffusion(
    b: Builder,
    feed_forward: Callable[[Tensor, int], Tensor],
    *,
    norms_qk: bool = False,
    wo_bias: bool = False,
) -> None:
    """Build the graph of a diffusion model.

    Args:
        b: builder.
        feed_forward: feed-forward network of a block, given (input, il).
        norms_qk: whether queries and keys are normed per head.
        wo_bias: add the bias of attention's output projection.
    """
    x = b.inp_embd()
    pos = b.inp_pos()
    mask = b.mask_no_cache()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(b.norm(x, "attn_norm", il), il)
        if norms_qk:
            q, k = b.norm(q, "attn_q_norm", il), b.norm(k, "attn_k_norm", il)
        q, k = ops.rope(q, pos), ops.rope(k, pos)
        cur = b.attn_no_cache(q, k, v, mask, il, wo_bias=wo_bias)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        ffn_inp = ops.add(cur, x)
        cur = feed_forward(b.norm(ffn_inp, "ffn_norm", il), il)
        x = ops.add(cur, ffn_inp)
    b.finish(b.head(x))
