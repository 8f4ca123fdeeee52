"""The search against planning everything: the same front, the same pick, the same limits."""

from __future__ import annotations

import random
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ggufs import header, llama

from ggufctl.catalog import shipped_catalogue
from ggufctl.core.goal import Goal, Judge, Limits, Objective
from ggufctl.core.gpus import GpuCatalogue
from ggufctl.core.header import parse_header
from ggufctl.core.memory import ModelShape
from ggufctl.core.optimize import (
    READING_TOKENS_PER_S,
    Candidate,
    Optimization,
    QuantOption,
    beats,
    best_candidate,
    pareto_front,
)
from ggufctl.core.planner import Allowed, Constraints, Planner, Scale
from ggufctl.core.runtime import Runtime
from ggufctl.core.search import Search, find_front, keeps_to, optimize, variations
from ggufctl.errors import UsageError

CATALOGUE = shipped_catalogue()
PRICES = CATALOGUE.prices
assert PRICES is not None
FEW = ("T4", "L4", "L40S", "H100")
CHEAPEST = Goal(objective=Objective.COST)


def catalogue(*names: str) -> GpuCatalogue:
    return GpuCatalogue(
        tuple(gpu for gpu in CATALOGUE if gpu.name in names), CATALOGUE.as_of, PRICES
    )


@cache
def dense(n_layer: int = 32) -> tuple[ModelShape, int]:
    raw, size = header(
        *llama(
            type_="q4_K",
            n_layer=n_layer,
            n_embd=4096,
            n_vocab=32000,
            n_merges=10,
            llama__context_length=32768,
            llama__attention__head_count=32,
            llama__attention__head_count_kv=8,
        )
    )
    return ModelShape(parse_header(raw, size)), size


@cache
def moe(n_layer: int = 8) -> tuple[ModelShape, int]:
    metadata, tensors = llama(
        n_layer=n_layer,
        n_embd=4096,
        n_vocab=32000,
        n_merges=10,
        type_="q4_K",
        llama__expert_count=32,
        llama__context_length=8192,
    )
    metadata |= {"llama.expert_used_count": 2}
    found = []
    for tensor in tensors:
        if ".ffn_" not in tensor.name or "norm" in tensor.name:
            found.append(tensor)
            continue
        name = tensor.name.replace(".weight", "_exps.weight")
        found.append(tensor._replace(name=name, shape=(*tensor.shape, 32)))
        if ".ffn_up." in tensor.name:
            gate = tensor.name.replace("ffn_up", "ffn_gate_inp")
            found.append(tensor._replace(name=gate, type="f32", shape=(4096, 32)))
    raw, size = header(metadata, found)
    return ModelShape(parse_header(raw, size)), size


def options(
    of: tuple[ModelShape, int], gpus: GpuCatalogue, shares: tuple[float, ...]
) -> tuple[QuantOption, ...]:
    shape, size = of
    planner = Planner(shape, gpus)
    return tuple(
        QuantOption(
            f"Q{i}",
            int(size * share),
            4.5 * share,
            planner,
            None if share == 1.0 else Scale(int(size * share), size),
        )
        for i, share in enumerate(shares)
    )


def everything(search: Search) -> list[Candidate]:
    """Every candidate there is, each planned to the byte: no bound, nothing left out."""
    found = []
    everywhere = search.goal.objective is Objective.MEMORY
    budget = search.allowed.max_usd_per_hour
    for stream in search.streams():
        for count in stream.counts:
            if budget is not None and stream.gpu.price(count) > budget:
                break
            asked, *others = search.settings(stream.option)
            base = search.candidate(stream.option, stream.gpu, count, asked)
            whole = search.planned(stream.option, base)
            if whole is not None:
                found.append(whole)
            if whole is None or everywhere:
                for runtime in others:
                    each = search.candidate(stream.option, stream.gpu, count, runtime)
                    planned = search.planned(stream.option, each)
                    if planned is not None:
                        found.append(planned)
            if whole is not None:
                break
    # Host memory beyond what a container has anyway counts as well.
    return [each for each in found if budget is None or each.counted_usd_per_hour <= budget]


