"""Compute buffers by re-creating llama.cpp's graph, scheduler and allocator.

Source: llama.cpp src/llama-context.cpp `sched_reserve`, `graph_reserve`,
`resolve_fused_ops` (pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ggufctl.core.cutting import cut
from ggufctl.core.extras import Adapter
from ggufctl.core.folding import Fold, add_loops, are_twins, cuts
from ggufctl.core.ggml.alloc import Live, Recorder, Tape
from ggufctl.core.ggml.cuda import ADA_LOVELACE, Capability
from ggufctl.core.ggml.scheduler import MAX_COPIES, Scheduler
from ggufctl.core.graphs.builder import Builder
from ggufctl.core.graphs.registry import Architecture
from ggufctl.core.growing import NotGrowing, Span
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import ContextParams, Layout
from ggufctl.core.placement import Placement
from ggufctl.core.stamping import Stamped, shortened

__all__ = ["Apart", "Buffers", "Engine", "Program", "Stamps", "larger"]

GENERATION_RATIO = 16
"""Tokens per sequence from which a prompt needs more memory than one token each does."""

ATTENTION = "FLASH_ATTN_EXT"
"""The operation that `-fa auto` uses only if every block's would land on its own device."""

_GATHERED = frozenset(("token_embd.weight", "position_embd.weight", "per_layer_token_embd.weight"))
"""Weights of which rows are gathered on the host, however many tokens a batch has."""


@dataclass(frozen=True, slots=True)
class Buffers:
    """Compute buffers per backend, GPUs first, the host last.  [bytes]"""

    sizes: tuple[int, ...]
    peaks: tuple[tuple[Live, ...], ...]
    flash_attn: bool
    n_copies: int


class _Batch(NamedTuple):
    """What a graph is built for, beside the context's length."""

    n_tokens: int
    n_seqs: int
    n_outputs: int
    flash: bool
    unfused: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Program:
    """What a graph asks of every buffer, for all contexts of a span."""

    tapes: list[Tape]
    span: Span
    misplaced: frozenset[str]
    """Fused operations of which some block's is not on the block's device."""
    is_blind: bool
    """Whether where operations run does not depend on how many tokens there are."""


class Apart(NamedTuple):
    """A model with every block on a device of its own, see `core.stamping`.

    Attributes:
        placement: of the blocks.
        kinds: of the blocks, one per block.
        layers: blocks to build, which have every pair of kinds.
    """

    placement: Placement
    kinds: list[int]
    layers: list[int]

    @classmethod
    def of(cls, placement: Placement, kinds: list[Hashable]) -> Apart:
        """The same with what is to be built. The first and the last block are like no other.

        Recurrent blocks begin before the former one is done, which is another one by that.
        """
        recurrent = placement.hp.is_recr_arr[: len(kinds)]
        if any(recurrent):
            kinds = list(zip(kinds, [*recurrent[1:], False], strict=True))
        if len(kinds) > 1:
            kinds = [("first", kinds[0]), *kinds[1:-1], ("last", kinds[-1])]
        # Numbers are told from each other fastest.
        numbers = {kind: i for i, kind in enumerate(dict.fromkeys(kinds))}
        numbered = [numbers[kind] for kind in kinds]
        return cls(placement, numbered, shortened(numbered))


@dataclass(frozen=True, slots=True)
class Stamps:
    """What stamps say for all contexts of a span; None where there are none."""

    stamped: Stamped | None
    span: Span
    is_blind: bool = False


