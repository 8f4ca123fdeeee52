from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ggufs import header, llama

from ggufctl.catalog import load_catalogue
from ggufctl.core.compat import check_settings, setting_warnings
from ggufctl.core.estimate import Basis, Estimate
from ggufctl.core.goal import Goal, Objective
from ggufctl.core.header import parse_header
from ggufctl.core.ladder import SIMILAR, QuantSize, Step, StepKind
from ggufctl.core.memory import ModelShape
from ggufctl.core.model import File, Model, quant_of
from ggufctl.core.money import MAX_CONTAINER_MIB, Load
from ggufctl.core.optimize import own_option
from ggufctl.core.plan import Plan, engine_args, make_plan, optimized
from ggufctl.core.planner import Allowed, Cards, Constraints, Planner, Scale, choose, parse_gpu_list
from ggufctl.core.runtime import Runtime
from ggufctl.errors import DoesNotFit, RefusedSettings, UsageError
from ggufctl.render.plan import _step_line

CATALOGUE = load_catalogue()
SEVEN_B = {"n_layer": 32, "n_embd": 4096, "n_vocab": 32000, "n_merges": 10}
SEVENTY_B = {"n_layer": 80, "n_embd": 12288, "n_vocab": 32000, "n_merges": 10}


@cache
def model(type_: str = "q4_K", n_files: int = 1, n_ctx: int = 131072, **shape: int) -> Model:
    given = shape or SEVEN_B
    n_head = given["n_embd"] // 128 if given["n_embd"] % 128 == 0 else 4
    raw, size = header(
        *llama(
            type_=type_,
            llama__context_length=n_ctx,
            llama__attention__head_count=n_head,
            llama__attention__head_count_kv=n_head // 2,
            **given,
        )
    )
    parsed = parse_header(raw, size)
    files = tuple(File(f"model-{i}.gguf", size // n_files) for i in range(n_files))
    return Model(
        "model", "local", files, parsed, ModelShape(parsed), quant_of(parsed, "m-Q4_K_M.gguf")
    )


@cache
def planner(**shape: int) -> Planner:
    return Planner(model(**shape).shape, CATALOGUE)


def plan(
    gpus: str = "",
    budget: float | None = None,
    runtime: Runtime | None = None,
    of: Model | None = None,
    **more: object,
) -> Plan:
    constraints = Constraints(gpus=parse_gpu_list(gpus), max_usd_per_hour=budget)
    chosen = runtime or Runtime(n_ctx=8192)
    return make_plan(of or model(), chosen, constraints, CATALOGUE, **more)


def test_the_cheapest_gpu_that_holds_the_model_is_chosen():
    found = plan().require_choice()

    assert found.row.gpu.name == "T4"
    assert found.modal_gpu == ("T4", "L4", "A10")
    assert found.engine_args == ("-c", "8192", "-ngl", "all", "-fit", "off")


def test_every_gpu_that_is_named_and_fits_is_asked_for_whatever_it_costs():
    found = plan("B200,T4,A100-80GB,H100,H200,L4").require_choice()

    assert found.row.gpu.name == "T4"
    assert found.modal_gpu == ("T4", "L4", "A100-80GB", "H100", "H200", "B200")


def test_with_a_load_what_gpus_fall_back_to_is_the_next_cheapest_month():
    load = Load(100_000)
    found = make_plan(model(), Runtime(n_ctx=8192), Constraints(load=load), CATALOGUE)
    months = {
        row.gpu.modal_gpu(1): economics.cost.month.usd.best
        for row, economics in zip(found.gpus, found.economics, strict=True)
        if economics is not None and economics.cost.month is not None and row.count == 1
    }

    named = found.require_choice().modal_gpu
    assert list(named) == sorted(months, key=months.__getitem__)[: len(named)]
    assert named != plan().require_choice().modal_gpu
    assert max(months[name] for name in named) <= 2.5 * months[named[0]]


def test_a_cache_in_host_memory_is_no_longer_than_a_container_holds():
    runtime = Runtime(n_ctx=8192, n_parallel=4, no_kv_offload=True)
    constraints = Constraints(gpus=("H100",), max_context=True)
    found = make_plan(model(**SEVENTY_B), runtime, constraints, CATALOGUE)

    row = found.require_choice().row
    step = 256 * 4
    assert MAX_CONTAINER_MIB - 4096 < row.memory_mib <= MAX_CONTAINER_MIB
    assert found.runtime.n_ctx == row.max_n_ctx < 4 * 131072
    longer = found.runtime.with_(n_ctx=row.max_n_ctx + step)
    assert not planner(**SEVENTY_B).row(row.gpu, 1, longer).fits


def test_every_gpu_is_listed_and_what_does_not_fit_says_by_how_much():
    found = plan(of=model(**SEVENTY_B))

    assert {row.gpu.name for row in found.gpus} == {gpu.name for gpu in CATALOGUE}
    for row in found.gpus:
        if row.estimate is None:
            assert "published" in row.reason
            continue
        short = sum(
            max(0, device.total_bytes - row.usable_bytes_per_gpu) for device in row.estimate.devices
        )
        assert row.fits == (short == 0)
        assert row.short_by_bytes == short


def test_a_model_that_fits_one_card_is_never_split_though_two_would_be_cheaper():
    found = plan("T4,B200", of=model(**SEVENTY_B))

    assert any(row.fits and row.count > 1 and row.gpu.name == "T4" for row in found.gpus)
    assert found.require_choice().row.label == "B200"


def test_several_cards_are_taken_when_one_is_not_enough_and_no_more_than_needed():
    found = plan("L40S", of=model(**SEVENTY_B)).require_choice()

    n = found.row.count
    assert n > 1
    assert found.modal_gpu == (f"L40S:{n}",)
    runtime = Runtime(n_ctx=8192)
    fewer = Planner(model(**SEVENTY_B).shape, CATALOGUE).row(CATALOGUE.find("L40S"), n - 1, runtime)
    assert not fewer.fits


def test_an_exact_number_of_cards_can_be_asked_for():
    found = plan("L4:2").require_choice()

    assert (found.row.gpu.name, found.row.count) == ("L4", 2)


@pytest.mark.parametrize("name", ["L4:0", "L4:9", "L4:x", "L4:", "H1", "A10:5", "auto,L4"])
def test_gpus_that_nobody_rents_are_a_usage_error(name):
    with pytest.raises(UsageError):
        plan(name)


def test_a_gpu_whose_memory_is_unknown_is_shown_and_never_chosen():
    found = plan("B300")

    assert found.choice is None
    assert found.gpus[0].estimate is None
    with pytest.raises(DoesNotFit, match="published"):
        found.require_choice()


def test_a_budget_is_kept_and_the_ladder_names_the_next_gpu():
    found = plan(budget=0.1)

    assert found.choice is None
    assert all(not row.is_allowed for row in found.gpus)
    assert [step.kind for step in found.ladder] == [StepKind.GPU]
    with pytest.raises(DoesNotFit) as caught:
        found.require_choice()
    assert "budget" in caught.value.message
    assert caught.value.hint == "A budget of $0.60 per hour rents T4, which holds it as asked."


@pytest.mark.parametrize("budget", [0.6, 0.85, 1.5, 3.0, 7.0])
def test_the_ladder_rents_nothing_above_the_budget_without_saying_so(budget):
    found = plan("T4:1", budget, of=model(**SEVENTY_B))

    assert found.choice is None
    for step in found.ladder:
        if step.kind is StepKind.GPU and "budget" in step.text:
            assert step is found.ladder[-1]
            assert step.usd_per_hour > budget
        else:
            assert step.usd_per_hour <= budget


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_must_be_a_number_of_dollars(budget):
    with pytest.raises(UsageError):
        Constraints(max_usd_per_hour=budget)


def test_bf16_weights_do_not_go_to_a_card_without_bf16():
    found = plan("T4", of=model("bf16", n_layer=2, n_embd=1024, n_vocab=1000, n_merges=10))

    assert found.choice is None
    assert "bf16" in found.gpus[0].reason
    assert found.gpus[0].short_by_bytes == 0


def test_a_bf16_cache_does_not_go_to_a_card_without_bf16():
    runtime = Runtime(n_ctx=4096, cache_type_k="bf16", cache_type_v="bf16")

    assert plan(runtime=runtime).require_choice().row.gpu.name == "L4"


def test_the_largest_context_fits_and_the_next_one_does_not():
    runtime = Runtime(n_ctx=8192)
    row = planner().row(CATALOGUE.find("T4"), 1, runtime, exact=True)

    assert planner().row(row.gpu, 1, runtime.with_(n_ctx=row.max_n_ctx)).fits
    assert not planner().row(row.gpu, 1, runtime.with_(n_ctx=row.max_n_ctx + 256)).fits


def test_the_largest_context_is_not_longer_than_what_the_model_was_made_for():
    row = planner().row(CATALOGUE.find("H200"), 1, Runtime(n_ctx=8192))

    assert row.max_n_ctx == model().n_ctx_train


def test_max_context_raises_the_context_to_what_the_chosen_gpu_holds():
    constraints = Constraints(max_context=True)
    found = make_plan(model(), Runtime(n_ctx=8192), constraints, CATALOGUE)

    chosen = found.require_choice()
    assert chosen.row.gpu.name == "T4"
    assert found.runtime.n_ctx == chosen.row.max_n_ctx > 8192
    assert chosen.row.fits
    assert chosen.engine_args[:2] == ("-c", str(found.runtime.n_ctx))


def test_a_sharded_model_is_planned_with_more_headroom():
    whole, sharded = plan(of=model()), plan(of=model(n_files=3, **SEVEN_B))

    pairs = list(zip(whole.gpus, sharded.gpus, strict=True))
    assert all(a.usable_bytes > b.usable_bytes for a, b in pairs if a.estimate is not None)
    assert whole.require_choice().memory_utilization == 0.95


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 128), st.sampled_from([1, 2, 3]))
def test_memory_never_shrinks_when_the_context_grows(steps, count):
    def total(n_ctx: int) -> int:
        estimate = planner().estimate(Runtime(n_ctx=n_ctx), Cards(count))
        return sum(device.total_bytes for device in estimate.devices)

    assert total(steps * 256) <= total((steps + 1) * 256)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 128),
    st.sampled_from([None, 1, 2, 4]),
    st.sampled_from(["f16", "q8_0"]),
    st.sampled_from(["", "L4,H100", "T4"]),
)
def test_a_choice_never_has_less_usable_memory_than_the_need(steps, n_parallel, cache, names):
    runtime = Runtime(
        n_ctx=steps * 1024, n_parallel=n_parallel, cache_type_k=cache, cache_type_v=cache
    )
    found = plan(names, runtime=runtime)

    for row in found.gpus:
        if row.fits and row.estimate is not None:
            for device in row.estimate.devices:
                assert device.total_bytes <= row.usable_bytes_per_gpu
                assert device.high_bytes <= (row.gpu.cuda_bytes or 0)
    if found.choice is not None:
        rows = [row for row in found.gpus if row.is_candidate]
        cheapest = min(row.usd_per_hour for row in rows if row.count == found.choice.row.count)
        assert found.choice.row.usd_per_hour == cheapest


