"""Mellum: qwen3moe with a sliding window in three of four blocks.

Source: llama.cpp src/models/mellum.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import QkNorm, build_trunk, self_attention, use_swa
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    n_swa = hp.integer("attention.sliding_window", 0)
    if n_swa:
        use_swa(hp, n_swa, 4)


@architecture("mellum", hparams=_hparams, ties_output=False)
def build_mellum(b: Builder) -> None:
    """Build the mellum graph."""
    attention = self_attention(b, b.inp_pos(), qk_norm=QkNorm.BEFORE_ROPE)
    x = build_trunk(b, attention, lambda cur, il: b.moe(cur, il, norm_w=True, gate_up=None))
    b.finish(b.head(x))
