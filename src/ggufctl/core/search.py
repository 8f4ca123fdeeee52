"""Searches GPUs, their number, quants and settings for a goal; every fit is the planner's own.

The space: every type of GPU that may be taken, every quant, and ever more cards until one number
of them holds the quant with the settings as asked for. Where a number of cards does not hold it
so, and everywhere if memory is to be small, all combinations of settings that save memory are
looked at: a q8_0 cache, fewer slots where slots have memory of their own, smaller micro-batches,
experts on the host. What the user set is never varied, and never the context.

Planning to the byte is what takes time, so it is done last: weights and caches alone are a lower
bound of memory, speed and price are known without it, and a candidate that another one beats
whatever it needs is not planned at all. The result is that of planning everything.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from heapq import heapify, heappop, heappush
from operator import add

from ggufctl.core.cold_start import predict_cold_start
from ggufctl.core.compat import check_settings, gpu_objection, settled
from ggufctl.core.economics import SCALEDOWN_SECONDS
from ggufctl.core.estimate import DeviceEstimate, Estimate, HostEstimate, Term
from ggufctl.core.ggml.types import TYPES
from ggufctl.core.goal import Goal, Limits, Objective
from ggufctl.core.gpus import Gpu, GpuCatalogue
from ggufctl.core.money import (
    HOURS_PER_MONTH,
    MAX_CONTAINER_MIB,
    Load,
    Prices,
    cpu_and_memory,
    month_bill,
)
from ggufctl.core.optimize import (
    READING_TOKENS_PER_S,
    Binding,
    Candidate,
    Optimization,
    QuantOption,
    beats,
    best_candidate,
    figure,
    pareto_front,
)
from ggufctl.core.planner import (
    AGGRESSIVE_PERMILLE,
    SHARDED_PERMILLE,
    Allowed,
    GpuPlan,
    Planner,
    counts_under,
)
from ggufctl.core.ranges import Range
from ggufctl.core.runtime import Runtime
from ggufctl.core.speed import predict_speed
from ggufctl.errors import RefusedSettings

__all__ = ["Search", "marked_by_limits", "optimize", "variations", "what_binds"]

SMALLER_UBATCHES = (256, 128)
"""Micro-batches to save memory with.  [tokens]"""

LARGE_UBATCH = 2048
"""With experts on the host a larger one moves them less often for a prompt.  [tokens]"""

FEWER_SLOTS = (1,)

EXPERT_STEPS = 4
"""Experts are put on the host by quarters of the blocks; the pick gets the fewest that do."""


def variations(
    planner: Planner, runtime: Runtime, fixed: frozenset[str], *, least_memory: bool = False
) -> tuple[Runtime, ...]:
    """All settings to look at, those asked for first; none that llama.cpp refuses.

    Args:
        planner: of the model.
        runtime: as asked for, with a context.
        fixed: fields that are the user's own choice.
        least_memory: each change on top of those before, where it is memory that matters.
    """
    hp = planner.shape.hp
    caches = [(runtime.cache_type_k, runtime.cache_type_v)]
    is_free = not {"cache_type_k", "cache_type_v"} & fixed
    if is_free and not any(TYPES[t].is_quantized for t in caches[0]):
        caches.append(("q8_0", "q8_0"))
    slots = [(runtime.n_parallel, runtime.kv_unified)]
    if not {"n_parallel", "kv_unified"} & fixed and _slots_cost(planner, runtime):
        slots += [(n, True) for n in FEWER_SLOTS if n < runtime.n_seq_max]
    ubatches = [runtime.n_ubatch]
    if "n_ubatch" not in fixed:
        ubatches += [n for n in SMALLER_UBATCHES if n < runtime.n_ubatch]
    few: list[Runtime] = []
    for n_parallel, unified in slots:
        own = runtime.with_(n_parallel=n_parallel, kv_unified=unified)
        few += [
            own.with_(cache_type_k=k, cache_type_v=v, n_ubatch=n)
            for k, v in caches
            for n in ubatches
        ]
    if hp.n_expert > 1 and "n_cpu_moe" not in fixed and not runtime.leaves_on_host:
        large = min(LARGE_UBATCH, runtime.n_batch)
        ubatches = [runtime.n_ubatch]
        if "n_ubatch" not in fixed and large > runtime.n_ubatch:
            ubatches.insert(0, large)
        steps = (-(-hp.n_layer * k // EXPERT_STEPS) for k in range(1, EXPERT_STEPS + 1))
        few += [
            runtime.with_(n_cpu_moe=n, cache_type_k=k, cache_type_v=v, n_ubatch=n_ubatch)
            for n in dict.fromkeys(steps)
            if n > runtime.n_cpu_moe
            for k, v in caches
            for n_ubatch in ubatches
        ]
    if least_memory:
        few = _on_top(few)
    taken = (each for each in few if each == runtime or _is_taken(planner, each))
    return tuple(dict.fromkeys((runtime, *taken)))


def _on_top(settings: Sequence[Runtime]) -> list[Runtime]:
    """A q8_0 cache, then one slot as well, then the smallest micro-batch as well, then experts."""
    kept = list(settings[:1])
    for each in settings:
        last = kept[-1]
        if each.n_cpu_moe:
            if each.cache_type_k == last.cache_type_k and each.n_ubatch == kept[0].n_ubatch:
                kept.append(each)
            continue
        saves = (
            each.cache_type_k != kept[0].cache_type_k,
            each.n_seq_max < kept[0].n_seq_max,
            each.n_ubatch < kept[0].n_ubatch,
        )
        if saves in ((True, False, False), (True, True, False), (True, True, True)):
            kept.append(each)
    return kept


def _is_taken(planner: Planner, runtime: Runtime) -> bool:
    try:
        check_settings(planner.shape, runtime)
    except RefusedSettings:
        return False
    return True


def _slots_cost(planner: Planner, runtime: Runtime) -> bool:
    """Whether fewer slots take less memory, which they do where each has some of its own."""
    if runtime.n_seq_max == 1:
        return False
    one = runtime.with_(n_parallel=1, kv_unified=True)
    if not _is_taken(planner, one):
        return False
    return sum(_held(planner, one, 1).state) < sum(_held(planner, runtime, 1).state)


@dataclass(frozen=True, slots=True)
class _Held:
    """What is kept in memory all the time, per GPU and last on the host.  [bytes]"""

    weights: tuple[int, ...]
    state: tuple[int, ...]
    """Caches and recurrent states."""


def _held(planner: Planner, runtime: Runtime, count: int) -> _Held:
    """Weights and caches as the planner's estimate has them, without the graph's buffers."""
    shape = planner.shape
    runtime = settled(shape, runtime)
    n_gpus = 1 if runtime.split_mode == "none" else count
    ctx = shape.context_params(runtime)
    placed = shape.placed(n_gpus, runtime, ctx)
    state = map(add, *placed.states(shape, ctx))
    return _Held(placed.weights, tuple(state))


_NOTHING = Term("", 0)


def _weights_only(weights: Sequence[int]) -> Estimate:
    """An estimate that knows of weights alone, which is all that speed needs."""
    devices = tuple(
        DeviceEstimate("", "", Term("weights", n), _NOTHING, _NOTHING, _NOTHING, _NOTHING)
        for n in weights[:-1]
    )
    host = HostEstimate(Term("weights", weights[-1]), _NOTHING, _NOTHING, _NOTHING, _NOTHING)
    return Estimate(devices, host, 0, 0, 0, 1, False)


@dataclass(frozen=True, slots=True)
class _Stream:
    """One quant on one type of GPU, with ever more cards."""

    gpu: Gpu
    option: QuantOption
    counts: tuple[int, ...]


class Search:
    """Everything a search over one model's quants needs, with what it found out already.

    Args:
        options: quants that may be taken, the best first.
        runtime: as asked for, with a context.
        allowed: GPUs, how many of them, and the budget.
        goal: what to make small and what to keep to.
        prices: of cores and host memory.
        load: how often it is asked, where cost means a month.
    """

    def __init__(
        self,
        options: Sequence[QuantOption],
        runtime: Runtime,
        allowed: Allowed,
        goal: Goal,
        prices: Prices,
        load: Load | None = None,
    ) -> None:
        self.options = tuple(options)
        self.runtime = runtime
        self.allowed = allowed
        self.goal = goal
        self.prices = prices
        self.load = load
        self.n_planned = 0
        self._settings: dict[int, tuple[Runtime, ...]] = {}
        # Settings are told apart as objects, which are kept: by their values takes far longer.
        self._kept: dict[tuple[int, int, int], tuple[Runtime, _Held]] = {}
        self._made: dict[tuple[int, str, int, int], Candidate] = {}

    def settings(self, option: QuantOption) -> tuple[Runtime, ...]:
        """Settings to look at for a quant."""
        key = id(option.planner)
        found = self._settings.get(key)
        if found is None:
            least_memory = self.goal.objective is Objective.MEMORY
            found = variations(
                option.planner, self.runtime, frozenset(self.goal.fixed), least_memory=least_memory
            )
            self._settings[key] = found
        return found

    def streams(self) -> tuple[_Stream, ...]:
        """Every quant on every type of GPU that may be taken and suits it."""
        found = []
        for option in self.options:
            planner = option.planner
            for gpu in planner.catalogue:
                counts = counts_under(self.runtime, self.allowed.counts_of(gpu))
                if self.runtime.split_mode == "none":
                    counts = counts[:1]
                can_be_had = gpu.modal_names or gpu.is_own
                known = gpu.cuda_bytes is not None and can_be_had and gpu.speed is not None
                counts = tuple(n for n in counts if n >= self.runtime.least_gpus)
                quant = option.scale.quant if option.scale is not None else ""
                objection = gpu_objection(gpu, planner.shape, self.runtime, quant)
                if known and counts and not objection:
                    found.append(_Stream(gpu, option, counts))
        return tuple(found)

    @property
    def n_candidates(self) -> int:
        """Combinations there are."""
        return sum(
            len(stream.counts) * len(self.settings(stream.option)) for stream in self.streams()
        )

    def _holds(self, option: QuantOption, runtime: Runtime, count: int) -> _Held:
        key = (id(option.planner), id(runtime), count)
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = (runtime, _held(option.planner, runtime, count))
        return found[1]

    def least_bytes(
        self, option: QuantOption, gpu: Gpu, count: int, runtime: Runtime
    ) -> tuple[int, ...]:
        """What each GPU needs at least: weights, caches, and what CUDA takes in any case."""
        held = self._holds(option, runtime, count)
        scale = option.scale
        fixed = gpu.overhead.term(0).n_bytes
        return tuple(
            (weights if scale is None else scale.apply(weights)) + state + fixed
            for weights, state in zip(held.weights[:-1], held.state[:-1], strict=True)
        )

    def may_fit(self, option: QuantOption, gpu: Gpu, count: int, runtime: Runtime) -> bool:
        """Whether the least that is needed leaves a chance."""
        assert gpu.cuda_bytes is not None
        scale = option.scale
        is_sharded = option.planner.is_sharded if scale is None else scale.is_sharded
        held = self._holds(option, runtime, count)
        on_host = held.weights[-1] if scale is None else scale.apply(held.weights[-1])
        if gpu.modal_names and on_host + held.state[-1] > MAX_CONTAINER_MIB << 20:
            return False
        permille = SHARDED_PERMILLE if is_sharded else AGGRESSIVE_PERMILLE
        usable = gpu.cuda_bytes * permille // 1000
        return max(self.least_bytes(option, gpu, count, runtime)) <= usable

    def candidate(self, option: QuantOption, gpu: Gpu, count: int, runtime: Runtime) -> Candidate:
        """A candidate with everything but the planner's word on whether it fits."""
        key = (id(option), gpu.name, count, id(runtime))
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._new_candidate(option, gpu, count, runtime)
        return found

    def _new_candidate(
        self, option: QuantOption, gpu: Gpu, count: int, runtime: Runtime
    ) -> Candidate:
        goal, judge = self.goal, self.goal.judge
        held = self._holds(option, runtime, count)
        weights = held.weights
        if option.scale is not None:
            weights = tuple(map(option.scale.apply, weights))
        speed = predict_speed(
            option.planner.shape,
            _weights_only(weights),
            gpu,
            count,
            runtime,
        )
        host_bytes = weights[-1] + held.state[-1]
        cores, memory_mib = cpu_and_memory(option.size_bytes, host_bytes, count)
        hourly, beyond = gpu.price(count), 0.0
        if not gpu.is_own:
            hourly += self.prices.host_usd_per_hour(cores, memory_mib).best
            beyond = self.prices.beyond_usd_per_hour(memory_mib)
        n_out = 1 if runtime.embeddings else goal.output_tokens
        start = predict_cold_start(option.size_bytes, gpu, count, device_bytes=sum(weights[:-1]))
        return Candidate(
            quant=option.quant,
            bits_per_weight=option.bits_per_weight,
            gpu=gpu,
            count=count,
            runtime=runtime,
            usd_per_hour=round(hourly, 6),
            tokens_per_s=judge.of_speed(speed.decode_tokens_per_s),
            ttft_seconds=judge.of_time(speed.ttft_seconds(goal.prompt_tokens)),
            request_seconds=judge.of_time(speed.request_seconds(goal.prompt_tokens, n_out)),
            cold_start_seconds=0.0 if gpu.is_own else judge.of_time(start.seconds),
            speed=speed,
            memory_bytes=sum(self.least_bytes(option, gpu, count, runtime)),
            beyond_usd_per_hour=beyond,
            month_usd=self._month_usd(option, gpu, count, runtime, hourly, weights),
        )

    def _month_usd(
        self,
        option: QuantOption,
        gpu: Gpu,
        count: int,
        runtime: Runtime,
        usd_per_hour: float,
        weights: Sequence[int],
    ) -> float | None:
        """The likeliest price of a month with the load, if there is one.  [US dollars]"""
        load = self.load
        if load is None:
            return None
        if gpu.is_own:
            return usd_per_hour * HOURS_PER_MONTH
        speed = predict_speed(
            option.planner.shape,
            _weights_only(weights),
            gpu,
            count,
            runtime,
            depth_tokens=load.depth_tokens,
            prompt_tokens=load.prompt_tokens,
        )
        on_gpus = min(sum(weights[:-1]), option.size_bytes)
        start = predict_cold_start(option.size_bytes, gpu, count, device_bytes=on_gpus)
        storage = self.prices.storage_usd_per_month(option.size_bytes)
        hourly = Range.exactly(usd_per_hour)
        return month_bill(load, speed, hourly, start, SCALEDOWN_SECONDS, storage).usd.best

    def planned(self, option: QuantOption, each: Candidate) -> Candidate | None:
        """The candidate with its row, or None when the planner says that it does not fit."""
        self.n_planned += 1
        row = option.planner.row(
            each.gpu, each.count, each.runtime, scale=option.scale, with_max_n_ctx=False
        )
        estimate = row.estimate
        if not row.fits or estimate is None:
            return None
        total = sum(device.total_bytes for device in estimate.devices)
        return replace(each, row=row, memory_bytes=total)

    def walk(
        self,
        is_wanted: Callable[[Candidate], bool],
        budget: float | None,
        *,
        everywhere: bool = False,
    ) -> Iterator[Candidate]:
        """Candidates that fit, cheap GPUs first, each planned to the byte.

        Args:
            is_wanted: whether a candidate is worth planning. It is asked again and again; what
                it turns down it must turn down for whatever is worse in every way as well.
            budget: of the GPUs, and of host memory for weights left there.  [US dollars per hour]
            everywhere: look at other settings also where those asked for fit.
        """

        def is_affordable(each: Candidate) -> bool:
            return (budget is None or each.counted_usd_per_hour <= budget) and is_wanted(each)

        streams = self.streams()
        heap = [(each.gpu.price(each.counts[0]), i, 0) for i, each in enumerate(streams)]
        heapify(heap)
        while heap:
            price, index, position = heappop(heap)
            if budget is not None and price > budget:
                continue
            stream = streams[index]
            is_done = yield from self._visit(
                stream, stream.counts[position], is_affordable, everywhere=everywhere
            )
            if not is_done and position + 1 < len(stream.counts):
                following = stream.counts[position + 1]
                heappush(heap, (stream.gpu.price(following), index, position + 1))

    def _visit(
        self,
        stream: _Stream,
        count: int,
        is_wanted: Callable[[Candidate], bool],
        *,
        everywhere: bool,
    ) -> Generator[Candidate, None, bool]:
        """Candidates of one number of cards; returns whether more of them can be left out."""
        option, gpu = stream.option, stream.gpu
        asked, *others = self.settings(option)
        able = [each for each in others if self.may_fit(option, gpu, count, each)]
        may_fit = self.may_fit(option, gpu, count, asked)
        possible = [asked, *able] if may_fit else able
        if not possible:
            return False
        if not is_wanted(self._ideal(option, gpu, count, possible, everywhere=everywhere)):
            # More cards with the same settings are dearer and never faster.
            return may_fit
        base = self.candidate(option, gpu, count, asked)
        fits: bool | None = None if may_fit else False
        if may_fit and is_wanted(base):
            found = self.planned(option, base)
            fits = found is not None
            if found is not None:
                yield found
        if fits and not everywhere:
            return True
        for runtime in able:
            each = self.candidate(option, gpu, count, runtime)
            if not is_wanted(each):
                continue
            if fits is None:
                fits = self.planned(option, base) is not None
                if fits and not everywhere:
                    return True
            found = self.planned(option, each)
            if found is not None:
                yield found
        return fits is not False

    def _ideal(
        self,
        option: QuantOption,
        gpu: Gpu,
        count: int,
        settings: Sequence[Runtime],
        *,
        everywhere: bool,
    ) -> Candidate:
        """What no candidate with some of the settings is better than.

        Settings that save memory make nothing faster but for a smaller cache, and for a larger
        micro-batch where experts are on the host, so that few of them are looked at.
        """
        asked = self.settings(option)[0]
        fastest = [self.candidate(option, gpu, count, each) for each in _fastest(settings)]
        base = fastest[0]
        # A month depends on slots and starts as well: all of them are looked at.
        able = fastest
        if self.load is not None:
            able = [self.candidate(option, gpu, count, each) for each in settings]
        # Experts on the host need not get to the GPU before a start is over.
        soonest = max(settings, key=lambda runtime: runtime.n_cpu_moe)
        memory_bytes = base.memory_bytes
        if everywhere:
            memory_bytes = min(
                sum(self.least_bytes(option, gpu, count, runtime)) for runtime in settings
            )
        return replace(
            base,
            runtime=asked.with_(n_ubatch=max(runtime.n_ubatch for runtime in settings)),
            usd_per_hour=min(each.usd_per_hour for each in fastest),
            tokens_per_s=max(each.tokens_per_s for each in fastest),
            ttft_seconds=min(each.ttft_seconds for each in fastest),
            request_seconds=min(each.request_seconds for each in fastest),
            cold_start_seconds=min(
                base.cold_start_seconds,
                self.candidate(option, gpu, count, soonest).cold_start_seconds,
            ),
            memory_bytes=memory_bytes,
            beyond_usd_per_hour=min(each.beyond_usd_per_hour for each in fastest),
            month_usd=min((m for each in able if (m := each.month_usd) is not None), default=None),
        )