@dataclass(frozen=True, slots=True)
class Engine:
    """Everything a graph depends on, for one model, one setting and one set of GPUs.

    Attributes:
        dry_run: reproduce llama.cpp's own dry run (llama-fit-params, --fit), which
            drops the pins of norms and so differs on several GPUs.
        can_pipeline: whether the settings allow pipeline parallelism.
        auto_flash: whether fusing attention depends on where it would run.
        adapters: LoRA adapters in use.
        folds: finds ways to leave out repeating blocks, the shortest first.
        apart: the model with blocks on devices of their own; None where some are on the host.
        probed: answers of probes already made for this placement.
        programs: graphs already gone through, of all placements.
        stamps: the same out of stamps.
        key: what tells this placement from others.
        capabilities: compute capability per GPU; none = Ada Lovelace or newer.
    """

    arch: Architecture
    hp: HParams
    ctx: ContextParams
    placement: Placement
    dry_run: bool = False
    can_pipeline: bool = True
    auto_flash: bool = True
    adapters: tuple[Adapter, ...] = ()
    folds: Callable[[], tuple[Fold, ...]] = tuple
    apart: Apart | None = None
    probed: dict[Hashable, frozenset[str]] = field(default_factory=dict)
    programs: dict[Hashable, list[Program | None]] = field(default_factory=dict)
    stamps: dict[Hashable, list[Stamps]] = field(default_factory=dict)
    key: Hashable = None
    capabilities: tuple[Capability, ...] = ()

    @property
    def n_copies(self) -> int:
        """Copies of inputs: several under pipeline parallelism."""
        p = self.placement
        pipelined = p.n_gpus > 1 and p.full_offload and p.kv_offload and not p.has_overrides
        return MAX_COPIES if pipelined and self.can_pipeline else 1

    def unfolded(self) -> Engine:
        """The same with every block in its graphs."""
        return replace(self, folds=tuple, apart=None, programs={}, probed={})

    def reserve(self, *, explain: bool = False) -> Buffers:
        """Reserve the worst-case graph of a prompt.

        Args:
            explain: record what is alive at each buffer's peak.
        """
        n_seqs = self.ctx.n_seq_max
        n_tokens = min(self.ctx.n_ctx, self.ctx.n_ubatch)
        prompt = _Batch(n_tokens, n_seqs, min(n_tokens, self.ctx.n_outputs_max), False)
        prompt = self._resolved(prompt)
        buffers = self._reserve(prompt, explain)
        if self.dry_run:
            return buffers
        if self.arch.reserve_one_seq and n_seqs > 1:
            buffers = larger(buffers, self._reserve(prompt._replace(n_seqs=1), explain))
        if self._reserves_more_for_generation(n_tokens, n_seqs):
            one_each = prompt._replace(n_tokens=n_seqs, n_outputs=n_seqs)
            buffers = larger(buffers, self._reserve(one_each, explain))
        return buffers

    def _reserves_more_for_generation(self, n_tokens: int, n_seqs: int) -> bool:
        """Whether one token per sequence might need more than a prompt on some backend.

        Weights on the host are what a small batch computes there and a prompt on a GPU.
        """
        p = self.placement
        is_split = p.has_overrides or not (p.full_offload and p.kv_offload)
        from_host = p.n_gpus > 0 and is_split
        return from_host or n_tokens < GENERATION_RATIO * n_seqs

    def _reserve(self, batch: _Batch, explain: bool) -> Buffers:
        if explain:
            # Every block is there, so that what is alive has its own name.
            program = self._record(batch, self.ctx, Span(self.ctx.step), None, explain=True)
            assert program is not None
            fold = None
        else:
            sizes = self._stamped_sizes(batch)
            if sizes is not None:
                return Buffers(sizes, (), batch.flash, self.n_copies)
            program, fold = self._program(batch)
        steps = self.ctx.step - program.span.here
        if fold is None:
            played = [tape.play(steps) for tape in program.tapes]
        else:
            asked = list(zip(fold.seats, fold.left_out, strict=True))
            answers = {
                (seat, left_out): program.tapes[seat].play(steps, left_out)
                for seat, left_out in dict.fromkeys(asked)
            }
            played = [answers[one] for one in asked]
        peaks = tuple(one.peak for one in played) if explain else ()
        return Buffers(tuple(one.size for one in played), peaks, batch.flash, self.n_copies)

    def _stamps(self, batch: _Batch) -> Stamps | None:
        """The stamps of a batch whose span has this context; None where blocks are not apart."""
        p = self.placement
        is_piped = p.n_gpus == 1 or self.n_copies == MAX_COPIES
        capabilities = frozenset(self.capabilities)
        if self.apart is None or self.dry_run or not is_piped or len(capabilities) > 1:
            return None
        capability = next(iter(capabilities), ADA_LOVELACE)
        known = self.stamps.setdefault((batch, self.ctx.settings, capability), [])
        here = self.ctx.step
        found = next((stamps for stamps in known if here in stamps.span), None)
        if found is None:
            found = self._new_stamps(batch, self.apart, capability)
            known.append(found)
        return found

    def _stamped_sizes(self, batch: _Batch) -> tuple[int, ...] | None:
        """Compute buffers of a batch as stamps have them, None where they do not tell.  [bytes]"""
        stamps, p = self._stamps(batch), self.placement
        if stamps is None or stamps.stamped is None:
            return None
        steps = self.ctx.step - stamps.span.here
        return stamps.stamped.sizes(p.layer_backends, p.n_gpus, steps)

    def _new_stamps(self, batch: _Batch, apart: Apart, capability: Capability) -> Stamps:
        try:
            ctx, span = self.ctx.growing()
            return self._cut(batch, ctx, span, apart, capability)
        except NotGrowing:
            span = Span(self.ctx.step)
            span.only_here()
            return self._cut(batch, self.ctx, span, apart, capability)

    def _cut(
        self, batch: _Batch, ctx: ContextParams, span: Span, apart: Apart, capability: Capability
    ) -> Stamps:
        layout = self.arch.lay_out(self.hp, ctx)
        builder = self._build(batch, ctx, layout, apart.layers, apart.placement, pin=True)
        p = apart.placement
        stamped = cut(builder.graph, apart.layers, apart.kinds, p.n_gpus, capability)
        if stamped is not None and _misplaced(builder, p):
            stamped = None
        return Stamps(stamped, span, _is_blind(builder, p))

    def _program(self, batch: _Batch) -> tuple[Program, Fold | None]:
        """The program of a batch whose span has this context, with what it leaves out."""
        settings = (batch, self.ctx.settings, self.dry_run, self.can_pipeline)
        cards = frozenset(self.capabilities)
        are_equal = len(cards) < 2
        for i, fold in enumerate(self.folds()):
            if fold.has_twins and not are_equal:
                continue
            structure = fold.structure if are_equal else None
            graph = (self.key, i) if structure is None else structure
            program = self._known(
                batch, (settings, cards if structure else self.capabilities, graph), fold
            )
            if program is not None and not (fold.has_twins and not are_twins(program.tapes)):
                return program, fold
        program = self._known(batch, (settings, self.capabilities, self.key), None)
        assert program is not None
        return program, None

    def _known(self, batch: _Batch, key: Hashable, fold: Fold | None) -> Program | None:
        """The program under a key, or a new one; None where the fold changes what is asked."""
        known = self.programs.setdefault(key, [])
        here = self.ctx.step
        for program in known:
            if program is None or here in program.span:
                return program
        found = self._new_program(batch, fold)
        known.append(found)
        return found

    def _new_program(self, batch: _Batch, fold: Fold | None) -> Program | None:
        try:
            ctx, span = self.ctx.growing()
            return self._record(batch, ctx, span, fold)
        except NotGrowing:
            span = Span(self.ctx.step)
            span.only_here()
            return self._record(batch, self.ctx, span, fold)

    def _record(
        self,
        batch: _Batch,
        ctx: ContextParams,
        span: Span,
        fold: Fold | None,
        *,
        explain: bool = False,
    ) -> Program | None:
        n_gpus = self.placement.n_gpus
        layout = self.arch.lay_out(self.hp, ctx)
        layers = fold.layers if fold else None
        builder = self._build(batch, ctx, layout, layers, self.placement, pin=not self.dry_run)
        graph = builder.graph
        schedule = Scheduler(n_gpus, self.n_copies).schedule(graph)
        recorder = Recorder(n_gpus, explain=explain, capabilities=self.capabilities)
        tapes = recorder.tapes
        if fold is None:
            recorder.record(schedule)
        else:
            starts = builder.layers.starts
            marks = recorder.record(schedule, cuts(fold, starts, graph.nodes))
            if not add_loops(fold, starts, graph.nodes, tapes, marks):
                return None
            tapes = [tapes[where] for where in fold.devices]
        p = self.placement
        return Program(tapes, span, _misplaced(builder, p), _is_blind(builder, p))

    def _build(
        self,
        batch: _Batch,
        ctx: ContextParams,
        layout: Layout,
        layers: list[int] | None,
        placement: Placement,
        *,
        pin: bool,
    ) -> Builder:
        rounded = -(-batch.n_tokens // batch.n_seqs) * batch.n_seqs
        builder = Builder(
            self.hp,
            ctx,
            layout,
            placement,
            n_tokens=rounded,
            n_seqs=batch.n_seqs,
            n_outputs=batch.n_outputs,
            flash_attn=batch.flash,
            pin_norms=pin,
            mixed_batch=self.arch.mixed_batch,
            layers=layers,
            adapters=self.adapters,
            unfused=batch.unfused,
            in_use=not self.dry_run,
        )
        if ctx.drafts:
            self._draft(builder)
        else:
            self.arch.build(builder)
        builder.pool()
        builder.mark_outputs()
        return builder

    def _draft(self, builder: Builder) -> None:
        """Add the graph of the blocks that draft, with its samplers once it is in use."""
        from ggufctl.core.graphs.mtp import sample

        assert self.arch.draft is not None
        self.arch.draft(builder)
        speculation = builder.ctx.speculation
        if speculation is not None and speculation.in_use:
            sample(builder)

    def _resolved(self, batch: _Batch) -> _Batch:
        """The batch with what llama.cpp finds can be fused.

        It fuses attention unless some block's would land on another device, and spells out
        other operations of which some block's would, probing one after the other, each with
        what it found before.
        """
        flash = self.ctx.flash_attn
        if flash and self.auto_flash:
            flash = self._is_fused(batch._replace(flash=True))
        batch = batch._replace(flash=flash)
        for op in self.arch.fused_ops:
            if op in self._probe(batch):
                batch = batch._replace(unfused=batch.unfused | {op})
        return batch

    def _is_fused(self, prompt: _Batch) -> bool:
        """Whether `-fa auto` fuses attention.

        Where a prompt's graph is assigned without regard to its tokens, as one of a few tokens
        would be, it answers itself: fewer tokens only make layouts more contiguous.
        """
        p = self.placement
        if p.full_offload and not self.dry_run and not self.arch.fused_ops:
            stamps = self._stamps(prompt)
            if stamps is not None and stamps.stamped is not None:
                if stamps.is_blind:
                    return True
                return ATTENTION not in self._probe(prompt)
            program, _ = self._program(prompt)
            if program.is_blind and ATTENTION not in program.misplaced:
                return True
        return ATTENTION not in self._probe(prompt)

    def _probe(self, batch: _Batch) -> frozenset[str]:
        """Fused operations that a graph of one token per sequence has on another device."""
        # Nothing that a longer context changes decides where an operation runs.
        n = self.ctx.n_seq_max
        probe = _Batch(n, n, n, batch.flash, batch.unfused)
        key = (probe, self.ctx.settings)
        found = self.probed.get(key)
        if found is None:
            folds = self.folds()
            layers = folds[0].layers if folds else None
            layout = self.arch.lay_out(self.hp, self.ctx)
            builder = self._build(probe, self.ctx, layout, layers, self.placement, pin=True)
            Scheduler(self.placement.n_gpus, self.n_copies).assign(builder.graph)
            found = self.probed[key] = _misplaced(builder, self.placement)
        return found


def _misplaced(builder: Builder, placement: Placement) -> frozenset[str]:
    """Fused operations of which some block's is not on the block's device."""
    backends = placement.layer_backends
    fused = (*builder.fused_attention, *builder.fused_nodes)
    return frozenset(t.op for t, il in fused if t.backend != backends[il])


def _is_blind(builder: Builder, placement: Placement) -> bool:
    """Whether no operation on weights of the host moves to a GPU for a large batch."""
    return placement.full_offload and all(
        w.buffer != placement.host or w.name in _GATHERED for w in builder.weights
    )


def larger(a: Buffers, b: Buffers) -> Buffers:
    """Take the larger buffer of each backend, with what is alive in it."""
    pick = [a if x >= y else b for x, y in zip(a.sizes, b.sizes, strict=True)]
    sizes = tuple(one.sizes[i] for i, one in enumerate(pick))
    peaks = tuple(one.peaks[i] for i, one in enumerate(pick)) if a.peaks else ()
    return Buffers(sizes, peaks, a.flash_attn, a.n_copies)