def key(each: Candidate | None) -> object:
    if each is None:
        return None
    return each.quant, each.gpu.name, each.count, each.runtime, each.memory_bytes


def both(
    of: tuple[ModelShape, int],
    goal: Goal,
    *,
    gpus: str = "",
    budget: float | None = None,
    runtime: Runtime | None = None,
    shares: tuple[float, ...] = (1.8, 1.0),
    names: tuple[str, ...] = FEW,
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...], Search]:
    """The front as it is searched for, and as it is when everything is planned."""
    available = catalogue(*names)
    allowed = Allowed.by(Constraints(gpus=gpus, max_usd_per_hour=budget), available)
    given_options = options(of, available, shares)
    asked = runtime or Runtime(n_ctx=4096)
    quick = Search(given_options, asked, allowed, goal, PRICES)
    slow = Search(given_options, asked, allowed, goal, PRICES)
    front = find_front(quick, goal.limits)
    whole = pareto_front(
        [each for each in everything(slow) if keeps_to(each, goal.limits)], goal.objective
    )
    assert quick.n_planned <= slow.n_planned
    return front, whole, quick


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize(
    "of",
    [dense(), dense(80), moe(), moe(24)],
    ids=["7B", "18B", "few experts", "many experts"],
)
def test_the_front_is_that_of_planning_everything(objective, of):
    front, whole, _ = both(of, Goal(objective=objective))

    assert [key(each) for each in front] == [key(each) for each in whole]
    assert key(best_candidate(front, objective)) == key(best_candidate(whole, objective))


def test_host_memory_counts_against_the_budget_of_the_front():
    front, whole, _ = both(
        moe(),
        Goal(objective=Objective.MEMORY, judge=Judge.CAREFUL),
        budget=0.7,
        runtime=Runtime(n_ctx=2048),
        shares=(1.7, 1.2, 1.0),
    )

    assert [key(each) for each in front] == [key(each) for each in whole]
    assert max(each.counted_usd_per_hour for each in front) <= 0.7


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_any_limits_leave_the_front_of_planning_everything(data):
    of = data.draw(st.sampled_from([dense(), dense(120), moe(), moe(32)]))
    goal = Goal(
        objective=data.draw(st.sampled_from(list(Objective))),
        limits=Limits(
            min_tokens_per_s=data.draw(st.sampled_from([None, 8.0, 30.0, 90.0])),
            max_ttft_seconds=data.draw(st.sampled_from([None, 0.2, 1.0, 4.0])),
            max_cold_start_seconds=data.draw(st.sampled_from([None, 150.0, 250.0])),
        ),
        fixed=tuple(data.draw(st.sets(st.sampled_from(["cache_type_k", "n_ubatch", "n_cpu_moe"])))),
        judge=data.draw(st.sampled_from(list(Judge))),
    )
    runtime = Runtime(
        n_ctx=data.draw(st.sampled_from([2048, 8192, 32768])),
        n_parallel=data.draw(st.sampled_from([None, 1, 4])),
    )
    front, whole, _ = both(
        of,
        goal,
        gpus=data.draw(st.sampled_from(["", "T4", "L4,T4:2", "L40S,L4"])),
        budget=data.draw(st.sampled_from([None, 0.7, 1.7, 4.0])),
        runtime=runtime,
        shares=data.draw(st.sampled_from([(1.0,), (1.7, 1.2, 1.0), (2.4, 1.0, 0.6)])),
    )

    assert [key(each) for each in front] == [key(each) for each in whole]
    assert key(best_candidate(front, goal.objective)) == key(best_candidate(whole, goal.objective))


def test_a_front_has_no_two_of_which_one_beats_the_other_and_nothing_is_lost():
    _, _, search = both(moe(), Goal(objective=Objective.COST))
    found = everything(search)
    random.Random(5).shuffle(found)
    front = pareto_front(found)

    assert not any(beats(a, b, None) for a in front for b in front)
    assert all(any(beats(a, b, None) for a in front) for b in found if b not in front)
    assert front == pareto_front(found[::-1])