def _fastest(settings: Sequence[Runtime]) -> list[Runtime]:
    """Those of some settings that may be faster than all others, on the same GPUs."""
    found: list[Runtime] = []
    largest = 0
    for n_cpu_moe in sorted({each.n_cpu_moe for each in settings})[:2]:
        group = [each for each in settings if each.n_cpu_moe == n_cpu_moe]
        n_ubatch = max(each.n_ubatch for each in group)
        n_slots = max(each.n_seq_max for each in group)
        if n_ubatch > largest:
            found += [
                each for each in group if (each.n_ubatch, each.n_seq_max) == (n_ubatch, n_slots)
            ]
        largest = max(largest, n_ubatch)
    return found or list(settings)


def keeps_to(each: Candidate, limits: Limits) -> bool:
    """Whether a candidate meets limits."""
    least, longest, start = (
        limits.min_tokens_per_s,
        limits.max_ttft_seconds,
        limits.max_cold_start_seconds,
    )
    return (
        (least is None or each.tokens_per_s >= least)
        and (longest is None or each.ttft_seconds <= longest)
        and (start is None or each.cold_start_seconds <= start)
    )


def optimize(
    options: Sequence[QuantOption],
    runtime: Runtime,
    allowed: Allowed,
    goal: Goal,
    prices: Prices,
    load: Load | None = None,
) -> Optimization:
    """The pick for a goal and the Pareto front it is on, or what is in the way.

    Args:
        options: quants that may be taken, the best first.
        runtime: as asked for, with a context.
        allowed: GPUs, how many of them, and the budget.
        goal: with an objective.
        prices: of cores and host memory.
        load: how often it is asked: then cost is that of a month.
    """
    search = Search(options, runtime, allowed, goal, prices, load)
    floor = None
    limits = goal.limits
    if limits.min_tokens_per_s is None and not runtime.embeddings:
        floor = READING_TOKENS_PER_S
        limits = replace(limits, min_tokens_per_s=floor)
    front = find_front(search, limits)
    if not front and floor is not None:
        # Nobody asked for the floor, so it rules nothing out where nothing is above it.
        floor, limits = None, goal.limits
        front = find_front(search, limits)
    objective = goal.objective or Objective.COST
    pick = best_candidate(front, objective)
    if pick is not None and objective is not Objective.MEMORY:
        pick, front = with_fewest_on_host(search, pick, front, limits)
    return Optimization(
        goal=goal,
        pick=pick,
        front=front,
        n_candidates=search.n_candidates,
        n_planned=search.n_planned,
        binding=() if front else find_binding(search),
        reading_floor=floor,
        asked=runtime,
    )


