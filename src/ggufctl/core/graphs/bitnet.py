"""BitNet: a norm between attention and its output matrix, another inside the feed-forward.

Source: llama.cpp src/models/bitnet.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture


@architecture("bitnet", ties_output=False)
def build_bitnet(b: Builder) -> None:
    """Build the bitnet graph, which multiplies by the embedding table in place."""
    attend_heads = self_attention(b, b.inp_pos(), wo=None)

    def attend(x: Tensor, il: int) -> Tensor:
        cur = b.norm(attend_heads(x, il), "attn_sub_norm", il)
        return b.mm_bias("attn_output", cur, il)

    def feed_forward(x: Tensor, il: int) -> Tensor:
        cur = b.norm(b.ffn(x, il, down=None), "ffn_sub_norm", il)
        return b.mm("ffn_down", cur, il)

    x = b.norm(build_trunk(b, attend, feed_forward), "output_norm")
    b.embd = x
    b.finish(b.mm("token_embd", x, scale=False))
