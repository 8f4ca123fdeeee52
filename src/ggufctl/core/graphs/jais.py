"""Jais: linear position biases (ALiBi) instead of rotation, layer norms with biases.

Source: llama.cpp src/models/jais.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from functools import partial

from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    hp.use_alibi = hp.number("attention.max_alibi_bias", 0.0) > 0


@architecture("jais", hparams=_hparams)
def build_jais(b: Builder) -> None:
    """Build the jais graph."""

    def attend(x: Tensor, il: int) -> Tensor:
        q, k, v = b.qkv(x, il)
        return b.attn(q, k, v, il)

    feed_forward = partial(b.ffn, bias=True, scales=False)
    x = build_trunk(b, attend, feed_forward, norm_kind="layer", norm_bias=True)
    b.finish(b.head(x, kind="layer", bias=True))
