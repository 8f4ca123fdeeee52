"""Indexers that pool the keys of several consecutive tokens into one.

A cached row holds what a token brings and, behind it, the pooled key of the pool that
the token ends. Pools are scored whole.

Source: llama.cpp src/llama-memory-hybrid-idx.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from ggufctl.core.ggml import ops
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.ggml.types import row_bytes
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.sparse import INDEX, positive
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import Cache, CacheLayer, ContextParams, pad

__all__ = ["PoolCache", "pool_counts", "pooled_cache"]

POOL_PADDING = 64
"""Pools are counted in multiples of this; the last one is never used."""


def pooled_cache(hp: HParams, ctx: ContextParams, layers: list[int], n_rows: int) -> Cache:
    """Cache of an indexer whose rows hold `n_rows` keys side by side."""
    width = n_rows * positive(hp, "attention.indexer.key_length")
    cache = Cache(ctx.n_ctx_seq, ctx.n_stream, ctx.type_k, ctx.type_v, ctx.v_trans)
    cache.layers = {il: CacheLayer(width, 0) for il in layers}
    return cache


def pool_counts(b: Builder, size: int) -> tuple[int, int]:
    """Pools of a full context: padded, and to be pooled in one batch."""
    n = b.layout.caches[INDEX].n_cells // size * b.ctx.n_seq_max
    return max(POOL_PADDING, pad(n + 1, POOL_PADDING)), max(n, 1)


@dataclass(frozen=True, slots=True)
class PoolCache:
    """Views of a block's indexer cache over all streams (kpool_access)."""

    tokens: Tensor
    pooled: Tensor

    @classmethod
    def of(cls, b: Builder, il: int, size: int) -> PoolCache:
        """Views of block `il`, whose pooled key has `size` elements."""
        k, _ = b.kv_tensors(INDEX, il)
        n_cells, own = k.ne[1] * k.ne[2], k.ne[0] - size
        return cls(
            ops.view(k, (own, n_cells), (k.nb[1],)),
            ops.view(k, (size, n_cells), (k.nb[1],), row_bytes(k.type, own)),
        )
