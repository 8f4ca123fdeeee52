"""GLM-5: DeepSeek's sparse attention with indexers that several blocks may share.

Source: llama.cpp src/models/glm-dsa.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.graphs import sparse
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.deepseek32 import build_dsa
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import ContextParams, Layout

SIGMOID = 2
"""Gating function of headers without one."""

SHARING_CONTEXT = 1 << 20
"""Training context from which headers without indexer types share indexers (GLM-5.2)."""


def _has_indexer(hp: HParams) -> list[bool]:
    """Whether each block of the trunk has an indexer of its own."""
    flags = hp.flags("attention.indexer.types")
    if flags is not None:
        return flags[: hp.n_layer]
    if hp.n_ctx_train < SHARING_CONTEXT:
        return [True] * hp.n_layer
    return [il < 2 or il % 4 == 2 for il in range(hp.n_layer)]


def _layout(hp: HParams, ctx: ContextParams) -> Layout:
    own = [il for il, flag in enumerate(_has_indexer(hp)) if flag]
    return sparse.dsa_layout(hp, ctx, list(range(hp.n_layer)), own)


def draft_glm_dsa(b: Builder) -> None:
    """Build the graph of the nextn block."""
    sparse.draft_latent(b, gating=sparse.expert_gating(b.hp, SIGMOID))


@architecture(
    "glm-dsa",
    hparams=sparse.set_latent,
    layout=_layout,
    loads=sparse.loads_trunk,
    draft=draft_glm_dsa,
)
def build_glm_dsa(b: Builder) -> None:
    """Build the glm-dsa graph."""
    build_dsa(b, _has_indexer(b.hp), gating=sparse.expert_gating(b.hp, SIGMOID))
