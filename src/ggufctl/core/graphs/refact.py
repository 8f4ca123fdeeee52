"""Refact: linear position biases (ALiBi) instead of rotation.

Source: llama.cpp src/models/refact.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    hp.use_alibi = True


@architecture("refact", hparams=_hparams)
def build_refact(b: Builder) -> None:
    """Build the refact graph, whose C++ loads experts but never calls them."""

    def attend(x: Tensor, il: int) -> Tensor:
        q, k, v = b.qkv(x, il)
        return b.attn(q, k, v, il, wo_bias=False)

    def feed_forward(x: Tensor, il: int) -> Tensor:
        if b.hp.n_expert:
            return b.ffn(x, il, up=None, gate=None, down=None)
        return b.ffn(x, il, scales=False)

    b.finish(b.head(build_trunk(b, attend, feed_forward)))
