"""What a context holds beside weights and graphs: KV caches and recurrent states.

Everything here is exact: shapes follow from the header and the settings alone.

Source: llama.cpp src/llama-context.cpp constructor, src/llama-kv-cache.cpp,
src/llama-kv-cache-iswa.cpp, src/llama-memory-recurrent.cpp (pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from ggufctl.core.ggml import cuda
from ggufctl.core.ggml.types import TYPES, row_bytes
from ggufctl.core.growing import Growing, Span
from ggufctl.core.hparams import HParams, Memory
from ggufctl.core.runtime import Runtime
from ggufctl.errors import InvalidGguf

__all__ = [
    "Cache",
    "CacheLayer",
    "ContextParams",
    "Layout",
    "Speculation",
    "build_draft_layout",
    "build_layout",
    "pad",
]

CONTEXT_PADDING = 256
"""Cells are allocated in multiples of this."""

HOST_ALIGNMENT = 32
"""Alignment of tensors in host memory.  [bytes]"""


def pad(n: int, multiple: int) -> int:
    """Smallest multiple of `multiple` that is at least `n`."""
    return (n + multiple - 1) // multiple * multiple


@dataclass(frozen=True, slots=True)
class Speculation:
    """What drafting with nextn/MTP blocks changes of a context.

    Attributes:
        n_rs_seq: snapshots of recurrent states per sequence, to roll back to.
        drafts: whether it is the context that drafts (LLAMA_CONTEXT_TYPE_MTP).
        in_use: whether hidden states are handed over and drafts sampled where they are made,
            which begins with the first batch.
        target_backends: of the caches of the target's last two blocks, if a drafter reads those.
    """

    n_rs_seq: int = 0
    drafts: bool = False
    in_use: bool = False
    target_backends: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ContextParams:
    """Settings as the context resolves them (llama_cparams)."""

    n_ctx: int
    n_ctx_seq: int
    n_seq_max: int
    n_stream: int
    kv_unified: bool
    n_batch: int
    n_ubatch: int
    n_outputs_max: int
    flash_attn: bool
    v_trans: bool
    type_k: str
    type_v: str
    swa_full: bool
    embeddings: bool
    speculation: Speculation | None = None

    @classmethod
    def resolve(
        cls,
        hp: HParams,
        runtime: Runtime,
        *,
        has_encoder: bool = False,
        speculation: Speculation | None = None,
    ) -> ContextParams:
        """Resolve a runtime for a model.

        Raises:
            InvalidGguf: neither the settings nor the header give a context length.
        """
        n_seq_max = runtime.n_seq_max
        requested = runtime.n_ctx or hp.n_ctx_train
        if requested <= 0:
            raise InvalidGguf("The header has no context length and none was asked for.")
        n_batch = min(requested, runtime.n_batch) if hp.causal_attn else runtime.n_batch
        n_ubatch = min(n_batch, runtime.n_ubatch)
        n_ctx = pad(requested, CONTEXT_PADDING)
        unified = runtime.is_unified
        n_ctx_seq = n_ctx if unified else pad(n_ctx // n_seq_max, CONTEXT_PADDING)
        outputs = runtime.n_outputs
        if outputs is None:
            # Every drafted token of every slot is verified in one batch.
            rows = n_seq_max if speculation is None else n_seq_max * (1 + runtime.spec_draft_n_max)
            outputs = n_batch if runtime.embeddings else min(n_batch, rows)
        if outputs == 0 or has_encoder:
            outputs = n_batch
        flash = runtime.flash_attn != "off" and not hp.forbids_flash_attn
        return cls(
            n_ctx=n_ctx if unified else n_ctx_seq * n_seq_max,
            n_ctx_seq=n_ctx_seq,
            n_seq_max=n_seq_max,
            n_stream=1 if unified else n_seq_max,
            kv_unified=unified,
            n_batch=n_batch,
            n_ubatch=n_ubatch,
            n_outputs_max=outputs,
            flash_attn=flash,
            v_trans=not flash,
            type_k=runtime.cache_type_k,
            type_v=runtime.cache_type_v,
            swa_full=runtime.swa_full,
            embeddings=runtime.embeddings,
            speculation=speculation,
        )

    @property
    def settings(self) -> Hashable:
        """All but how long the context is, and what follows from it beside a batch."""
        return (
            *(self.n_seq_max, self.n_stream, self.kv_unified, self.n_ubatch, self.embeddings),
            *(self.flash_attn, self.v_trans, self.type_k, self.type_v, self.swa_full),
            self.speculation,
        )

    @property
    def n_snapshots(self) -> int:
        """Former states kept per sequence beside the current one."""
        return self.speculation.n_rs_seq if self.speculation is not None else 0

    @property
    def drafts(self) -> bool:
        """Whether it is the context of nextn/MTP blocks."""
        return self.speculation is not None and self.speculation.drafts

    @property
    def step(self) -> int:
        """How long the context of a sequence is, in steps that contexts differ by."""
        return self.n_ctx_seq // CONTEXT_PADDING

    def growing(self) -> tuple[ContextParams, Span]:
        """The same with a context that may grow, and what tells how far."""
        span = Span(self.step)
        n_ctx_seq = Growing.of(self.n_ctx_seq, CONTEXT_PADDING, span)
        n_ctx = n_ctx_seq * (self.n_ctx // self.n_ctx_seq)
        return replace(self, n_ctx=n_ctx, n_ctx_seq=n_ctx_seq), span


@dataclass(frozen=True, slots=True)
class CacheLayer:
    """Cache of one block: rows of `n_k` and `n_v` elements (0 = no such cache)."""

    n_k: int
    n_v: int


@dataclass(slots=True)
class Cache:
    """One KV cache: `n_cells` cells in each of `n_stream` streams, for some blocks."""

    n_cells: int
    n_stream: int
    type_k: str
    type_v: str
    v_trans: bool
    layers: dict[int, CacheLayer] = field(default_factory=dict)
    n_rot_k: int = 0
    """Side of the Hadamard matrix that keys are rotated with, 0 = none."""
    n_rot_v: int = 0
    is_shared: bool = False
    """Whether it is the cache of another context: of a drafter's target."""

    def layer_bytes(self, il: int, *, on_gpu: bool = False) -> int:
        """Bytes of one block's cache, 0 for a block without one.  [bytes]"""
        layer = self.layers.get(il)
        if layer is None or self.is_shared:
            return 0
        cells = self.n_cells * self.n_stream
        return _allocated_bytes(self.type_k, layer.n_k, cells, on_gpu) + _allocated_bytes(
            self.type_v, layer.n_v, cells, on_gpu
        )


