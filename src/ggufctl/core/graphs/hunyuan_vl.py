"""Hunyuan dense and with vision: queries and keys are normed after rope.

Source: llama.cpp src/models/hunyuan-vl.cpp, hunyuan-dense.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import QkNorm, build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _vision_hparams(hp: HParams) -> None:
    hp.is_mrope = hp.uses_mrope


@architecture("hunyuan_vl", hparams=_vision_hparams)
def build_hunyuan_vl(b: Builder) -> None:
    """Build the hunyuan_vl graph."""
    _build(b)


@architecture("hunyuan-dense")
def build_hunyuan_dense(b: Builder) -> None:
    """Build the hunyuan-dense graph."""
    _build(b)


def _build(b: Builder) -> None:
    attention = self_attention(
        b, b.inp_pos(), qk_norm=QkNorm.AFTER_ROPE, factors=Builder.rope_factors
    )
    x = build_trunk(b, attention, lambda cur, il: b.ffn(cur, il, scales=False))
    b.finish(b.head(x))
