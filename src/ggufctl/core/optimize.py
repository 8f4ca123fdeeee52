"""Which GPU, quant and settings suit a goal best: what is searched for, compared and said.

The search itself is in `core.search`. Candidates are compared by what they cost, how long they
take to answer, how good their quant and cache are and how many slots they have; a candidate that
another one equals or beats in all of that is left out, and the rest is the Pareto front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

from ggufctl.core.ggml.types import TYPES
from ggufctl.core.goal import Goal, Judge, Objective
from ggufctl.core.gpus import Gpu
from ggufctl.core.planner import GpuPlan, Planner, Scale
from ggufctl.core.runtime import Runtime
from ggufctl.core.speed import Speed
from ggufctl.core.units import format_usd

__all__ = [
    "Binding",
    "Candidate",
    "Optimization",
    "QuantOption",
    "beats",
    "best_candidate",
    "figure",
    "own_option",
    "pareto_front",
]

READING_TOKENS_PER_S = 5.0
"""About as fast as people read: slower candidates are taken only where nothing is faster, or
where a limit of the user's own says so.  [tokens/s]"""

LEAST_SAID = 0.05
"""What a pick costs more than the cheapest is said from here on.  [%]"""

ALIKE = 1.05
"""Candidates within a twentieth of the best are equally good: far less than any estimate is sure
of, and too little to buy a worse quant for."""


@dataclass(frozen=True, slots=True)
class QuantOption:
    """A quant that may be taken, with what plans it."""

    quant: str
    size_bytes: int
    bits_per_weight: float
    planner: Planner
    scale: Scale | None = None
    """From the quant whose header was read; None when that is this one."""
    ref: str = ""


def own_option(quant: str, size_bytes: int, n_params: int, planner: Planner) -> QuantOption:
    """The quant whose own header was read."""
    return QuantOption(quant, size_bytes, 8 * size_bytes / max(1, n_params), planner)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A quant on some GPUs with some settings, and what that comes to."""

    quant: str
    bits_per_weight: float
    gpu: Gpu
    count: int
    runtime: Runtime
    usd_per_hour: float
    """Of the container: GPUs, cores and host memory."""
    tokens_per_s: float
    """Of one request's answer, at the end of the range that is judged by."""
    ttft_seconds: float
    """The same of the first token."""
    request_seconds: float
    """The same of a whole request: the latency."""
    cold_start_seconds: float
    """The same of a start; 0 on a card of one's own, for which no container is asked."""
    speed: Speed
    memory_bytes: int
    """On all GPUs together: exact where there is a row, else what it is at least."""
    beyond_usd_per_hour: float = 0.0
    """Part of the price that only weights left on the host cause."""
    month_usd: float | None = None
    """Of a month with the load that was given, of a card of one's own never stopped; None
    without a load.  [US dollars]"""
    row: GpuPlan | None = None
    """What the planner says; None where nobody asked it yet."""
    figures: tuple[float, ...] = field(init=False, repr=False, compare=False)
    """Price, latency, quality of weights and cache, slots: compared, the less the better."""

    def __post_init__(self) -> None:
        slots = float(self.runtime.n_seq_max)
        quality = (-self.bits_per_weight, -self.cache_bits, -slots)
        figures = (self.price, self.request_seconds, *quality)
        object.__setattr__(self, "figures", figures)

    @property
    def price(self) -> float:
        """What cost means: a month with a load, else an hour in use.  [US dollars]"""
        return self.usd_per_hour if self.month_usd is None else self.month_usd

    @property
    def gpu_usd_per_hour(self) -> float:
        """Price of the GPUs alone.  [US dollars per hour]"""
        return self.gpu.price(self.count)

    @property
    def counted_usd_per_hour(self) -> float:
        """What a budget is held against.  [US dollars per hour]"""
        return round(self.gpu_usd_per_hour + self.beyond_usd_per_hour, 6)

    @property
    def label(self) -> str:
        """`H100` or `2×H100`."""
        return self.gpu.name if self.count == 1 else f"{self.count}×{self.gpu.name}"

    @property
    def cache_bits(self) -> float:
        """Bits of a number in the cache."""
        types = TYPES[self.runtime.cache_type_k], TYPES[self.runtime.cache_type_v]
        return sum(8 * t.type_size / t.block_size for t in types) / 2

    @property
    def rank(self) -> tuple[int, int, int, str]:
        """Which of two candidates that are alike in everything else is taken: the lower."""
        return (-self.runtime.n_ubatch, self.runtime.n_cpu_moe, self.count, self.gpu.name)

    def changes(self, asked: Runtime) -> tuple[str, ...]:
        """llama-server's flags that differ from what was asked for."""
        own = self.runtime
        found: tuple[str, ...] = ()
        for flag, name in (
            ("-np", "n_parallel"),
            ("-ctk", "cache_type_k"),
            ("-ctv", "cache_type_v"),
            ("-ub", "n_ubatch"),
            ("--n-cpu-moe", "n_cpu_moe"),
        ):
            value = getattr(own, name)
            if value != getattr(asked, name):
                found += (flag, str(value))
        return found

    def axes(self, objective: Objective | None) -> tuple[float, ...]:
        """What candidates are compared by, each the better the less it is."""
        if objective is Objective.MEMORY:
            return (*self.figures, float(self.memory_bytes))
        return self.figures

    def value(self, objective: Objective) -> float:
        """What an objective makes small."""
        if objective is Objective.COST:
            return self.price
        return self.request_seconds if objective is Objective.LATENCY else float(self.memory_bytes)


