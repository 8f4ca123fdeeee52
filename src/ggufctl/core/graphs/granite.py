"""Granite, Granite mixture of experts and MiniCPM: scaled residuals and logits.

Source: llama.cpp src/models/granite.cpp, granite-moe.cpp, minicpm.cpp (pin in
core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.prenorm import (
    build_trunk,
    longrope_factors,
    self_attention,
    shared_expert,
)
from ggufctl.core.graphs.registry import architecture
from ggufctl.core.hparams import HParams

MINICPM_EMBEDDING_SCALE = 12.0


def deepstack_mapping(hp: HParams) -> list[int]:
    """Slice of the input embedding that each block adds to its input, -1 = none."""
    value = hp.key("deepstack_mapping")
    mapping = [v for v in value if isinstance(v, int)] if isinstance(value, tuple) else []
    return (mapping + [-1] * hp.n_layer_all)[: hp.n_layer_all]


def load_deepstack(hp: HParams) -> None:
    """Widen the input embedding for the slices that blocks add."""
    mapping = deepstack_mapping(hp)
    hp.n_deepstack_layers = len({i for i in mapping if i >= 0})
    hp.block_marks = [i >= 0 for i in mapping]


def add_deepstack(b: Builder, x: Tensor, il: int) -> Tensor:
    """Add a block's slice of the input embedding."""
    index, rows, n_embd = deepstack_mapping(b.hp)[il], b.inp_embd_rows, b.hp.n_embd
    if il == 0 or index < 0 or rows is None:
        return x
    size = (n_embd, b.n_tokens)
    return ops.add(x, ops.view(rows, size, (rows.nb[1],), index * n_embd * 4))


def _minicpm_hparams(hp: HParams) -> None:
    hp.embedding_scale = hp.number("embedding_scale", MINICPM_EMBEDDING_SCALE)


@architecture("granite", hparams=load_deepstack)
def build_granite(b: Builder) -> None:
    """Build the granite graph; some models have no positions at all."""
    _build(b, b.hp.number("residual_scale", 0.0), bool(b.hp.key("rope.scaling.finetuned", True)))


@architecture("granitemoe")
def build_granitemoe(b: Builder) -> None:
    """Build the granitemoe graph."""
    _build(b, b.hp.number("residual_scale", 0.0))


@architecture("minicpm", hparams=_minicpm_hparams)
def build_minicpm(b: Builder) -> None:
    """Build the minicpm graph, whose residuals are scaled by default."""
    _build(b, b.hp.number("residual_scale", 1.0))


def _build(b: Builder, residual_scale: float, has_rope: bool = True) -> None:
    has_shared = b.hp.integer("expert_shared_feed_forward_length", 0) > 0

    def scaled(cur: Tensor, il: int) -> Tensor:
        return ops.scale(cur) if residual_scale else cur

    def feed_forward(cur: Tensor, il: int) -> Tensor:
        if not b.has("ffn_gate_inp", il):
            return scaled(b.ffn(cur, il, bias=True, scales=False), il)
        routed = b.moe(cur, il, norm_w=True, gate_up=None, scales=False)
        return scaled(ops.add(routed, shared_expert(b, cur, il)) if has_shared else routed, il)

    attention = self_attention(b, b.inp_pos(), rope=lambda il: has_rope, factors=longrope_factors)
    x = build_trunk(
        b,
        attention,
        feed_forward,
        before=lambda x, il: add_deepstack(b, x, il),
        after_attention=scaled,
    )
    b.finish(ops.scale(b.head(x)))
