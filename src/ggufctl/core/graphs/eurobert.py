"""EuroBERT: llama's blocks as an encoder, without a cache.

Source: llama.cpp src/models/eurobert.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Callable

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory

__all__ = ["build_encoder"]


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.NONE


@architecture("eurobert", hparams=_hparams, ties_output=False)
def build_eurobert(b: Builder) -> None:
    """Build the eurobert graph."""
    x = build_encoder(b, lambda cur, il: b.ffn(cur, il, scales=False))
    b.embd = b.expand(b.norm(x, "output_norm"))


def build_encoder(b: Builder, feed_forward: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Build the blocks of eurobert and neo-bert; returns the last hidden state.

    Args:
        b: builder.
        feed_forward: feed-forward network of a block, given (input, il).
    """
    x = b.inp_embd()
    pos = b.inp_pos()
    mask = b.mask_no_cache()
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(b.norm(x, "attn_norm", il), il)
        q, k = ops.rope(q, pos), ops.rope(k, pos)
        cur = b.attn_no_cache(q, k, v, mask, il, wo_bias=False)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        ffn_inp = ops.add(cur, x)
        cur = feed_forward(b.norm(ffn_inp, "ffn_norm", il), il)
        x = ops.add(cur, ffn_inp)
    return x
