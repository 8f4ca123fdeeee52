"""What would fit instead, or fit a cheaper GPU: one change at a time, each with its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil

from ggufctl.core.compat import NO_TENSOR, check_settings
from ggufctl.core.estimate import Estimate
from ggufctl.core.ggml.types import TYPES
from ggufctl.core.gpus import Gpu
from ggufctl.core.layout import CONTEXT_PADDING, pad
from ggufctl.core.planner import Allowed, GpuPlan, Planner, Scale, choose
from ggufctl.core.ranges import Range
from ggufctl.core.runtime import NO_DRAFT, Runtime
from ggufctl.core.speed import predict_speed
from ggufctl.core.units import format_usd
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

NO_PIPELINE = f"{NO_TENSOR}=CPU"
"""An override of no tensor: with any at all llama.cpp keeps no copies of inputs."""

SIMILAR = 1.1
"""Steps that cost at most this many times the cheapest are told apart by what they give up."""

ROOMIEST = 3
"""How many of the GPUs with the most memory are tried for a part of the blocks."""

NEXT_QUANTS = 2
"""How many quants below the chosen one are looked at for a cheaper GPU."""


class StepKind(StrEnum):
    """What a step changes."""

    TENSOR_SPLIT = "tensor_split"
    SPECULATION = "spec_type"
    CONTEXT = "context"
    CACHE_TYPE = "cache_type"
    SLOTS = "slots"
    UBATCH = "ubatch"
    PIPELINE = "pipeline"
    CPU_MOE = "n_cpu_moe"
    GPU_LAYERS = "gpu_layers"
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
    in_use_usd_per_hour: float = 0.0
    """With the container's cores and host memory."""
    tokens_per_s: Range | None = None
    """Of one stream; None where it is not estimated."""

    @property
    def leaves_on_host(self) -> bool:
        """Whether it puts weights into host memory."""
        return self.kind in (StepKind.CPU_MOE, StepKind.GPU_LAYERS)


def ladder(
    planner: Planner,
    runtime: Runtime,
    allowed: Allowed,
    everything: Allowed,
    quants: Sequence[QuantSize] = (),
    size_bytes: int = 0,
) -> tuple[Step, ...]:
    """What would fit when nothing asked for does, the smallest change of each kind.

    The one to take comes first: the cheapest by its whole price, of those that cost about as
    much what leaves everything on GPUs, and of those the smallest change.

    Args:
        planner: of the model.
        runtime: the settings that do not fit.
        allowed: names, numbers and budget to keep to; every number of a GPU is tried, as a
            change may help where fewer were said to lack something else than memory.
        everything: the same without restriction, for the next GPU; one above the budget is
            named last, with the budget that it takes, and only where there is no other.
        quants: smaller quants, the best first.
        size_bytes: of the quant that was planned.
    """
    budget = allowed.max_usd_per_hour

    def searching(runtime: Runtime) -> _Search:
        rows = [
            replace(row, is_allowed=row.is_allowed or allowed.is_affordable(row.usd_per_hour))
            for row in planner.every_row(runtime, allowed)
        ]
        return _Search(planner, runtime, rows, budget=budget)

    search = searching(runtime)
    evenly = _split_evenly(planner, runtime, allowed)
    steps: list[Step | None] = [evenly, search.without_drafts()]
    steps += [search.shorter_context(), *search.cache_types()]
    steps += [search.fewer_slots(), search.smaller_ubatch(), search.without_pipeline()]
    onto_host = search.onto_host()
    if evenly is not None:
        # What GPUs hold by themselves, for as much, is not to be kept on the host for shares.
        is_dearer = onto_host is None or onto_host.in_use_usd_per_hour >= evenly.in_use_usd_per_hour
        onto_host = None if is_dearer else onto_host
    elif runtime.n_shares:
        onto_host = _better_evenly(onto_host, searching(runtime.with_(tensor_split=())).onto_host())
    steps.append(onto_host)
    affordable = _next_gpu(planner, runtime, replace(everything, max_usd_per_hour=budget))
    steps.append(affordable)
    if affordable is None and runtime.n_cpu_moe:
        steps.append(_all_on_gpus(planner, runtime, replace(everything, max_usd_per_hour=budget)))
    steps.append(search.next_quant(quants, size_bytes))
    found = _by_choice(step for step in steps if step is not None)
    if affordable is None and budget is not None:
        # What costs more than was to be spent is the last resort, and said to be that.
        dearer = _next_gpu(planner, runtime, everything, is_dearer=True)
        found += [dearer] if dearer is not None else []
    return tuple(found)


