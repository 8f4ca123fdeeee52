"""GPT-2: learned positions, layer norms, an ungated feed-forward.

Source: llama.cpp src/models/gpt2.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import architecture

__all__ = ["build_blocks"]


@architecture("gpt2")
def build_gpt2(b: Builder) -> None:
    """Build the gpt2 graph."""
    x = b.inp_embd()
    x = ops.add(x, ops.get_rows(b.need("position_embd"), b.inp_pos()))
    build_blocks(b, x)


def build_blocks(
    b: Builder,
    x: Tensor,
    *,
    pos: Tensor | None = None,
    attn_bias: bool = True,
    ffn_bias: bool = True,
) -> None:
    """Build the blocks and the head that GPT-2 shares with its descendants.

    Args:
        b: builder.
        x: input of the first block.
        pos: positions to rotate queries and keys by, if the architecture does.
        attn_bias: add the bias of attention's output projection.
        ffn_bias: add the biases of the feed-forward network.
    """
    out_ids = b.inp_out_ids()
    for il in b.layers:
        q, k, v = b.qkv(b.norm(x, "attn_norm", il, kind="layer", bias=True), il)
        if pos is not None:
            q, k = ops.rope(q, pos), ops.rope(k, pos)
        cur = b.attn(q, k, v, il, wo_bias=attn_bias)
        if b.is_last(il):
            cur, x = ops.get_rows(cur, out_ids), ops.get_rows(x, out_ids)
        ffn_inp = ops.add(cur, x)
        cur = b.norm(ffn_inp, "ffn_norm", il, kind="layer", bias=True)
        cur = b.ffn(cur, il, "gelu", gate=None, bias=ffn_bias, scales=False)
        x = ops.add(cur, ffn_inp)
    b.finish(b.head(x, kind="layer", bias=True))
