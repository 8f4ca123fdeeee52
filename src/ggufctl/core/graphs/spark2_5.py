"""Spark 2.5: sliding and dense blocks, attention gated per head, GELU.

Source: llama.cpp src/models/spark2-5.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import partial

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.ISWA
    hp.set_swa(hp.integer("attention.sliding_window", 0), 1)


@architecture("spark2_5", hparams=_hparams)
def build_spark2_5(b: Builder) -> None:
    """Build the spark2_5 graph."""
    attend_heads = self_attention(b, b.inp_pos(), wo=None)

    def attend(x: Tensor, il: int) -> Tensor:
        n_head, size = b.hp.n_head(il), b.hp.n_embd_head_v(il)
        cur = attend_heads(x, il)
        gate = ops.unary(b.mm("attn_gate", x, il, scale=False), "sigmoid")
        cur = ops.reshape(cur, size, n_head, b.n_tokens)
        cur = ops.mul(cur, ops.reshape(gate, 1, n_head, b.n_tokens))
        return b.mm("attn_output", ops.reshape(cur, size * n_head, b.n_tokens), il)

    feed_forward = partial(b.ffn, act="gelu", scales=False)
    x = b.norm(build_trunk(b, attend, feed_forward), "output_norm")
    b.embd = x
    b.finish(b.mm(b.output_weight(), x))