def _by_choice(steps: Iterable[Step]) -> list[Step]:
    """Steps in the order in which a user would take them."""
    left = sorted(steps, key=lambda step: step.in_use_usd_per_hour)
    order = list(StepKind)
    found = []
    while left:
        most = SIMILAR * left[0].in_use_usd_per_hour
        similar = [step for step in left if step.in_use_usd_per_hour <= most]
        best = min(similar, key=lambda step: (step.leaves_on_host, order.index(step.kind)))
        found.append(best)
        left.remove(best)
    return found


def cheaper_steps(
    planner: Planner,
    runtime: Runtime,
    chosen: GpuPlan,
    rows: Sequence[GpuPlan],
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
    search = _Search(planner, runtime, cheaper, full=False)

    def offers() -> Iterator[Step | None]:
        yield search.next_quant(quants[:NEXT_QUANTS], size_bytes)
        yield search.little_shorter_context()
        yield from search.cache_types()
        yield search.smaller_ubatch()
        yield search.fewer_slots()

    found = [step for step, _ in zip(filter(None, offers()), range(MAX_OFFERS), strict=False)]
    return tuple(sorted(found, key=lambda step: step.usd_per_hour))


def _next_gpu(
    planner: Planner, runtime: Runtime, everything: Allowed, *, is_dearer: bool = False
) -> Step | None:
    row = choose(planner.rows(runtime, everything, with_max_n_ctx=False))
    if row is None:
        return None
    row = planner.row(row.gpu, row.count, runtime)
    text = f"rent {row.label}, which holds it as asked"
    if is_dearer:
        whole_cents = ceil(round(row.counted_usd_per_hour * 100, 6)) / 100
        text = f"a budget of ${format_usd(whole_cents)} per hour rents {row.label}, "
        text += "which holds it as asked"
    return _step(planner, StepKind.GPU, (), text, row, runtime)


def _split_evenly(planner: Planner, runtime: Runtime, allowed: Allowed) -> Step | None:
    """What holds it when llama.cpp divides the blocks, as it does where all shares are 0."""
    if not runtime.n_shares:
        return None
    runtime = runtime.with_(tensor_split=())
    row = choose(planner.rows(runtime, allowed, with_max_n_ctx=False))
    if row is None:
        return None
    row = planner.row(row.gpu, row.count, runtime)
    text = f"without -ts, divided evenly, it fits {row.label}"
    return _step(planner, StepKind.TENSOR_SPLIT, ("-ts", "0"), text, row, runtime)


def _better_evenly(as_shared: Step | None, evenly: Step | None) -> Step | None:
    """Of two steps that put weights on the host the one that leaves more on GPUs.

    Shares that leave a GPU empty send to the host what it could hold.
    """
    if evenly is None or (as_shared is not None and as_shared.host_bytes <= evenly.host_bytes):
        return as_shared
    text = f"without -ts, divided evenly, {evenly.text}"
    return replace(evenly, changes=("-ts", "0", *evenly.changes), text=text)


def _all_on_gpus(planner: Planner, runtime: Runtime, everything: Allowed) -> Step | None:
    """Where everything goes to GPUs after all."""
    runtime = runtime.with_(n_cpu_moe=0)
    row = choose(planner.rows(runtime, everything, with_max_n_ctx=False))
    if row is None:
        return None
    row = planner.row(row.gpu, row.count, runtime)
    text = f"rent {row.label}, which needs no --n-cpu-moe"
    return _step(planner, StepKind.GPU, ("--n-cpu-moe", "0"), text, row, runtime)


def _step(
    planner: Planner,
    kind: StepKind,
    changes: tuple[str, ...],
    text: str,
    row: GpuPlan,
    runtime: Runtime,
    quant: str | None = None,
) -> Step:
    estimate = row.estimate
    speed = None
    if estimate is not None and row.gpu.speed is not None and quant is None:
        speed = predict_speed(planner.shape, estimate, row.gpu, row.count, runtime)
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
        row.in_use_usd_per_hour,
        None if speed is None else speed.decode_tokens_per_s,
    )


