"""Qwen2 and Qwen2.5 with vision: multi-dimensional rope.

Source: llama.cpp src/models/qwen2vl.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import build_trunk, self_attention
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    hp.is_mrope = True


@architecture("qwen2vl", hparams=_hparams)
def build_qwen2vl(b: Builder) -> None:
    """Build the qwen2vl graph."""
    attention = self_attention(b, b.inp_pos())
    x = build_trunk(b, attention, lambda cur, il: b.ffn(cur, il, scales=False))
    b.finish(b.head(x))
