"""What would fit instead, or fit a cheaper GPU: one change at a time, each with its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ggufctl.core.compat import check_settings
from ggufctl.core.estimate import Estimate
from ggufctl.core.ggml.types import TYPES
from ggufctl.core.gpus import Gpu
from ggufctl.core.planner import Allowed, GpuPlan, Planner, Scale, choose
from ggufctl.core.runtime import Runtime
from ggufctl.errors import RefusedSettings

__all__ = ["QuantSize", "Step", "StepKind", "cheaper_steps", "ladder"]

LEAST_CONTEXT = 512
"""A shorter context than this is no offer.  [tokens]"""

SMALLER_UBATCHES = (256, 128, 64)
"""Micro-batches to try instead of a larger one.  [tokens]"""

SMALL_CHANGE = 2
"""A cheaper GPU is worth offering for a context this many times shorter at most."""

MAX_OFFERS = 2
"""Offers of a cheaper GPU: a plan is not a catalogue of compromises."""

NEXT_QUANTS = 2
"""How many quants below the chosen one are looked at for a cheaper GPU."""


class StepKind(StrEnum):
    """What a step changes."""

    CONTEXT = "context"
    CACHE_TYPE = "cache_type"
    SLOTS = "slots"
    UBATCH = "ubatch"
    CPU_MOE = "n_cpu_moe"
    GPU = "gpu"
    QUANT = "quant"


@dataclass(frozen=True, slots=True)
class QuantSize:
    """Another quant of the model, known by the size of its files."""

    quant: str
    size_bytes: int
    ref: str = ""
    n_files: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One change that makes the model fit."""

    kind: StepKind
    changes: tuple[str, ...]
    """llama-server's flags for it; empty for another GPU or quant."""
    text: str
    """What to do, in one line."""
    gpu: str
    count: int
    usd_per_hour: float
    n_ctx: int
    """Context it then runs with.  [tokens]"""
    max_n_ctx: int
    """Context that would fit after it, at least.  [tokens]"""
    used_bytes: int
    """On the fullest device.  [bytes]"""
    usable_bytes: int
    """Of that device.  [bytes]"""
    host_bytes: int
    """Host memory it then needs.  [bytes]"""
    quant: str | None = None


def ladder(
    planner: Planner,
    runtime: Runtime,
    rows: Sequence[GpuPlan],
    allowed: Allowed,
    everything: Allowed,
    quants: Sequence[QuantSize] = (),
    size_bytes: int = 0,
) -> tuple[Step, ...]:
    """What would fit when nothing asked for does, the smallest change of each kind.

    Args:
        planner: of the model.
        runtime: the settings that do not fit.
        rows: what they come to on the GPUs allowed.
        allowed: names, numbers and budget to keep to.
        everything: the same without restriction, for the next GPU.
        quants: smaller quants, the best first.
        size_bytes: of the quant that was planned.
    """
    search = _Search(planner, runtime, rows, allowed)
    steps: list[Step | None] = [search.shorter_context(1), *search.cache_types()]
    steps += [search.fewer_slots(), search.smaller_ubatch(), search.more_cpu_moe()]
    steps.append(_next_gpu(planner, runtime, everything))
    steps.append(search.next_quant(quants, size_bytes))
    return tuple(step for step in steps if step is not None)


def cheaper_steps(
    planner: Planner,
    runtime: Runtime,
    chosen: GpuPlan,
    rows: Sequence[GpuPlan],
    allowed: Allowed,
    quants: Sequence[QuantSize] = (),
    size_bytes: int = 0,
) -> tuple[Step, ...]:
    """Small changes that reach a cheaper GPU than the chosen one, the cheapest first."""
    cheaper = [
        row
        for row in rows
        if row.is_allowed and row.estimate is not None and row.usd_per_hour < chosen.usd_per_hour
        if row.count <= chosen.count
    ]
    if not cheaper:
        return ()
    search = _Search(planner, runtime, cheaper, allowed, full=False)

    def offers() -> Iterator[Step | None]:
        yield search.next_quant(quants[:NEXT_QUANTS], size_bytes)
        yield search.shorter_context(SMALL_CHANGE)
        yield from search.cache_types()
        yield search.smaller_ubatch()
        yield search.fewer_slots()

    found = [step for step, _ in zip(filter(None, offers()), range(MAX_OFFERS), strict=False)]
    return tuple(sorted(found, key=lambda step: step.usd_per_hour))