def search_for(
    of: tuple[ModelShape, int] = dense(),
    goal: Goal = CHEAPEST,
    *,
    gpus: str = "",
    budget: float | None = None,
    runtime: Runtime | None = None,
    shares: tuple[float, ...] = (1.8, 1.0),
) -> Optimization:
    available = catalogue(*FEW)
    allowed = Allowed.by(Constraints(gpus=gpus, max_usd_per_hour=budget), available)
    asked = runtime or Runtime(n_ctx=4096)
    return optimize(options(of, available, shares), asked, allowed, goal, PRICES)


@pytest.mark.parametrize("objective", list(Objective))
def test_the_pick_fits_by_the_planner_and_is_on_the_front(objective):
    for of in (dense(), moe(24)):
        found = search_for(of, Goal(objective=objective))
        pick = found.pick

        assert pick is not None
        assert pick in found.front
        assert pick.row is not None
        assert pick.row.fits
        assert pick.tokens_per_s >= READING_TOKENS_PER_S
        assert found.sentence


def test_what_the_user_set_is_never_varied():
    runtime = Runtime(n_ctx=4096, n_parallel=4, n_ubatch=512, n_cpu_moe=0)
    fields = ("cache_type_k", "cache_type_v", "n_parallel", "n_ubatch", "n_cpu_moe")
    goal = Goal(objective=Objective.MEMORY, fixed=fields)
    found = search_for(moe(24), goal, runtime=runtime)

    assert found.front
    assert {each.runtime for each in found.front} == {runtime}
    planner = Planner(moe()[0], CATALOGUE)
    for field in fields:
        kept = {getattr(v, field) for v in variations(planner, runtime, frozenset({field}))}
        assert kept == {getattr(runtime, field)}


def test_the_context_is_never_shorter_than_asked_for_not_even_of_a_slot():
    runtime = Runtime(n_ctx=8192, n_parallel=4)
    for each in variations(Planner(moe()[0], CATALOGUE), runtime, frozenset()):
        per_slot = each.n_ctx if each.is_unified else each.n_ctx // each.n_seq_max
        assert each.n_ctx == 8192
        assert per_slot >= 8192 // 4


def test_experts_stay_on_the_host_by_the_fewest_blocks_that_do():
    found = search_for(moe(24), gpus="T4:1", shares=(1.0,))
    pick = found.pick

    assert pick is not None
    n = pick.runtime.n_cpu_moe
    assert n > 0
    shape, _ = moe(24)
    row = Planner(shape, CATALOGUE).row(pick.gpu, 1, pick.runtime.with_(n_cpu_moe=n - 1))
    assert not row.fits


def test_a_better_quant_is_taken_where_the_cheapest_gpu_holds_it():
    pick = search_for(dense(), shares=(1.8, 1.4, 1.0)).pick

    assert pick is not None
    assert (pick.gpu.name, pick.quant) == ("T4", "Q0")


@pytest.mark.parametrize("judge", list(Judge))
def test_limits_are_held_against_the_stated_end_of_each_range(judge):
    goal = Goal(objective=Objective.COST, limits=Limits(min_tokens_per_s=60.0), judge=judge)
    pick = search_for(dense(), goal).pick

    assert pick is not None
    speed = pick.speed.decode_tokens_per_s
    assert (speed.low if judge is Judge.CAREFUL else speed.best) >= 60.0


def test_a_likely_judgement_is_never_stricter_than_a_careful_one():
    limits = Limits(min_tokens_per_s=60.0, max_ttft_seconds=2.0)
    careful = search_for(dense(), Goal(objective=Objective.COST, limits=limits)).pick
    likely = search_for(
        dense(), Goal(objective=Objective.COST, limits=limits, judge=Judge.LIKELY)
    ).pick

    assert careful is not None
    assert likely is not None
    assert likely.usd_per_hour <= careful.usd_per_hour


