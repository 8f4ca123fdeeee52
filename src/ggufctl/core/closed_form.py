"""Compute buffers by formula, for architectures without a graph and as a sanity check.

The largest set of temporaries alive at once comes from one of a few phases of a block:
feed-forward, experts, attention, or the output head. Against llama.cpp's own allocator
the best figure is within a few per cent of most buffers and within the range on nearly
all; next to the weights the difference is small.

Source: fitted on the recorded runs in tests/data; the phases follow llama.cpp
src/llama-graph.cpp and ggml/src/ggml-alloc.c (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.estimate import Basis, Term
from ggufctl.core.ggml.types import TYPES
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import ContextParams, Layout
from ggufctl.core.placement import Placement

__all__ = ["compute_terms"]

F32 = 4

PIPELINE_COPIES = 4

LOW, HIGH = 0.7, 1.6
"""Range of the formula around its best figure."""


def compute_terms(
    hp: HParams, ctx: ContextParams, layout: Layout, placement: Placement, *, pipelined: bool
) -> list[Term]:
    """Compute buffer per backend, GPUs first, the host last.

    Args:
        hp: hyper-parameters.
        ctx: resolved settings.
        layout: caches and states.
        placement: devices of blocks and weights.
        pipelined: whether inputs are kept in several copies.
    """
    n_tokens = min(ctx.n_ctx, ctx.n_ubatch)
    masks = _mask_bytes(ctx, layout, n_tokens)
    phases = F32 * n_tokens * (4 * hp.n_embd + _largest_phase(hp, ctx, layout, n_tokens))
    copies = PIPELINE_COPIES if pipelined else 1
    device = copies * masks + phases + 12 * hp.n_embd * n_tokens * F32 * (copies > 1)
    staged = _staged_bytes(hp, placement)
    host = 16 * hp.n_embd * n_tokens + masks
    if not placement.n_gpus:
        return [_term(device + masks)]
    used = set(placement.layer_backends)
    if not placement.full_offload:
        # What is left on the host is computed on any GPU for a large batch.
        used.update(range(placement.n_gpus))
    on_gpus = [_term(device + staged if i in used else 0) for i in range(placement.n_gpus)]
    return [*on_gpus, _term(host)]


def _term(n_bytes: int) -> Term:
    return Term(
        "compute",
        n_bytes,
        Basis.DERIVED,
        low=int(n_bytes * LOW),
        high=int(n_bytes * HIGH),
        note="by formula: the architecture has no graph here",
    )


def _mask_bytes(ctx: ContextParams, layout: Layout, n_tokens: int) -> int:
    size = 2 if ctx.flash_attn else 4
    cells = [cache.n_cells for cache in layout.caches.values() if cache.layers] or [n_tokens]
    return size * n_tokens * sum(cells)


def _largest_phase(hp: HParams, ctx: ContextParams, layout: Layout, n_tokens: int) -> int:
    """Elements per token of the largest phase."""
    phases = [0]
    for il in range(hp.n_layer or hp.n_layer_all):
        if hp.n_expert:
            used, width = hp.n_expert_used_arr[il], hp.n_ff_exp or hp.n_ff(il)
            phases.append(2 * used * hp.n_embd + 3 * used * width)
        phases.append(3 * hp.n_ff(il))
        phases.append(_attention_phase(hp, ctx, layout, il, n_tokens))
    if hp.n_embd_s:
        phases.append(8 * hp.n_embd + 3 * (hp.ssm_d_inner + 2 * hp.ssm_n_group * hp.ssm_d_state))
    n_outputs = min(n_tokens, ctx.n_outputs_max)
    phases.append(hp.n_vocab * n_outputs // max(n_tokens, 1))
    return max(phases)


def _attention_phase(
    hp: HParams, ctx: ContextParams, layout: Layout, il: int, n_tokens: int
) -> int:
    heads, head_v = hp.n_head(il), hp.n_embd_head_v(il)
    cells = max(
        (cache.n_cells for cache in layout.caches.values() if il in cache.layers),
        default=n_tokens,
    )
    if not ctx.flash_attn:
        width = (hp.n_embd_head_k(il) + head_v) * hp.n_head_kv(il)
        return heads * cells + hp.n_embd + width
    copied = 0
    for type_, width in (
        (ctx.type_k, hp.n_embd_k_gqa(il)),
        (ctx.type_v, hp.n_embd_v_gqa(il)),
    ):
        if type_ != "f16":
            copied += 2 * cells * ctx.n_stream * width // (F32 * max(n_tokens, 1))
    return heads * head_v + copied


def _staged_bytes(hp: HParams, placement: Placement) -> int:
    """Two largest weights that host blocks bring to the GPU for a large batch.  [bytes]"""
    if not placement.n_gpus:
        return 0
    sizes = sorted(
        info.n_bytes
        for name, info in hp.tensors.items()
        if name.startswith("blk.")
        and placement.is_loaded(name)
        and placement.backend(name) == placement.host
        and (len(info.shape) > 1 or TYPES[info.type].is_quantized)
    )
    return sum(sizes[-2:])