def total_bytes(estimate: Estimate) -> int:
    return sum(device.total_bytes for device in estimate.devices)


def test_another_quant_differs_in_its_weights_alone():
    runtime = Runtime(n_ctx=8192)
    own = planner().row(CATALOGUE.find("H100"), 1, runtime)
    half = planner().row(CATALOGUE.find("H100"), 1, runtime, scale=Scale(1, 2))

    assert own.estimate is not None
    assert half.estimate is not None
    saved = own.estimate.devices[0].weights_bytes // 2
    assert total_bytes(own.estimate) - total_bytes(half.estimate) == saved


@pytest.mark.parametrize(
    ("given", "args"),
    [
        ({"draft_model": "org/Draft-GGUF"}, ("-hfd", "org/Draft-GGUF")),
        ({"draft_model": "org/Draft-GGUF:Q8_0"}, ("-hfd", "org/Draft-GGUF:Q8_0")),
        ({"draft_model": "folder/draft.gguf"}, ("-md", "folder/draft.gguf")),
        ({"draft_model": "./folder/draft"}, ("-md", "./folder/draft")),
        ({"draft_model": "/kept/draft.gguf"}, ("-md", "/kept/draft.gguf")),
        ({"mmproj": "mmproj.gguf"}, ("--mmproj", "mmproj.gguf")),
        ({"mmproj": "https://host/mmproj.gguf"}, ("--mmproj-url", "https://host/mmproj.gguf")),
    ],
)
def test_what_is_loaded_beside_comes_by_the_option_that_llama_server_has_for_it(given, args):
    flags = engine_args(Runtime(n_ctx=4096, **given))

    assert args in list(pairwise(flags))