def find_front(search: Search, limits: Limits) -> tuple[Candidate, ...]:
    """The Pareto front of everything that fits and meets limits."""
    objective = search.goal.objective
    front: list[Candidate] = []

    def is_wanted(each: Candidate) -> bool:
        return keeps_to(each, limits) and not any(beats(one, each, objective) for one in front)

    budget = search.allowed.max_usd_per_hour
    for found in search.walk(is_wanted, budget, everywhere=objective is Objective.MEMORY):
        if not any(beats(one, found, objective) for one in front):
            front[:] = [one for one in front if not beats(found, one, objective)]
            front.append(found)
    return pareto_front(front, objective)


def with_fewest_on_host(
    search: Search, pick: Candidate, front: tuple[Candidate, ...], limits: Limits
) -> tuple[Candidate, tuple[Candidate, ...]]:
    """The pick with the fewest blocks of experts on the host that still fit, and its front."""
    runtime, row = pick.runtime, pick.row
    asked = search.runtime
    option = next(each for each in search.options if each.quant == pick.quant)
    if row is None or runtime.n_cpu_moe <= asked.n_cpu_moe or "n_cpu_moe" in search.goal.fixed:
        return pick, front
    lowest = max(
        (each.n_cpu_moe for each in search.settings(option) if each.n_cpu_moe < runtime.n_cpu_moe),
        default=asked.n_cpu_moe,
    )
    held = max(search.least_bytes(option, pick.gpu, pick.count, runtime))
    buffers = row.used_bytes - held
    for n in range(lowest + 1, runtime.n_cpu_moe):
        fewer = runtime.with_(n_cpu_moe=n)
        least = max(search.least_bytes(option, pick.gpu, pick.count, fewer))
        if least + buffers > row.usable_bytes_per_gpu:
            continue
        better = search.planned(option, search.candidate(option, pick.gpu, pick.count, fewer))
        if better is not None and keeps_to(better, limits):
            objective = search.goal.objective
            rest = [one for one in front if one is not pick and not beats(better, one, objective)]
            return better, pareto_front((*rest, better), objective)
    return pick, front


