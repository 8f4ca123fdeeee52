"""What a plot of a plan shows, as figures: memory over context, speed over price."""

from __future__ import annotations

from dataclasses import dataclass

from ggufctl.core.plan import Plan
from ggufctl.core.planner import GpuPlan, Planner
from ggufctl.core.ranges import Range
from ggufctl.services.plan import extras_of, planning_catalogue

__all__ = ["Curve", "Limit", "Picture", "Point", "pareto_front", "picture"]

SHORTEST = 1024
"""Context that a plot begins with, where the model's own is not shorter.  [tokens]"""

STEP = 256
"""Contexts that are measured are multiples of this.  [tokens]"""

MAX_CURVES = 3

FLATNESS = 500
"""A stretch whose middle lies this small a part off the line between its ends is drawn as one."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Memory over the context on some number of GPUs."""

    count: int
    points: tuple[tuple[int, int], ...]
    """Context and what the fullest GPU then holds.  [tokens, bytes]"""


@dataclass(frozen=True, slots=True)
class Limit:
    """What may be filled of one type of GPU."""

    gpu: str
    usable_bytes: int
    count: int
    """How many of them hold the model, or the most that were tried."""
    fits: bool
    max_n_ctx: int
    is_pick: bool


@dataclass(frozen=True, slots=True)
class Point:
    """Price and speed of GPUs that hold the model."""

    label: str
    usd_per_hour: float
    tokens_per_s: Range
    """Of one stream."""
    is_pick: bool
    on_front: bool
    """Nothing is both cheaper and faster."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that is drawn."""

    plan: Plan
    curves: tuple[Curve, ...]
    limits: tuple[Limit, ...]
    points: tuple[Point, ...]
    depth_tokens: int
    """Context in use that the speeds are stated for; 0 when there are none."""
    embeds: bool
    """Whether the speeds are of reading, as nothing is written."""


def picture(plan: Plan) -> Picture:
    """The figures of a plot."""
    rows = _best_rows(plan)
    points, depth = _points(plan)
    embeds = any(found is not None and found.speed.embeds for found in plan.economics)
    return Picture(plan, _curves(plan, rows), _limits(plan, rows), points, depth, embeds)


def _best_rows(plan: Plan) -> list[GpuPlan]:
    """Of every type the number of GPUs that fits, or the largest that was tried."""
    best: dict[str, GpuPlan] = {}
    for row in plan.gpus:
        if row.estimate is None:
            continue
        known = best.get(row.gpu.name)
        if known is None or not known.fits:
            best[row.gpu.name] = row
    if plan.choice is not None:
        best[plan.choice.row.gpu.name] = plan.choice.row
    return list(best.values())


def _limits(plan: Plan, rows: list[GpuPlan]) -> tuple[Limit, ...]:
    choice = plan.choice.row if plan.choice is not None else None
    return tuple(
        Limit(
            row.gpu.name,
            row.usable_bytes_per_gpu,
            row.count,
            row.fits,
            row.max_n_ctx,
            is_pick=choice is not None and row.gpu.name == choice.gpu.name,
        )
        for row in sorted(rows, key=lambda row: row.usable_bytes_per_gpu)
    )


def _curves(plan: Plan, rows: list[GpuPlan]) -> tuple[Curve, ...]:
    """One curve per number of GPUs: what one type needs differs from another by little."""
    by_count: dict[int, GpuPlan] = {}
    for row in sorted(rows, key=lambda row: not row.fits):
        by_count.setdefault(row.count, row)
    if plan.choice is not None:
        by_count[plan.choice.row.count] = plan.choice.row
    wanted = sorted(by_count)
    if len(wanted) > MAX_CURVES:
        kept = {wanted[0], wanted[-1], *([plan.choice.row.count] if plan.choice else [])}
        rest = [count for count in wanted if count not in kept]
        wanted = sorted(kept | set(rest[: MAX_CURVES - len(kept)]))
    planner = Planner(
        plan.model.shape,
        planning_catalogue(plan.constraints.gpus),
        is_sharded=plan.model.is_sharded,
        extras=extras_of(plan.runtime),
    )
    contexts = _contexts(plan)
    return tuple(_curve(plan, planner, by_count[count], contexts) for count in wanted)


def _curve(plan: Plan, planner: Planner, row: GpuPlan, contexts: list[int]) -> Curve:
    """Estimates where the curve bends, and points on the lines between them."""
    known: dict[int, int] = {}

    def need(n_ctx: int) -> int:
        if n_ctx not in known:
            runtime = plan.runtime.with_(n_ctx=n_ctx)
            found = planner.row(row.gpu, row.count, runtime, with_max_n_ctx=False)
            known[n_ctx] = found.used_bytes
        return known[n_ctx]

    def fill(low: int, high: int) -> None:
        if high - low < 2:
            return
        middle = (low + high) // 2
        left, right = contexts[low], contexts[high]
        line = need(left) + (need(right) - need(left)) * (contexts[middle] - left) // (right - left)
        if abs(need(contexts[middle]) - line) * FLATNESS > line:
            fill(low, middle)
            fill(middle, high)

    fill(0, len(contexts) - 1)
    for n_ctx in (contexts[0], plan.runtime.n_ctx, contexts[-1]):
        need(n_ctx)
    return Curve(row.count, tuple((n_ctx, _on(known, n_ctx)) for n_ctx in contexts))


def _on(known: dict[int, int], n_ctx: int) -> int:
    """A context's memory: known, or on the line between what is."""
    if n_ctx in known:
        return known[n_ctx]
    left = max(n for n in known if n < n_ctx)
    right = min(n for n in known if n > n_ctx)
    return known[left] + (known[right] - known[left]) * (n_ctx - left) // (right - left)


def _contexts(plan: Plan) -> list[int]:
    """Two per octave, to the model's own or the one asked for, and the latter itself."""
    slots = 1 if plan.runtime.is_unified else plan.runtime.n_seq_max
    step = STEP * slots
    asked = max(step, plan.runtime.n_ctx)
    own = max((row.max_n_ctx for row in plan.gpus), default=0)
    last = max(asked, own, plan.model.n_ctx_train)
    found = {asked, last}
    n_ctx = max(step, min(SHORTEST, asked, last // 8))
    while n_ctx < last:
        found.update((n_ctx, n_ctx * 3 // 2))
        n_ctx *= 2
    return sorted({min(last, max(step, n // step * step)) for n in found})


def _points(plan: Plan) -> tuple[tuple[Point, ...], int]:
    found: list[tuple[GpuPlan, Range]] = []
    depth = 0
    for row in _best_rows(plan):
        known = plan.economics_of(row)
        # What nobody is paid for has no place on an axis of prices.
        if known is not None and row.usd_per_hour:
            depth = known.speed.depth_tokens
            found.append((row, known.speed.decode_tokens_per_s))
    front = pareto_front([(row.usd_per_hour, speed.best) for row, speed in found])
    chosen = plan.choice.row if plan.choice is not None else None
    points = tuple(
        Point(
            row.label,
            row.usd_per_hour,
            speed,
            is_pick=chosen is not None and row.label == chosen.label,
            on_front=i in front,
        )
        for i, (row, speed) in enumerate(found)
    )
    return points, depth


def pareto_front(points: list[tuple[float, float]]) -> set[int]:
    """Which of some (price, speed) have nothing cheaper that is as fast, nor faster as cheap."""
    return {
        i
        for i, (price, speed) in enumerate(points)
        if not any(
            other_price <= price
            and other_speed >= speed
            and (other_price, other_speed) != (price, speed)
            for other_price, other_speed in points
        )
    }
