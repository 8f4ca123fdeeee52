"""PLM: latent attention that is decompressed before caching, squared ReLU.

Source: llama.cpp src/models/plm.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import partial

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.minicpm3 import decompressed_heads
from ggufctl.core.graphs.prenorm import build_trunk
from ggufctl.core.graphs.registry import architecture


@architecture("plm")
def build_plm(b: Builder) -> None:
    """Build the plm graph."""
    pos = b.inp_pos()

    def attend(x: Tensor, il: int) -> Tensor:
        q = b.mm("attn_q", x, il, scale=False)
        q, k, v = decompressed_heads(b, q, x, pos, il)
        n_row = v.ne[0] * v.ne[1]
        v = ops.view(v, (n_row, b.n_tokens), (n_row * v.nb[0],))
        return b.attn(q, k, v, il, wo_bias=False)

    feed_forward = partial(b.ffn, act="relu_sqr", gate=None, scales=False)
    b.finish(b.head(build_trunk(b, attend, feed_forward)))