def beats(one: Candidate, other: Candidate, objective: Objective | None) -> bool:
    """Whether the one is at least as good in everything, and better or preferred in something."""
    mine, theirs = one.figures, other.figures
    if mine[0] > theirs[0] or mine[1] > theirs[1] or mine[2] > theirs[2]:
        return False
    if mine[3] > theirs[3] or mine[4] > theirs[4]:
        return False
    is_alike = mine == theirs
    if objective is Objective.MEMORY:
        if one.memory_bytes > other.memory_bytes:
            return False
        is_alike = is_alike and one.memory_bytes == other.memory_bytes
    return not is_alike or one.rank < other.rank


def pareto_front(
    candidates: Iterable[Candidate], objective: Objective | None = None
) -> tuple[Candidate, ...]:
    """Candidates that no other beats, the cheapest first.

    Args:
        candidates: all of them with rows.
        objective: memory is compared as well where it is the objective.
    """
    front: list[Candidate] = []
    for each in candidates:
        if any(beats(other, each, objective) for other in front):
            continue
        front = [other for other in front if not beats(each, other, objective)]
        front.append(each)
    return tuple(sorted(front, key=lambda c: (*c.axes(objective), c.rank)))


def best_candidate(candidates: Sequence[Candidate], objective: Objective) -> Candidate | None:
    """The pick: of those within a twentieth of the best, the one that gives up least.

    Where price is not the objective, those within a twentieth of the cheapest of them are left.
    Of what is left it is the one with the most slots, then the best quant, then the best cache,
    and then the fastest.
    """

    def price(each: Candidate) -> float:
        return each.price

    alike = _alike(candidates, lambda each: each.value(objective))
    if objective is not Objective.COST:
        alike = _alike(alike, price)

    def preference(each: Candidate) -> tuple[float, ...]:
        _, latency, bits, cache, slots = each.axes(None)
        return (slots, bits, cache, latency, each.usd_per_hour, float(each.memory_bytes))

    return min(alike, key=lambda each: (preference(each), each.rank), default=None)


def _alike(candidates: Sequence[Candidate], value: Callable[[Candidate], float]) -> list[Candidate]:
    """Those within a twentieth of the least value."""
    least = min(map(value, candidates), default=0.0)
    return [each for each in candidates if value(each) <= least * ALIKE]


@dataclass(frozen=True, slots=True)
class Binding:
    """A limit that nothing meets together with the others, and the nearest that comes to it."""

    limit: str
    """The option, or `memory`."""
    asked: float
    reached: float
    """The nearest value where everything else is kept to, or by anything at all."""
    is_alone: bool
    """Whether giving up this limit alone is enough."""
    nearest: Candidate | None = None

    @property
    def gap(self) -> float:
        """How far apart asked and reached are."""
        return abs(self.reached - self.asked)

    @property
    def is_missed(self) -> bool:
        """Whether even the nearest does not keep to it."""
        if self.limit == "--min-tokens-per-s":
            return self.reached < self.asked
        return self.reached > self.asked

    @property
    def text(self) -> str:
        """The same in one sentence."""
        where = ""
        if self.nearest is not None:
            where = f" ({self.nearest.quant} on {self.nearest.label})"
        if self.limit == "memory":
            return f"memory binds: {self.gap / 2**30:.1f} GiB are missing at least{where}"
        if self.limit == "--max-usd-per-hour":
            reached, gap = f"${format_usd(self.reached)}/h", f"${format_usd(self.gap)} more"
        elif self.limit == "--min-tokens-per-s":
            reached, gap = f"{figure(self.reached)} tokens/s", f"{figure(self.gap)} fewer"
        else:
            reached, gap = f"{figure(self.reached)} s", f"{figure(self.gap)} more"
        if not self.is_missed:
            return f"{self.limit} {self.asked:g} binds together with the others"
        start = f"{self.limit} {self.asked:g} binds: "
        if self.is_alone:
            return f"{start}everything else is met at {reached}{where}, {gap}"
        return f"{start}{reached}{where} is the best there is, {gap}"