def _allocated_bytes(type_: str, row: int, rows: int, on_gpu: bool) -> int:
    """Bytes a tensor of `rows` rows takes in a buffer of a device or of the host.  [bytes]"""
    if not row or not rows:
        return 0
    n = row_bytes(type_, row) * rows
    if not on_gpu:
        return pad(n, HOST_ALIGNMENT)
    rest = row % cuda.ROW_PADDING
    if rest and TYPES[type_].is_quantized:
        n += row_bytes(type_, cuda.ROW_PADDING - rest)
    return pad(n, cuda.ALIGNMENT)


@dataclass(slots=True)
class Layout:
    """All memory of a context: caches by name, and one recurrent state per sequence."""

    caches: dict[str, Cache] = field(default_factory=dict)
    recr_layers: list[int] = field(default_factory=list)
    n_embd_r: int = 0
    n_embd_s: int = 0
    n_rs: int = 1
    """Sequences that have a state."""
    n_snapshots: int = 0
    """Former states kept of each, to roll back to."""
    extra_recurrent: dict[int, int] = field(default_factory=dict)
    """Bytes of further states by block, for architectures that keep some."""

    def kv_bytes(self, il: int, *, on_gpu: bool = False) -> int:
        """Bytes of all KV caches of one block, on a GPU or on the host.  [bytes]"""
        return sum(cache.layer_bytes(il, on_gpu=on_gpu) for cache in self.caches.values())

    def recurrent_bytes(self, il: int, *, on_gpu: bool = False) -> int:
        """Bytes of the recurrent state of one block, on a GPU or on the host.  [bytes]"""
        n = self.extra_recurrent.get(il, 0)
        if il in self.recr_layers:
            for width in (self.n_embd_r, self.n_embd_s):
                n += _allocated_bytes("f32", width, self.n_rs_rows, on_gpu)
        return n

    @property
    def n_rs_rows(self) -> int:
        """Rows of each state, snapshots included."""
        return self.n_rs * (1 + self.n_snapshots)


