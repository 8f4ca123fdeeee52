"""NeoBERT: an encoder with leading RMS norms and a SwiGLU in one matrix.

Source: llama.cpp src/models/neo-bert.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.eurobert import build_encoder
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.NONE


@architecture("neo-bert", hparams=_hparams, ties_output=False)
def build_neo_bert(b: Builder) -> None:
    """Build the neo-bert graph."""
    x = build_encoder(
        b, lambda cur, il: b.ffn(cur, il, "swiglu", gate=None, parallel=False, scales=False)
    )
    b.embd = b.expand(b.norm(x, "enc.output_norm"))