@pytest.mark.parametrize(("n_ctx", "said"), [(64, "256 tokens"), (8192, "256"), (65536, "1024")])
def test_slots_are_told_the_context_that_llama_cpp_rounds_theirs_to(n_ctx, said):
    warnings = setting_warnings(model().shape, Runtime(n_ctx=n_ctx, n_parallel=64))

    assert any(f": {said}" in text and "per slot" in text for text in warnings)


def test_what_a_card_without_bf16_takes_goes_by_the_quant_that_is_meant():
    shape = {"n_layer": 2, "n_embd": 1024, "n_vocab": 1000, "n_merges": 10}
    full, small = (Planner(model(t, **shape).shape, CATALOGUE) for t in ("bf16", "q4_K"))
    runtime, card = Runtime(n_ctx=4096), CATALOGUE.find("T4")

    assert not full.row(card, 1, runtime).fits
    assert full.row(card, 1, runtime, scale=Scale(1, 2, quant="Q8_0")).fits
    assert "bf16" in small.row(card, 1, runtime, scale=Scale(4, 1, quant="BF16")).reason
    assert "bf16" in small.row(card, 1, runtime, scale=Scale(4, 1, quant="UD-BF16")).reason


def test_the_ladder_offers_what_would_fit_with_its_numbers():
    deep = model(**{**SEVEN_B, "n_layer": 140})
    smaller = (QuantSize("Q2_K", deep.size_bytes // 2, "r:Q2_K"),)
    found = plan("T4:1", runtime=Runtime(n_ctx=4096), smaller=smaller, of=deep)

    assert found.choice is None
    kinds = [step.kind for step in found.ladder]
    assert kinds[0] is StepKind.CONTEXT
    assert StepKind.GPU in kinds
    assert StepKind.QUANT in kinds
    for step in found.ladder:
        assert step.used_bytes <= step.usable_bytes
        assert step.n_ctx <= step.max_n_ctx


def test_a_step_of_the_ladder_fits_when_it_is_taken():
    big = model(**{**SEVEN_B, "n_layer": 64})
    found = plan("T4:1", runtime=Runtime(n_ctx=32768), of=big)
    by_kind = {step.kind: step for step in found.ladder}

    shorter = by_kind[StepKind.CONTEXT]
    assert shorter.changes == ("-c", str(shorter.n_ctx))
    assert plan("T4:1", runtime=Runtime(n_ctx=shorter.n_ctx), of=big).choice is not None


@cache
def moe(n_expert: int = 8) -> Model:
    metadata, tensors = llama(**SEVEN_B, type_="q4_K", llama__expert_count=n_expert)
    metadata |= {"llama.expert_used_count": 2, "llama.context_length": 8192}
    experts = []
    for tensor in tensors:
        if ".ffn_" in tensor.name and "norm" not in tensor.name:
            name = tensor.name.replace(".weight", "_exps.weight")
            experts.append(tensor._replace(name=name, shape=(*tensor.shape, n_expert)))
            if ".ffn_up." in tensor.name:
                gate = tensor.name.replace("ffn_up", "ffn_gate_inp")
                experts.append(tensor._replace(name=gate, type="f32", shape=(4096, n_expert)))
        else:
            experts.append(tensor)
    raw, size = header(metadata, experts)
    parsed = parse_header(raw, size)
    return Model("moe", "local", (File("moe.gguf", size),), parsed, ModelShape(parsed), "Q4_K_M")


def test_experts_are_moved_to_the_host_by_the_fewest_blocks_that_do():
    found = plan("T4:1", runtime=Runtime(n_ctx=4096), of=moe())
    step = next(step for step in found.ladder if step.kind is StepKind.CPU_MOE)
    n = int(step.changes[1])

    assert 0 < n <= 32
    assert step.host_bytes > 0
    assert plan("T4:1", runtime=Runtime(n_ctx=4096, n_cpu_moe=n), of=moe()).choice is not None
    assert plan("T4:1", runtime=Runtime(n_ctx=4096, n_cpu_moe=n - 1), of=moe()).choice is None


def test_blocks_are_moved_to_the_host_by_the_fewest_that_do():
    big = model(**{**SEVEN_B, "n_layer": 140})
    found = plan("T4:1", runtime=Runtime(n_ctx=4096), of=big)
    step = next(step for step in found.ladder if step.kind is StepKind.GPU_LAYERS)
    n = int(step.changes[1])

    assert 0 < n <= 140
    assert step.host_bytes > big.size_bytes * (140 - n) // 140
    assert plan("T4:1", runtime=Runtime(n_ctx=4096, n_gpu_layers=n), of=big).choice is not None
    assert plan("T4:1", runtime=Runtime(n_ctx=4096, n_gpu_layers=n + 1), of=big).choice is None


def test_whole_blocks_stay_where_moving_experts_is_enough():
    kinds = {step.kind for step in plan("T4:1", runtime=Runtime(n_ctx=4096), of=moe()).ladder}

    assert StepKind.CPU_MOE in kinds
    assert StepKind.GPU_LAYERS not in kinds


HUGE = 240
"""Experts of a model of which no container holds all on its host."""


def test_what_no_container_has_the_host_memory_for_does_not_fit_and_says_why():
    huge = Runtime(n_ctx=4096, n_cpu_moe=32)
    found = plan("A100-80GB:8", runtime=huge, of=moe(HUGE))
    (row,) = found.gpus

    assert moe(HUGE).size_bytes > MAX_CONTAINER_MIB << 20
    assert not row.short_by_bytes
    assert not row.fits
    assert "a container has at most 336 GiB" in row.reason
    with pytest.raises(DoesNotFit, match=r"GiB of host memory, and a container has at most 336"):
        found.require_choice()
    assert found.ladder[0].changes in (("--n-cpu-moe", "0"), ())
    for step in found.ladder:
        assert step.host_bytes < MAX_CONTAINER_MIB << 20


@pytest.mark.parametrize("gpus", ["A10,L4", "A100-80GB,H100", "H100:4", "B200:2"])
def test_the_ladder_offers_no_container_that_nobody_rents(gpus):
    for step in plan(gpus, runtime=Runtime(n_ctx=4096), of=moe(HUGE)).ladder:
        row = planner_of(moe(HUGE)).row(CATALOGUE.find(step.gpu), step.count, as_said(step))
        assert row.fits
        assert row.memory_mib <= MAX_CONTAINER_MIB


def planner_of(of: Model) -> Planner:
    return Planner(of.shape, CATALOGUE, is_sharded=of.is_sharded)


def as_said(step: Step) -> Runtime:
    fields = {"--n-cpu-moe": "n_cpu_moe", "-ngl": "n_gpu_layers", "-c": "n_ctx", "-ub": "n_ubatch"}
    runtime = Runtime(n_ctx=4096)
    for flag, value in zip(step.changes[::2], step.changes[1::2], strict=True):
        runtime = runtime.with_(**{fields[flag]: int(value)}) if flag in fields else runtime
    return runtime


def test_a_budget_counts_the_host_memory_that_weights_left_there_need():
    on_host = Runtime(n_ctx=4096, n_cpu_moe=32)
    few = moe(64)
    (row,) = plan("L4:1", runtime=on_host, of=few).gpus

    assert row.fits
    assert row.counted_usd_per_hour > row.usd_per_hour + 0.3
    assert row.counted_usd_per_hour < row.in_use_usd_per_hour
    refused = plan("L4:1", budget=row.counted_usd_per_hour - 0.01, runtime=on_host, of=few)
    assert refused.choice is None
    with pytest.raises(DoesNotFit, match="for host memory"):
        refused.require_choice()
    taken = plan("L4:1", budget=row.counted_usd_per_hour, runtime=on_host, of=few)
    assert taken.choice is not None


def test_a_budget_of_a_gpus_price_admits_what_is_all_on_the_gpu():
    assert plan("L4", budget=0.80).choice is not None
    assert plan("L4", budget=0.80).require_choice().row.beyond_usd_per_hour == 0


def test_the_ladder_keeps_to_the_budget_with_host_memory_counted():
    found = plan("L4", budget=1.0, runtime=Runtime(n_ctx=4096), of=moe(64))

    for step in found.ladder:
        if "budget of" not in step.text:
            row = planner_of(moe(64)).row(CATALOGUE.find(step.gpu), step.count, as_said(step))
            assert row.counted_usd_per_hour <= 1.0


def test_the_first_step_is_the_cheapest_by_its_whole_price_with_all_on_gpus_before_about_alike():
    for gpus in ("T4:1", "L4:2", "L40S:1"):
        steps = plan(gpus, runtime=Runtime(n_ctx=4096), of=moe(32)).ladder
        prices = [step.in_use_usd_per_hour for step in steps]
        first = steps[0]
        assert first.in_use_usd_per_hour <= SIMILAR * min(prices)
        alike = [s for s in steps if s.in_use_usd_per_hour <= SIMILAR * min(prices)]
        assert first.leaves_on_host == all(step.leaves_on_host for step in alike)


def test_a_step_with_weights_on_the_host_says_what_it_costs_in_use_and_how_fast_it_is():
    steps = plan("T4:1", runtime=Runtime(n_ctx=4096), of=moe()).ladder
    step = next(step for step in steps if step.leaves_on_host)

    assert step.in_use_usd_per_hour > step.usd_per_hour
    assert step.tokens_per_s is not None
    assert f"${step.in_use_usd_per_hour:.2f}/h in use" in _step_line(step)
    assert "tokens/s" in _step_line(step)


def test_with_a_load_the_month_decides_and_the_reason_says_so():
    load = Load(100_000)
    by_hour, by_month = (
        make_plan(model(), Runtime(n_ctx=8192), Constraints(load=each), CATALOGUE)
        for each in (None, load)
    )
    months = {
        row.gpu.name: found.cost.month.usd.best
        for row, found in zip(by_month.gpus, by_month.economics, strict=True)
        if found is not None and found.cost.month is not None
    }
    chosen = by_month.require_choice()

    assert by_hour.require_choice().row.gpu.name == "T4"
    assert months[chosen.row.gpu.name] == min(months.values()) < months["T4"]
    assert "a month is the least for that load" in chosen.reason
    assert by_month.cheaper == ()


def test_searching_for_the_cheapest_with_a_load_finds_the_cheapest_month():
    goal = Goal(objective=Objective.COST)
    constraints = Constraints(load=Load(100_000), goal=goal)
    own = own_option("Q4_K_M", model().size_bytes, model().n_params, planner_of(model()))
    runtime = Runtime(n_ctx=8192)
    found = optimized((own,), runtime, constraints, CATALOGUE)
    plain = make_plan(model(), runtime, Constraints(load=Load(100_000)), CATALOGUE)

    assert found is not None
    assert found.pick is not None
    assert found.pick.gpu.name == plain.require_choice().row.gpu.name
    assert "a month with that load" in found.sentence


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"override_tensor": ("foo=CPU",)}, "-ot 'foo=CPU' matches no tensor"),
        ({"n_cpu_moe": 5}, "-ncmoe/-cmoe has no effect"),
        ({"draft_model": "x.gguf"}, "Speculation is not modelled"),
    ],
)
def test_settings_without_effect_are_remarked(settings, said):
    runtime = Runtime(n_ctx=4096, **settings)

    assert any(text.startswith(said) for text in setting_warnings(model().shape, runtime))
    assert setting_warnings(model().shape, Runtime(n_ctx=4096)) == ()
    taken = Runtime(n_ctx=4096, override_tensor=("ffn_up=CPU",))
    assert setting_warnings(model().shape, taken) == ()