_BUDGET = "--max-usd-per-hour"
_METRICS: dict[str, tuple[Callable[[Candidate], float], str]] = {
    _BUDGET: (lambda each: each.counted_usd_per_hour, ""),
    "--min-tokens-per-s": (lambda each: -each.tokens_per_s, "min_tokens_per_s"),
    "--max-ttft": (lambda each: each.ttft_seconds, "max_ttft_seconds"),
    "--max-cold-start": (lambda each: each.cold_start_seconds, "max_cold_start_seconds"),
}
"""Option → what it limits, the less the better, and its field."""


def find_binding(search: Search) -> tuple[Binding, ...]:
    """What is in the way of any candidate, and by how much; the smallest gap first."""
    limits, budget = search.goal.limits, search.allowed.max_usd_per_hour
    asked = {
        option: value
        for option, (_, name) in _METRICS.items()
        if (value := getattr(limits, name) if name else budget) is not None
    }
    alone = [each for option in asked if (each := _nearest(search, asked, (option,))) is not None]
    if alone:
        return tuple(sorted(alone, key=lambda each: each.gap / each.asked))
    others = {option: tuple(o for o in asked if o != option) for option in asked}
    at_best = [
        each
        for option in asked
        if (each := _nearest(search, asked, (*others[option], option))) is not None
    ]
    missed = [each for each in at_best if each.is_missed]
    if missed or at_best:
        return tuple(missed or at_best)
    return _short_of_memory(search)