def test_the_limit_that_binds_is_named_with_what_is_reached_without_it():
    found = search_for(
        dense(),
        Goal(objective=Objective.COST, limits=Limits(min_tokens_per_s=80.0)),
        budget=1.0,
        shares=(1.0,),
    )

    assert found.pick is None
    assert {each.limit for each in found.binding} == {"--min-tokens-per-s", "--max-usd-per-hour"}
    for each in found.binding:
        assert each.is_alone
        assert each.nearest is not None
        assert each.nearest.row is not None
        assert each.gap > 0
        assert each.limit in found.sentence
    budget = next(each for each in found.binding if each.limit == "--max-usd-per-hour")
    assert budget.nearest is not None
    assert budget.nearest.tokens_per_s >= 80.0
    dearer = search_for(
        dense(),
        Goal(objective=Objective.COST, limits=Limits(min_tokens_per_s=80.0)),
        budget=budget.reached,
        shares=(1.0,),
    )
    assert dearer.pick is not None


def test_a_limit_that_nothing_ever_meets_is_named_with_the_best_there_is():
    found = search_for(
        dense(),
        Goal(
            objective=Objective.LATENCY,
            limits=Limits(min_tokens_per_s=1e6, max_cold_start_seconds=0.001),
        ),
    )

    assert found.pick is None
    assert {each.limit for each in found.binding} == {"--min-tokens-per-s", "--max-cold-start"}
    assert all(each.is_missed and not each.is_alone for each in found.binding)


def test_without_any_fit_the_missing_memory_is_said():
    huge, size = dense(400)
    available = catalogue("T4")
    allowed = Allowed.by(Constraints(gpus="T4:1"), available)
    goal = Goal(objective=Objective.COST)
    found = optimize(
        options((huge, size), available, (1.0,)), Runtime(n_ctx=4096), allowed, goal, PRICES
    )

    assert found.pick is None
    assert [each.limit for each in found.binding] == ["memory"]
    assert "GiB are missing" in found.sentence


def test_slower_than_people_read_is_left_out_unless_nothing_is_faster():
    slow, size = dense(200)
    available = catalogue("T4", "L4")
    allowed = Allowed.by(Constraints(), available)
    found = optimize(
        options((slow, size), available, (1.0,)),
        Runtime(n_ctx=2048),
        allowed,
        Goal(objective=Objective.COST),
        PRICES,
    )

    assert found.pick is not None
    assert (found.reading_floor is None) == (found.pick.tokens_per_s < READING_TOKENS_PER_S)


def test_a_whole_repository_is_searched_by_few_estimates():
    """Most combinations are ruled out by bounds; the rest share a handful of graphs."""
    shares = tuple(1.0 + i / 20 for i in range(30))
    available = CATALOGUE
    given_options = options(dense(80), available, shares)
    found = optimize(
        given_options,
        Runtime(n_ctx=8192),
        Allowed.by(Constraints(), available),
        Goal(objective=Objective.COST),
        PRICES,
    )

    assert found.n_candidates > 5000
    assert found.n_planned < found.n_candidates // 20
    assert len(given_options[0].planner._estimates) < 40


def test_a_goal_may_be_written_in_words_and_refuses_what_is_none():
    assert Goal(objective="cost", judge="likely").objective is Objective.COST
    assert repr(Goal(fixed=("b", "a", "b"))) == repr(Goal(fixed=("a", "b")))
    with pytest.raises(UsageError):
        Goal(objective="speed")
    with pytest.raises(UsageError):
        Goal(limits={"min_tokens_per_s": 3})
    with pytest.raises(UsageError):
        Limits(min_tokens_per_s=float("nan"))
    with pytest.raises(UsageError):
        Limits(max_ttft_seconds=True)
    with pytest.raises(UsageError):
        Constraints(goal="cost")


@pytest.mark.parametrize("objective", list(Objective))
def test_experts_on_the_host_that_make_a_start_short_enough_are_found(objective):
    # A limit that holds with the experts on the host, and with no others.
    pick = search_for(moe(24), Goal(objective=Objective.MEMORY), shares=(1.0,)).pick
    assert pick is not None
    assert pick.runtime.n_cpu_moe
    limits = Limits(max_cold_start_seconds=pick.cold_start_seconds)
    goal = Goal(objective=objective, limits=limits)
    front, whole, _ = both(moe(24), goal, shares=(1.0,))

    assert [key(each) for each in front] == [key(each) for each in whole]
    if objective is Objective.MEMORY:
        assert front