def test_an_objection_to_one_card_does_not_hide_what_several_would_hold():
    big = model(**{**SEVEN_B, "n_layer": 120})
    runtime = Runtime(n_ctx=16384, cache_type_k="bf16", cache_type_v="bf16")
    found = plan("T4", runtime=runtime, of=big)
    step = next(step for step in found.ladder if step.kind is StepKind.CACHE_TYPE)

    assert [row.count for row in found.gpus] == [1]
    assert step.count > 1
    q8 = runtime.with_(cache_type_k="q8_0", cache_type_v="q8_0")
    assert plan(f"T4:{step.count}", runtime=q8, of=big).choice is not None


def test_a_context_below_a_batch_is_offered_when_nothing_longer_fits():
    runtime = Runtime(n_ctx=8192, n_ubatch=2048)
    big = model(**{**SEVEN_B, "n_layer": 140})
    found = plan("T4:1", runtime=runtime, of=big)
    step = next(step for step in found.ladder if step.kind is StepKind.CONTEXT)

    assert step.n_ctx < runtime.n_ubatch
    assert plan("T4:1", runtime=runtime.with_(n_ctx=step.n_ctx), of=big).choice is not None


def test_only_batches_of_few_tokens_need_other_buffers_on_older_cards():
    def compute(gpu: str, **settings: object) -> int:
        runtime = Runtime(n_ctx=16384, cache_type_k="q8_0", cache_type_v="q8_0", **settings)
        row = planner(**SEVEN_B).row(CATALOGUE.find(gpu), 1, runtime)
        assert row.estimate is not None
        return row.estimate.devices[0].compute_bytes

    assert compute("T4") == compute("A10") == compute("L4") == compute("B200")
    few = {"n_ubatch": 2, "n_parallel": 1}
    assert compute("T4", **few) == compute("A100-80GB", **few)
    assert compute("T4", **few) > compute("L4", **few) == compute("H100", **few)