def _nearest(
    search: Search, asked: Mapping[str, float], given_up: tuple[str, ...]
) -> Binding | None:
    """The candidate closest to the last limit that is given up, within all the others."""
    metric, _ = _METRICS[given_up[-1]]
    limits = search.goal.limits
    for option in given_up:
        if name := _METRICS[option][1]:
            limits = replace(limits, **{name: None})
    budget = None if _BUDGET in given_up else asked.get(_BUDGET)
    best: Candidate | None = None

    def is_wanted(each: Candidate) -> bool:
        return keeps_to(each, limits) and (best is None or metric(each) < metric(best))

    for best in search.walk(is_wanted, budget):  # noqa: B007  # is_wanted reads it
        pass
    if best is None:
        return None
    option = given_up[-1]
    return Binding(option, asked[option], abs(metric(best)), len(given_up) == 1, best)


def _short_of_memory(search: Search) -> tuple[Binding, ...]:
    """How much memory is missing on the GPUs that come closest, with the settings asked for."""
    nearest: tuple[int, int, Candidate] | None = None
    for stream in search.streams():
        option, count = stream.option, stream.counts[-1]
        each = search.candidate(option, stream.gpu, count, search.runtime)
        row = option.planner.row(
            stream.gpu, count, search.runtime, scale=option.scale, with_max_n_ctx=False
        )
        if nearest is None or row.short_by_bytes < nearest[0]:
            nearest = (row.short_by_bytes, row.usable_bytes, each)
    if nearest is None:
        return ()
    short, usable, found = nearest
    return (Binding("memory", float(usable), float(usable + short), is_alone=True, nearest=found),)


