"""Compute buffers by re-creating llama.cpp's graph, scheduler and allocator.

Source: llama.cpp src/llama-context.cpp `sched_reserve`, `graph_reserve`,
`resolve_fused_ops` (pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from ggufctl.core.extras import Adapter
from ggufctl.core.folding import Fold, is_settled
from ggufctl.core.ggml.alloc import Allocator, Live
from ggufctl.core.ggml.cuda import Capability
from ggufctl.core.ggml.scheduler import MAX_COPIES, Scheduler
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import Architecture
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import ContextParams, Layout
from ggufctl.core.placement import Placement

__all__ = ["Buffers", "Engine"]

GENERATION_RATIO = 16
"""Tokens per sequence from which a prompt needs more memory than one token each does."""


@dataclass(frozen=True, slots=True)
class Buffers:
    """Compute buffers per backend, GPUs first, the host last.  [bytes]"""

    sizes: tuple[int, ...]
    peaks: tuple[tuple[Live, ...], ...]
    flash_attn: bool
    n_copies: int


@dataclass(frozen=True, slots=True)
class Engine:
    """Everything a graph depends on, for one model, one setting and one set of GPUs.

    Attributes:
        dry_run: reproduce llama.cpp's own dry run (llama-fit-params, --fit), which
            drops the pins of norms and so differs on several GPUs.
        can_pipeline: whether the settings allow pipeline parallelism.
        auto_flash: whether fusing attention depends on where it would run.
        adapters: LoRA adapters in use.
        folds: ways to leave out repeating blocks, the shortest first.
        probed: answers of probes already made for this placement.
        capabilities: compute capability per GPU; none = Ada Lovelace or newer.
    """

    arch: Architecture
    hp: HParams
    ctx: ContextParams
    layout: Layout
    placement: Placement
    dry_run: bool = False
    can_pipeline: bool = True
    auto_flash: bool = True
    adapters: tuple[Adapter, ...] = ()
    folds: tuple[Fold, ...] = ()
    probed: dict[Hashable, bool] = field(default_factory=dict)
    capabilities: tuple[Capability, ...] = ()

    @property
    def n_copies(self) -> int:
        """Copies of inputs: several under pipeline parallelism."""
        p = self.placement
        pipelined = p.n_gpus > 1 and p.full_offload and p.kv_offload and not p.has_overrides
        return MAX_COPIES if pipelined and self.can_pipeline else 1

    def reserve(self, *, explain: bool = False, fold: bool = True) -> Buffers:
        """Reserve the worst-case graph of a prompt.

        Args:
            explain: record what is alive at each buffer's peak.
            fold: leave out blocks that repeat where that is proved to change nothing.
        """
        folds = self.folds if fold else ()
        layers = folds[0].layers if folds else None
        flash = self._resolve_flash_attention(layers)
        unfused = self._resolve_fused_ops(flash, layers)
        n_seqs = self.ctx.n_seq_max
        n_tokens = min(self.ctx.n_ctx, self.ctx.n_ubatch)
        n_outputs = min(n_tokens, self.ctx.n_outputs_max)

        def reserved(n_tokens: int, n_seqs: int, n_outputs: int) -> Buffers:
            return self._reserve(
                n_tokens, n_seqs, n_outputs, flash, folds, explain, unfused=unfused
            )

        buffers = reserved(n_tokens, n_seqs, n_outputs)
        if self.dry_run:
            return buffers
        if self.arch.reserve_one_seq and n_seqs > 1:
            buffers = _larger(buffers, reserved(n_tokens, 1, n_outputs))
        if self._reserves_more_for_generation(n_tokens, n_seqs):
            buffers = _larger(buffers, reserved(n_seqs, n_seqs, n_seqs))
        return buffers

    def _reserves_more_for_generation(self, n_tokens: int, n_seqs: int) -> bool:
        """Whether one token per sequence might need more than a prompt on some backend.

        Weights on the host are what a small batch computes there and a prompt on a GPU.
        """
        p = self.placement
        is_split = p.has_overrides or not (p.full_offload and p.kv_offload)
        from_host = p.n_gpus > 0 and is_split
        return from_host or n_tokens < GENERATION_RATIO * n_seqs

    def _reserve(
        self,
        n_tokens: int,
        n_seqs: int,
        n_outputs: int,
        flash: bool,
        folds: Sequence[Fold],
        explain: bool,
        *,
        unfused: frozenset[str],
    ) -> Buffers:
        pin = not self.dry_run
        # The allocator often alternates between two arrangements, so one repetition seldom
        # settles; the shortest fold serves the probes.
        choices: list[Fold | None] = [*(folds[1:] or folds), None]
        for fold in choices:
            layers = fold.layers if fold else None
            builder = self._build(
                n_tokens, n_seqs, n_outputs, flash, pin=pin, layers=layers, unfused=unfused
            )
            allocator = self._allocate(builder, explain)
            if fold is None or is_settled(fold, builder.layers.starts, builder.graph.nodes):
                break
        peaks = tuple(allocator.peaks) if explain else ()
        return Buffers(tuple(allocator.sizes), peaks, flash, self.n_copies)

    def _allocate(self, builder: Builder, explain: bool) -> Allocator:
        scheduler = Scheduler(self.placement.n_gpus, self.n_copies)
        allocator = Allocator(
            self.placement.n_gpus, explain=explain, capabilities=self.capabilities
        )
        allocator.reserve(scheduler.schedule(builder.graph))
        return allocator

    def _build(
        self,
        n_tokens: int,
        n_seqs: int,
        n_outputs: int,
        flash: bool,
        *,
        pin: bool,
        layers: list[int] | None = None,
        unfused: frozenset[str] = frozenset(),
    ) -> Builder:
        rounded = -(-n_tokens // n_seqs) * n_seqs
        builder = Builder(
            self.hp,
            self.ctx,
            self.layout,
            self.placement,
            n_tokens=rounded,
            n_seqs=n_seqs,
            n_outputs=n_outputs,
            flash_attn=flash,
            pin_norms=pin,
            mixed_batch=self.arch.mixed_batch,
            layers=layers,
            adapters=self.adapters,
            unfused=unfused,
            in_use=not self.dry_run,
        )
        self.arch.build(builder)
        builder.pool()
        builder.mark_outputs()
        return builder

    def _resolve_flash_attention(self, layers: list[int] | None) -> bool:
        """Fuse attention unless some block's would land on another device.

        llama.cpp builds a graph of one token per sequence to find out.

        Args:
            layers: blocks that stand for all, None = all.
        """
        if not self.ctx.flash_attn or not self.auto_flash:
            return self.ctx.flash_attn
        # Nothing that a longer context changes decides where an operation runs.
        ctx = self.ctx
        key = (ctx.n_seq_max, ctx.kv_unified, ctx.type_k, ctx.type_v, ctx.embeddings)
        if key not in self.probed:
            self.probed[key] = self._probe_flash_attention(layers)
        return self.probed[key]

    def _probe_flash_attention(self, layers: list[int] | None) -> bool:
        n = self.ctx.n_seq_max
        probe = self._build(n, n, n, True, pin=True, layers=layers)
        Scheduler(self.placement.n_gpus, self.n_copies).assign(probe.graph)
        backends = self.placement.layer_backends
        return all(t.backend == backends[il] for t, il in probe.fused_attention)

    def _resolve_fused_ops(self, flash: bool, layers: list[int] | None) -> frozenset[str]:
        """Operations that must be spelled out, as some block's would land elsewhere.

        llama.cpp probes one operation after the other, each with what it found before.
        """
        unfused: frozenset[str] = frozenset()
        n = self.ctx.n_seq_max
        backends = self.placement.layer_backends
        for op in self.arch.fused_ops:
            probe = self._build(n, n, n, flash, pin=True, layers=layers, unfused=unfused)
            Scheduler(self.placement.n_gpus, self.n_copies).assign(probe.graph)
            if any(t.backend != backends[il] for t, il in probe.fused_nodes if t.op == op):
                unfused |= {op}
        return unfused


def _larger(a: Buffers, b: Buffers) -> Buffers:
    """Take the larger buffer of each backend, with what is alive in it."""
    pick = [a if x >= y else b for x, y in zip(a.sizes, b.sizes, strict=True)]
    sizes = tuple(one.sizes[i] for i, one in enumerate(pick))
    peaks = tuple(one.peaks[i] for i, one in enumerate(pick)) if a.peaks else ()
    return Buffers(sizes, peaks, a.flash_attn, a.n_copies)