@pytest.mark.parametrize("name", ["H100!", "h100!", "A100", "A10G", "B200+"])
def test_modal_is_asked_for_the_name_that_was_given(name):
    gpu = CATALOGUE.find(name)
    wanted = next(n for n in gpu.modal_names if n.casefold() == name.casefold())

    assert plan(name).require_choice().modal_gpu == (wanted,)
    assert plan(f"{name}:2").require_choice().modal_gpu == (f"{wanted}:2",)
    assert plan(name).require_choice().row.gpu.name == gpu.name


def test_active_parameters_count_experts_by_the_share_that_is_used():
    found = moe()

    assert found.is_moe
    experts = sum(
        t.shape[0] * t.shape[1] * t.shape[2]
        for name, t in found.header.tensors.items()
        if "_exps." in name
    )
    assert found.n_params - found.n_active_params == experts * 6 // 8


def test_a_small_change_that_reaches_a_cheaper_gpu_is_offered():
    found = plan(of=model(**{**SEVEN_B, "n_layer": 140}), runtime=Runtime(n_ctx=2048))
    chosen = found.require_choice()

    assert found.cheaper
    assert all(step.usd_per_hour < chosen.row.usd_per_hour for step in found.cheaper)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"split_mode": "row"}, "row"),
        ({"split_mode": "tensor"}, "tensor"),
        ({"flash_attn": "off", "cache_type_v": "q8_0"}, "flash attention"),
    ],
)
def test_settings_that_llama_cpp_refuses_are_refused_before_anything_is_planned(settings, word):
    with pytest.raises(RefusedSettings) as caught:
        plan(runtime=Runtime(n_ctx=4096, **settings))

    assert word in caught.value.message
    assert caught.value.hint


