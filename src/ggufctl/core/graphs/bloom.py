"""BLOOM: GPT-2 with normed embeddings and ALiBi.

Source: llama.cpp src/models/bloom.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.gpt2 import build_blocks
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams


def _hparams(hp: HParams) -> None:
    hp.use_alibi = True


@architecture("bloom", hparams=_hparams)
def build_bloom(b: Builder) -> None:
    """Build the bloom graph."""
    x = b.inp_embd()
    x = b.norm(x, "token_embd_norm", kind="layer", bias=True, pin_il=0)
    build_blocks(b, x)