class _Search:
    """Tries changes on the GPUs of some rows."""

    def __init__(
        self,
        planner: Planner,
        runtime: Runtime,
        rows: Sequence[GpuPlan],
        *,
        full: bool = True,
        budget: float | None = None,
    ) -> None:
        self.full = full
        """Whether steps say the largest context that would fit after them."""
        self.budget = budget
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

    def _first_fit(
        self, runtime: Runtime, saved: Saved | None = None, scale: Scale | None = None
    ) -> GpuPlan | None:
        """The cheapest of the GPUs that hold the changed model, skipping the hopeless ones."""
        for row in self.rows:
            if saved is not None and saved.most(row) < row.short_by_bytes:
                continue
            if self._row(row.gpu, row.count, runtime, scale, full=False).fits:
                return self._row(row.gpu, row.count, runtime, scale)
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
        row = self.planner.row(gpu, count, runtime, scale=scale, with_max_n_ctx=full)
        return row if self._can_be_rented(row) else replace(row, fits=False)

    def _can_be_rented(self, row: GpuPlan) -> bool:
        """Whether a container has its host memory, for the budget."""
        is_affordable = self.budget is None or row.counted_usd_per_hour <= self.budget
        return is_affordable and not row.overfills_container

    @property
    def _asked(self) -> int:
        """Context asked for.  [tokens]"""
        return self.runtime.n_ctx or self.planner.shape.hp.n_ctx_train

    def little_shorter_context(self) -> Step | None:
        """A context that is shorter by no more than `SMALL_CHANGE`, on the cheapest GPU."""
        least = self._asked // SMALL_CHANGE
        fitting = (
            row for row in self.rows if least <= row.max_n_ctx < self._asked and row.short_by_bytes
        )
        best = min(fitting, key=lambda row: row.usd_per_hour, default=None)
        return None if best is None else self._context_step(best, best.max_n_ctx)

    def shorter_context(self) -> Step | None:
        """The longest context that fits on some GPU."""
        most: dict[str, int] = {}
        for row in self.rows:
            most[row.gpu.name] = max(row.count, most.get(row.gpu.name, 0))
        longest: tuple[int, float, GpuPlan] | None = None
        for row in self.rows:
            # More of them hold more, but for what several of them need to work in turns.
            if not row.short_by_bytes or row.count not in (1, most[row.gpu.name]):
                continue
            found = self._row(row.gpu, row.count, self.runtime)
            n_ctx = found.max_n_ctx or self._within_a_batch(found)
            entry = (n_ctx, -row.usd_per_hour, row)
            if LEAST_CONTEXT <= n_ctx < self._asked and (not longest or entry[:2] > longest[:2]):
                longest = entry
        if longest is None:
            return None
        n_ctx, _, best = longest
        exact = self.planner.row(best.gpu, best.count, self.runtime, exact=True)
        return self._context_step(best, max(n_ctx, exact.max_n_ctx))

    def _within_a_batch(self, row: GpuPlan) -> int:
        """The longest context below a batch that fits, which shrinks the batch as well."""
        if row.reason:
            return 0
        batch = min(self.runtime.n_batch, self.runtime.n_ubatch)
        streams = 1 if self.runtime.is_unified else self.runtime.n_seq_max
        step = CONTEXT_PADDING * streams
        for n_ctx in range(pad(batch * streams, step), pad(LEAST_CONTEXT, step) - 1, -step):
            runtime = self.runtime.with_(n_ctx=n_ctx)
            if n_ctx < self._asked and self._row(row.gpu, row.count, runtime, full=False).fits:
                return n_ctx
        return 0

    def _context_step(self, best: GpuPlan, n_ctx: int) -> Step | None:
        runtime = self.runtime.with_(n_ctx=n_ctx)
        row = self._row(best.gpu, best.count, runtime)
        if not row.fits:
            return None
        text = f"-c {n_ctx} fits {row.label}"
        return _step(self.planner, StepKind.CONTEXT, ("-c", str(n_ctx)), text, row, runtime)

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
            yield _step(self.planner, StepKind.CACHE_TYPE, flags, text, row, runtime)

    def without_drafts(self) -> Step | None:
        """No drafts by the model's own nextn/MTP blocks, which need memory of theirs."""
        if not self.runtime.drafts_with_mtp or self.runtime.draft_model:
            return None
        runtime = self.runtime.with_(spec_type=NO_DRAFT)
        row = self._first_fit(runtime)
        if row is None:
            return None
        text = f"without drafts by nextn/MTP blocks it fits {row.label}"
        changes = ("--spec-type", NO_DRAFT)
        return _step(self.planner, StepKind.SPECULATION, changes, text, row, runtime)

    def fewer_slots(self) -> Step | None:
        """One slot, where every slot has memory of its own."""
        if self.runtime.n_seq_max == 1:
            return None
        runtime = self.runtime.with_(n_parallel=1)
        row = self._first_fit(runtime, _STATE)
        if row is None:
            return None
        return _step(
            self.planner, StepKind.SLOTS, ("-np", "1"), f"one slot fits {row.label}", row, runtime
        )

    def smaller_ubatch(self) -> Step | None:
        """The largest smaller micro-batch that fits."""
        for n_ubatch in SMALLER_UBATCHES:
            if n_ubatch >= self.runtime.n_ubatch:
                continue
            runtime = self.runtime.with_(n_ubatch=n_ubatch)
            row = self._first_fit(runtime, _COMPUTE)
            if row is not None:
                text = f"-ub {n_ubatch} fits {row.label}, at slower prompts"
                return _step(
                    self.planner, StepKind.UBATCH, ("-ub", str(n_ubatch)), text, row, runtime
                )
        return None

    def without_pipeline(self) -> Step | None:
        """Several GPUs without copies of the inputs for each, which any override turns off.

        Source: llama.cpp src/llama-context.cpp, which also does so when a buffer fails; that
        is seen only once a machine is rented.
        """
        if not any(row.estimate is not None and row.estimate.n_copies > 1 for row in self.rows):
            return None
        runtime = self.runtime.with_(override_tensor=(NO_PIPELINE,))
        row = self._first_fit(runtime, _COMPUTE)
        if row is None:
            return None
        text = f"-ot {NO_PIPELINE} fits {row.label}, without pipelining prompts"
        return _step(self.planner, StepKind.PIPELINE, ("-ot", NO_PIPELINE), text, row, runtime)

    def onto_host(self) -> Step | None:
        """Weights in host memory: experts, which cost less speed there, before whole blocks."""
        return self.more_cpu_moe() or self.fewer_gpu_layers()

    def more_cpu_moe(self) -> Step | None:
        """The fewest blocks whose experts must stay in host memory."""
        hp = self.planner.shape.hp
        if hp.n_expert < 2:
            return None
        for candidate in sorted(self.rows, key=lambda row: (row.count, row.usd_per_hour)):
            row = self._least_cpu_moe(candidate)
            if row is not None:
                return row
        return None

    def _least_cpu_moe(self, candidate: GpuPlan) -> Step | None:
        def row_with(n: int) -> GpuPlan:
            runtime = self.runtime.with_(n_cpu_moe=n)
            return self._row(candidate.gpu, candidate.count, runtime, full=False)

        n_all = self.planner.shape.hp.n_layer
        asked = min(self.runtime.n_cpu_moe, n_all)
        if not self._can_be_rented(row_with(asked)):
            # Fewer on the host than asked for.
            asked = 0
        most = _farthest(lambda n: self._can_be_rented(row_with(n)), asked, n_all)
        if most is None or most == asked:
            return None
        least = _last_that_fits(row_with, most, asked)
        if least is None or row_with(asked).fits:
            return None
        runtime = self.runtime.with_(n_cpu_moe=least)
        best = self._row(candidate.gpu, candidate.count, runtime)
        text = f"--n-cpu-moe {least} fits {best.label}, with experts in host memory"
        return _step(
            self.planner, StepKind.CPU_MOE, ("--n-cpu-moe", str(least)), text, best, runtime
        )

    def fewer_gpu_layers(self) -> Step | None:
        """The most blocks that fit on GPUs, on those that have the most memory together."""
        n_all = self.planner.shape.hp.n_layer_all + 1
        asked = self.runtime.n_gpu_layers
        asked = n_all if asked < 0 else min(asked, n_all)
        by_memory = sorted(self.rows, key=lambda row: (-row.usable_bytes, row.usd_per_hour))
        for candidate in by_memory[:ROOMIEST]:

            def row_with(n: int, candidate: GpuPlan = candidate) -> GpuPlan:
                runtime = self.runtime.with_(n_gpu_layers=n)
                return self._row(candidate.gpu, candidate.count, runtime, full=False)

            def can_be(n: int, row_with: Callable[[int], GpuPlan] = row_with) -> bool:
                return self._can_be_rented(row_with(n))

            # The fewer blocks are on GPUs, the more are in host memory.
            fewest = _farthest(can_be, asked, 1)
            most = None
            if fewest is not None and fewest < asked:
                most = _last_that_fits(row_with, fewest, asked)
            if most is not None:
                runtime = self.runtime.with_(n_gpu_layers=most)
                row = self._row(candidate.gpu, candidate.count, runtime)
                text = f"-ngl {most} of {n_all} fits {row.label}, with the rest in host memory"
                return _step(
                    self.planner, StepKind.GPU_LAYERS, ("-ngl", str(most)), text, row, runtime
                )
        return None

    def next_quant(self, quants: Sequence[QuantSize], size_bytes: int) -> Step | None:
        """The best smaller quant that fits."""
        if not size_bytes:
            return None
        for other in quants:
            scale = Scale(other.size_bytes, size_bytes, other.n_files > 1, other.quant)
            row = self._first_fit(self.runtime, scale=scale)
            if row is not None:
                text = f"{other.quant} fits {row.label}"
                return _step(self.planner, StepKind.QUANT, (), text, row, self.runtime, other.quant)
        return None