def test_a_quantised_cache_must_divide_the_heads():
    odd = model("f16", n_layer=2, n_embd=320, n_vocab=512, n_merges=10)

    with pytest.raises(RefusedSettings) as caught:
        check_settings(odd.shape, Runtime(cache_type_k="q8_0"))

    assert "80" in caught.value.message


def test_slots_of_their_own_divide_the_context_and_the_plan_says_so():
    found = plan(runtime=Runtime(n_ctx=8192, n_parallel=4))

    assert any("2048 tokens per slot" in text for text in found.warnings)
    assert not plan().warnings


def test_flags_repeat_only_what_differs_from_the_defaults_of_llama_server():
    runtime = Runtime(
        n_ctx=4096, n_parallel=2, kv_unified=True, cache_type_k="q8_0", cache_type_v="q8_0",
        n_ubatch=256, swa_full=True, n_cpu_moe=0, flash_attn="on", load_mode="none",
    )  # fmt: skip

    assert plan(runtime=runtime).require_choice().engine_args == (
        *("-c", "4096", "-np", "2", "-kvu", "-ngl", "all", "-ctk", "q8_0", "-ctv", "q8_0"),
        *("-fa", "on", "-ub", "256", "--load-mode", "none", "--swa-full", "-fit", "off"),
    )


def test_the_name_rule_is_shown_beside_what_the_header_says():
    found = plan()

    assert found.rule is None or found.rule.gpu
    assert found.detected.name


def test_only_the_overhead_is_an_estimate_for_a_model_with_a_graph():
    row = plan().require_choice().row

    assert row.estimate is not None
    terms = row.estimate.devices[0].terms
    assert {term.basis for term in terms[:-1]} == {Basis.EXACT}
    assert terms[-1].basis is Basis.ESTIMATED


def test_rows_are_chosen_by_price_then_count_then_bandwidth():
    runtime = Runtime(n_ctx=4096)
    rows = planner().rows(runtime, Allowed.by(Constraints(), CATALOGUE))

    assert choose(rows) is not None
    assert choose(row for row in rows if not row.fits) is None