def marked_by_limits(
    rows: Sequence[GpuPlan], planner: Planner, runtime: Runtime, goal: Goal, size_bytes: int
) -> tuple[GpuPlan, ...]:
    """Rows of a plan, those that miss a limit no longer allowed, with the reason."""
    if not goal.limits:
        return tuple(rows)
    found = []
    for row in rows:
        missed = ""
        if row.is_candidate and row.estimate is not None and row.gpu.speed is not None:
            missed = _missed(row, planner, runtime, goal, size_bytes)
        found.append(replace(row, is_allowed=False, reason=missed) if missed else row)
    return tuple(found)


def _missed(row: GpuPlan, planner: Planner, runtime: Runtime, goal: Goal, size_bytes: int) -> str:
    """Which limit a row misses, and by what; empty when none."""
    limits, judge = goal.limits, goal.judge
    speed = predict_speed(planner.shape, row.estimate, row.gpu, row.count, runtime)
    tokens = judge.of_speed(speed.decode_tokens_per_s)
    least = limits.min_tokens_per_s
    if least is not None and tokens < least:
        return f"{figure(tokens)} tokens/s ({judge} estimate), below {least:g}"
    ttft = judge.of_time(speed.ttft_seconds(goal.prompt_tokens))
    longest = limits.max_ttft_seconds
    if longest is not None and ttft > longest:
        return f"{figure(ttft)} s to the first token ({judge} estimate), above {longest:g}"
    assert row.estimate is not None
    on_gpus = sum(device.weights_bytes for device in row.estimate.devices)
    start = predict_cold_start(size_bytes, row.gpu, row.count, device_bytes=on_gpus)
    seconds, most = judge.of_time(start.seconds), limits.max_cold_start_seconds
    if most is not None and seconds > most and not row.gpu.is_own:
        return f"{figure(seconds)} s to start ({judge} estimate), above {most:g}"
    return ""


def what_binds(
    option: QuantOption, runtime: Runtime, allowed: Allowed, goal: Goal, catalogue: GpuCatalogue
) -> Optimization | None:
    """Which limit is in the way of one quant with settings as they are, and by how much."""
    if catalogue.prices is None:
        return None
    fixed = tuple(field.name for field in fields(Runtime))
    as_is = replace(goal, fixed=fixed)
    search = Search((option,), runtime, allowed, as_is, catalogue.prices)
    binding = find_binding(search)
    return Optimization(goal, None, (), search.n_candidates, search.n_planned, binding, runtime)