def _next_gpu(planner: Planner, runtime: Runtime, everything: Allowed) -> Step | None:
    row = choose(planner.rows(runtime, everything))
    if row is None:
        return None
    text = f"rent {row.label}, which holds it as asked"
    return _step(StepKind.GPU, (), text, row, runtime)


def _step(
    kind: StepKind,
    changes: tuple[str, ...],
    text: str,
    row: GpuPlan,
    runtime: Runtime,
    quant: str | None = None,
) -> Step:
    estimate = row.estimate
    return Step(
        kind,
        changes,
        text,
        row.gpu.name,
        row.count,
        row.usd_per_hour,
        estimate.n_ctx if estimate else runtime.n_ctx,
        max(row.max_n_ctx, runtime.n_ctx),
        row.used_bytes,
        row.usable_bytes_per_gpu,
        estimate.host.total_bytes if estimate else 0,
        quant,
    )


class _Search:
    """Tries changes on the GPUs of some rows."""

    def __init__(
        self,
        planner: Planner,
        runtime: Runtime,
        rows: Sequence[GpuPlan],
        allowed: Allowed,
        *,
        full: bool = True,
    ) -> None:
        self.full = full
        """Whether steps say the largest context that would fit after them."""
        self.planner = planner
        self.runtime = runtime
        self.rows = sorted(
            (
                row
                for row in rows
                if row.is_allowed and row.estimate is not None and row.gpu.cuda_bytes is not None
            ),
            key=lambda row: (row.count > 1, row.usd_per_hour),
        )
        self.allowed = allowed

    def _first_fit(
        self, runtime: Runtime, saved: Saved, scale: Scale | None = None
    ) -> GpuPlan | None:
        """The cheapest of the GPUs that hold the changed model, skipping the hopeless ones."""
        for row in self.rows:
            if saved.most(row) < row.short_by_bytes:
                continue
            found = self._row(row.gpu, row.count, runtime, scale)
            if found.fits:
                return found
        return None

    def _row(
        self,
        gpu: Gpu,
        count: int,
        runtime: Runtime,
        scale: Scale | None = None,
        *,
        full: bool = True,
    ) -> GpuPlan:
        full = full and self.full
        return self.planner.row(gpu, count, runtime, scale=scale, with_max_n_ctx=full)

    def shorter_context(self, times: int) -> Step | None:
        """The longest context that fits on some GPU; `times` bounds how much shorter it is."""
        asked = self.runtime.n_ctx or self.planner.shape.hp.n_ctx_train
        least = asked // times if times > 1 else LEAST_CONTEXT
        fitting = [
            row for row in self.rows if least <= row.max_n_ctx < asked and row.short_by_bytes
        ]
        if times > 1:
            best = min(fitting, key=lambda row: row.usd_per_hour, default=None)
        else:
            best = max(fitting, key=lambda row: (row.max_n_ctx, -row.usd_per_hour), default=None)
        if best is None:
            return None
        n_ctx = best.max_n_ctx
        runtime = self.runtime.with_(n_ctx=n_ctx)
        row = self._row(best.gpu, best.count, runtime)
        if not row.fits:
            return None
        text = f"-c {n_ctx} fits {row.label}"
        return _step(StepKind.CONTEXT, ("-c", str(n_ctx)), text, row, runtime)

    def cache_types(self) -> Iterator[Step | None]:
        """A quantised cache."""
        types = (self.runtime.cache_type_k, self.runtime.cache_type_v)
        if any(TYPES[t].is_quantized for t in types) or self.runtime.flash_attn == "off":
            return
        runtime = self.runtime.with_(cache_type_k="q8_0", cache_type_v="q8_0")
        try:
            check_settings(self.planner.shape, runtime)
        except RefusedSettings:
            return
        row = self._first_fit(runtime, _CACHE)
        if row is not None:
            flags = ("-ctk", "q8_0", "-ctv", "q8_0")
            text = f"a q8_0 cache fits {row.label}"
            yield _step(StepKind.CACHE_TYPE, flags, text, row, runtime)

    def fewer_slots(self) -> Step | None:
        """One slot, where every slot has memory of its own."""
        if self.runtime.n_seq_max == 1:
            return None
        runtime = self.runtime.with_(n_parallel=1)
        row = self._first_fit(runtime, _STATE)
        if row is None:
            return None
        return _step(StepKind.SLOTS, ("-np", "1"), f"one slot fits {row.label}", row, runtime)

    def smaller_ubatch(self) -> Step | None:
        """The largest smaller micro-batch that fits."""
        for n_ubatch in SMALLER_UBATCHES:
            if n_ubatch >= self.runtime.n_ubatch:
                continue
            runtime = self.runtime.with_(n_ubatch=n_ubatch)
            row = self._first_fit(runtime, _COMPUTE)
            if row is not None:
                text = f"-ub {n_ubatch} fits {row.label}, at slower prompts"
                return _step(StepKind.UBATCH, ("-ub", str(n_ubatch)), text, row, runtime)
        return None

    def more_cpu_moe(self) -> Step | None:
        """The fewest blocks whose experts must stay in host memory."""
        hp = self.planner.shape.hp
        if hp.n_expert < 2 or self.runtime.n_cpu_moe >= hp.n_layer:
            return None
        for candidate in sorted(self.rows, key=lambda row: (row.count, row.usd_per_hour)):
            row = self._least_cpu_moe(candidate)
            if row is not None:
                return row
        return None

    def _least_cpu_moe(self, candidate: GpuPlan) -> Step | None:
        low, high = self.runtime.n_cpu_moe, self.planner.shape.hp.n_layer

        def row_with(n: int) -> GpuPlan:
            runtime = self.runtime.with_(n_cpu_moe=n)
            return self._row(candidate.gpu, candidate.count, runtime, full=False)

        best = row_with(high)
        if not best.fits:
            return None
        # Nearly a straight line in N: guess by it, then close in from both sides.
        while high - low > 1:
            at_high = best.used_bytes
            at_low = row_with(low).used_bytes
            room = best.usable_bytes_per_gpu - at_high
            per_block = max(1, (at_low - at_high) // (high - low))
            guess = min(max(high - room // per_block, low + 1), high - 1)
            row = row_with(guess)
            if row.fits:
                high, best = guess, row
                if guess - 1 > low and not row_with(guess - 1).fits:
                    low = guess - 1
            else:
                low = guess
                following = row_with(guess + 1) if guess + 1 < high else None
                if following is not None and following.fits:
                    high, best = guess + 1, following
        runtime = self.runtime.with_(n_cpu_moe=high)
        best = self._row(candidate.gpu, candidate.count, runtime)
        text = f"--n-cpu-moe {high} fits {best.label}, with experts in host memory"
        return _step(StepKind.CPU_MOE, ("--n-cpu-moe", str(high)), text, best, runtime)

    def next_quant(self, quants: Sequence[QuantSize], size_bytes: int) -> Step | None:
        """The best smaller quant that fits."""
        if not size_bytes:
            return None
        for other in quants:
            scale = Scale(other.size_bytes, size_bytes, other.n_files > 1)
            row = self._first_fit(self.runtime, _weights_saved(scale), scale)
            if row is not None:
                text = f"{other.quant} fits {row.label}"
                return _step(StepKind.QUANT, (), text, row, self.runtime, other.quant)
        return None


class Saved:
    """The most a change can save, which spares estimates that cannot succeed."""

    def __init__(self, *terms: str, share: float = 1.0) -> None:
        self._terms = terms
        self._share = share

    def most(self, row: GpuPlan) -> int:
        """Upper bound over all devices of a row.  [bytes]"""
        estimate: Estimate | None = row.estimate
        if estimate is None:
            return 0
        total = sum(getattr(d, f"{term}_bytes") for d in estimate.devices for term in self._terms)
        return int(total * self._share) + 1


_CACHE = Saved("kv_cache", "compute", share=0.75)
_STATE = Saved("kv_cache", "recurrent", "compute")
_COMPUTE = Saved("compute", "kv_cache", "overhead")


def _weights_saved(scale: Scale) -> Saved:
    return Saved("weights", share=max(0.0, 1.0 - scale.size_bytes / scale.of_bytes) * 1.01)