def _farthest(can_be: Callable[[int], bool], near: int, far: int) -> int | None:
    """The number farthest from `near`, up to `far`, that can be; None when `near` cannot."""
    if not can_be(near):
        return None
    if can_be(far):
        return far
    while abs(far - near) > 1:
        middle = (near + far) // 2
        if can_be(middle):
            near = middle
        else:
            far = middle
    return near


def _last_that_fits(row_with: Callable[[int], GpuPlan], fits: int, short: int) -> int | None:
    """The number nearest to `short` that fits, or None when `fits` does not.

    Args:
        row_with: what a number comes to.
        fits: taken to fit most easily.
        short: known not to fit.
    """
    good, bad = row_with(fits), row_with(short)
    if not good.fits:
        return None
    sign = 1 if short > fits else -1
    bisects = False
    while (width := abs(short - fits)) > 1:
        # Nearly a straight line: guess by it, and halve after every guess in case it is none.
        per_unit = max(1, (bad.used_bytes - good.used_bytes) // width)
        steps = (good.usable_bytes_per_gpu - good.used_bytes) // per_unit
        guess = fits + sign * min(max(width // 2 if bisects else steps, 1), width - 1)
        bisects = not bisects and abs(steps) > 1
        row = row_with(guess)
        if row.fits:
            fits, good = guess, row
        else:
            short, bad = guess, row
    return fits


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


_CACHE = Saved("kv_cache", "compute", "overhead", share=0.8)
_STATE = Saved("kv_cache", "recurrent", "compute", "overhead")
_COMPUTE = Saved("compute", "kv_cache", "overhead")