def make_cache(
    hp: HParams,
    ctx: ContextParams,
    layers: list[int],
    n_cells: int,
    *,
    k_only: bool | None = None,
) -> Cache:
    """Cache for `layers` of the model's own head sizes.

    Args:
        hp: hyper-parameters.
        ctx: resolved settings.
        layers: blocks that get one.
        n_cells: cells per stream.
        k_only: keep no values; None = as the model's attention says (MLA).

    Source: src/llama-kv-cache.cpp constructor.
    """
    k_only = hp.is_mla if k_only is None else k_only
    cache = Cache(n_cells, ctx.n_stream, ctx.type_k, ctx.type_v, ctx.v_trans)
    head_k: set[int] = set()
    head_v: set[int] = set()
    widest = hp.n_embd_v_gqa_max() if ctx.v_trans else 0
    for il in layers:
        head_k.add(hp.n_embd_head_k(il))
        if not k_only:
            head_v.add(hp.n_embd_head_v(il))
        n_v = widest if ctx.v_trans else hp.n_embd_v_gqa(il)
        cache.layers[il] = CacheLayer(hp.n_embd_k_gqa(il), 0 if k_only else n_v)
    if len(head_k) == 1:
        size = head_k.pop()
        if size and TYPES[ctx.type_k].is_quantized and hp.n_embd_head_k() % 64 == 0:
            cache.n_rot_k = hadamard_size(size)
    if len(head_v) == 1 and head_v.pop() and TYPES[ctx.type_v].is_quantized:
        cache.n_rot_v = 64 if hp.n_embd_head_v() % 64 == 0 else 0
    return cache


def hadamard_size(head_size: int) -> int:
    """Side of the rotation matrix for a key head: the largest 64·2^n that divides it."""
    n = 64
    while head_size % (2 * n) == 0:
        n *= 2
    return n


def swa_cells(hp: HParams, ctx: ContextParams) -> int:
    """Cells of a sliding-window cache.

    Source: src/llama-kv-cache-iswa.cpp constructor.
    """
    if ctx.swa_full:
        return ctx.n_ctx_seq
    window = hp.n_swa * (ctx.n_seq_max if ctx.kv_unified else 1) + ctx.n_ubatch
    return pad(min(ctx.n_ctx_seq, window), CONTEXT_PADDING)


def attention_layers(hp: HParams) -> list[int]:
    """Blocks with a KV cache of their own."""
    if hp.attn_layers is not None:
        layers = hp.attn_layers
    elif hp.memory in (Memory.HYBRID, Memory.HYBRID_ISWA):
        layers = [il for il in range(hp.n_layer) if not hp.is_recr(il)]
    else:
        layers = list(range(hp.n_layer or hp.n_layer_all))
    return [il for il in layers if hp.has_kv(il)]


def build_layout(hp: HParams, ctx: ContextParams) -> Layout:
    """Memory of a context, by the model's kind of memory.

    Source: src/llama-model.cpp `create_memory`.
    """
    layout = Layout(n_rs=max(1, ctx.n_seq_max), n_snapshots=ctx.n_snapshots)
    if hp.memory in (Memory.KV, Memory.HYBRID):
        layout.caches["base"] = make_cache(hp, ctx, attention_layers(hp), ctx.n_ctx_seq)
    elif hp.memory in (Memory.ISWA, Memory.HYBRID_ISWA):
        layers = attention_layers(hp)
        dense = [il for il in layers if not hp.is_swa(il)]
        sliding = [il for il in layers if hp.is_swa(il)]
        layout.caches["base"] = make_cache(hp, ctx, dense, ctx.n_ctx_seq)
        layout.caches["swa"] = make_cache(hp, ctx, sliding, swa_cells(hp, ctx))
    if hp.memory in (Memory.RECURRENT, Memory.HYBRID, Memory.HYBRID_ISWA):
        layout.recr_layers = recurrent_layers(hp)
        layout.n_embd_r, layout.n_embd_s = hp.n_embd_r, hp.n_embd_s
    return layout


def build_draft_layout(hp: HParams, ctx: ContextParams) -> Layout:
    """Memory of the context that drafts: caches of the nextn blocks, which all attend.

    Source: src/llama-model.cpp `create_memory`.
    """
    layout = Layout(n_rs=max(1, ctx.n_seq_max))
    layers = list(range(hp.n_layer, hp.n_layer_all))
    if hp.memory != Memory.ISWA:
        layout.caches["base"] = make_cache(hp, ctx, layers, ctx.n_ctx_seq)
        return layout
    dense = [il for il in layers if not hp.is_swa(il)]
    sliding = [il for il in layers if hp.is_swa(il)]
    layout.caches["base"] = make_cache(hp, ctx, dense, ctx.n_ctx_seq)
    layout.caches["swa"] = make_cache(hp, ctx, sliding, swa_cells(hp, ctx))
    return layout


def recurrent_layers(hp: HParams) -> list[int]:
    """Blocks with a recurrent state."""
    if hp.recr_layers is not None:
        return hp.recr_layers
    if hp.memory == Memory.RECURRENT:
        return list(range(hp.n_layer_all))
    return [il for il in range(hp.n_layer) if hp.is_recr(il)]