@dataclass(frozen=True, slots=True)
class Optimization:
    """What a search found."""

    goal: Goal
    pick: Candidate | None
    front: tuple[Candidate, ...]
    n_candidates: int
    """Combinations that there were."""
    n_planned: int
    """Of them planned to the byte; the rest was known not to fit, or not to be better."""
    binding: tuple[Binding, ...]
    """Where nothing was found: what is in the way, the nearest first."""
    asked: Runtime
    """The settings that variations start from."""
    reading_floor: float | None = None
    """Least speed that was kept to without having been asked for.  [tokens/s]"""

    @property
    def sentence(self) -> str:
        """Why this pick, or why none, in one sentence."""
        if self.pick is None:
            texts = [each.text for each in self.binding if each.is_alone] or [
                each.text for each in self.binding
            ]
            return "; ".join(texts) if texts else "nothing allowed fits"
        return _praise(self)


_WHAT = {
    Objective.COST: "the cheapest",
    Objective.LATENCY: "the fastest",
    Objective.MEMORY: "the smallest",
}


def _praise(found: Optimization) -> str:
    pick, goal = found.pick, found.goal
    if pick is None or goal.objective is None:
        return ""
    sure = "at worst" if goal.judge is Judge.CAREFUL else "likely"
    parts = [
        f"{pick.quant} on {pick.label} {_place(found, pick)} {_WHAT[goal.objective]} of "
        f"{found.n_candidates}"
    ]
    parts.append(
        f"{_hourly(pick)}, {figure(pick.tokens_per_s)} tokens/s and "
        f"{pick.ttft_seconds:.2g} s to the first token {sure}"
    )
    if pick.month_usd:
        kept = "never stopped" if pick.gpu.is_own else "with that load"
        parts[-1] = f"${format_usd(pick.month_usd)} a month {kept}, {parts[-1]}"
    given_up = pick.changes(found.asked)
    if given_up:
        parts[-1] += f" with {' '.join(given_up)}"
    other = _next_better(found)
    if other is not None:
        parts.append(other)
    return "; ".join(parts)


def _hourly(each: Candidate) -> str:
    return f"{_rent(each)} in use" if each.usd_per_hour else _rent(each)


def _rent(each: Candidate) -> str:
    return f"${format_usd(each.usd_per_hour)}/h" if each.usd_per_hour else "no rent"


def _place(found: Optimization, pick: Candidate) -> str:
    """Whether the pick is the best of all, or as good and gives up less."""
    objective = found.goal.objective
    assert objective is not None
    best = min((each.value(objective) for each in found.front), default=0.0)
    over = 100 * (pick.value(objective) / best - 1) if best else 0.0
    return "is" if over < LEAST_SAID else f"is within {ceil(over)} % of"


def _next_better(found: Optimization) -> str:
    """What the next better quant, or more speed, would cost."""
    pick, objective = found.pick, found.goal.objective
    assert pick is not None
    if objective is Objective.LATENCY:
        cheaper = [c for c in found.front if c.usd_per_hour * ALIKE < pick.usd_per_hour]
        if not cheaper:
            return "nothing cheaper is on the front"
        near = min(cheaper, key=lambda c: c.request_seconds)
        slower = near.request_seconds / pick.request_seconds
        return f"{near.quant} on {near.label} takes {slower:.2g} times as long at {_rent(near)}"
    faster = [c for c in found.front if c.tokens_per_s > 1.2 * pick.tokens_per_s]
    faster = [c for c in faster if c.bits_per_weight >= pick.bits_per_weight]
    if not faster:
        return "nothing as good is much faster"
    near = min(faster, key=lambda c: c.usd_per_hour)
    return (
        f"{figure(near.tokens_per_s)} tokens/s of no worse quality start at "
        f"{_rent(near)} ({near.quant} on {near.label})"
    )


def figure(value: float) -> str:
    """Three digits, and whole numbers whole."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
