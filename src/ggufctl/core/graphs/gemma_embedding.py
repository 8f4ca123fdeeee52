"""EmbeddingGemma: gemma3's blocks without causality, cache or logits.

Source: llama.cpp src/models/gemma-embedding.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.gemma3 import build_trunk
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams, Memory


def _hparams(hp: HParams) -> None:
    hp.memory = Memory.NONE
    hp.causal_attn = False
    hp.set_swa(hp.integer("attention.sliding_window", 0), 6)


@architecture("gemma-embedding", hparams=_hparams)
def build_gemma_embedding(b: Builder) -> None:
    """Build the gemma-embedding graph."""
    masks = (b.mask_no_cache(), b.mask_no_cache())
    x = build_trunk(
        b, lambda q, k, v, il: b.attn_no_cache(q, k, v, masks[b.hp.is_swa(il)], il, wo_bias=False)
    )
    x = b.norm(x, "output_norm")
    b.embd = b.expand(x)
