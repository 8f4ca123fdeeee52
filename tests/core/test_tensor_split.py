"""`-ts`: shares of the layers that several GPUs get, and what is made of them everywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.truth.recorded import headers, rows, shape

from ggufctl.catalog import load_catalogue
from ggufctl.core.closed_form import compute_terms
from ggufctl.core.compat import setting_warnings, settled
from ggufctl.core.estimate import Estimate
from ggufctl.core.ladder import StepKind
from ggufctl.core.memory import Extras, ModelShape, estimate_memory
from ggufctl.core.model import File, Model
from ggufctl.core.plan import Plan, engine_args, make_plan
from ggufctl.core.planner import Constraints, counts_under
from ggufctl.core.runtime import MAX_SHARES, Runtime
from ggufctl.core.speed import traffic
from ggufctl.errors import DoesNotFit, UsageError

CATALOGUE = load_catalogue()

KINDS = (
    "Llama-3.1-8B-Q4_K_M",  # dense, with factors that every GPU has a copy of
    "Qwen3-30B-A3B-Q4_K_M",  # experts
    "Gemma-3-12B-Q4_K_M",  # sliding windows, a tied output
    "gpt-oss-20b-MXFP4",  # both
    "DeepSeek-V2-Lite-Q4_K_M",  # latent attention
    "Qwen3.5-35B-A3B-Q4_K_M",  # recurrent blocks between others
    "LFM2-1.2B-Q8_0",
    "Mamba-2.8B-F16",
)

SETTINGS = (
    Runtime(n_ctx=8192),
    Runtime(n_ctx=4096, n_parallel=4, cache_type_k="q8_0", cache_type_v="q8_0"),
    Runtime(n_ctx=4096, n_gpu_layers=13),
    Runtime(n_ctx=4096, n_gpu_layers=9, no_kv_offload=True),
    Runtime(n_ctx=4096, n_cpu_moe=5, n_ubatch=256),
    Runtime(n_ctx=4096, no_kv_offload=True, flash_attn="off"),
    Runtime(n_ctx=4096, override_tensor="ffn_(up|gate).*=CPU"),
)

SHARES = st.lists(st.sampled_from((0.0, 0.02, 0.5, 1.0, 3.0, 40.0)), min_size=1, max_size=5)


def estimate(name: str, runtime: Runtime, n_gpus: int, **more: object) -> Estimate:
    ready = shape(name)
    return estimate_memory(ready, settled(ready, runtime), ("",) * n_gpus, **more)


def sums(found: Estimate) -> tuple[int, int]:
    devices = found.devices
    return (
        sum(d.weights_bytes for d in devices) + found.host.weights_bytes,
        sum(d.kv_cache_bytes + d.recurrent_bytes for d in devices)
        + found.host.kv_cache_bytes
        + found.host.recurrent_bytes,
    )


@pytest.mark.parametrize(
    ("given_as", "shares"),
    [
        ("3,1", (3.0, 1.0)),
        ("3/1", (3.0, 1.0)),
        ("3,/,1,", (3.0, 1.0)),
        (" 1e1, .5,+2.", (10.0, 0.5, 2.0)),
        ([3, 0.5], (3.0, 0.5)),
        (("3", 0), (3.0, 0.0)),
        ((Decimal("2.5"), Fraction(1, 2)), (2.5, 0.5)),
        (np.array([3, 1]), (3.0, 1.0)),
        (np.array([3, 1], dtype=np.float32), (3.0, 1.0)),
        ((np.int64(3), np.float16(0.5)), (3.0, 0.5)),
        (np.array([]), ()),
        ((n for n in (3, 1)), (3.0, 1.0)),
        (None, ()),
        ((), ()),
    ],
)
def test_numbers_are_divided_by_commas_or_slashes_as_llama_cpp_does(given_as, shares):
    assert Runtime(tensor_split=given_as).tensor_split == shares


@pytest.mark.parametrize(
    "given_as",
    [
        *("", ",3", "a,1", "3,,x", "-1,2", "nan", "inf,1", "1e40", "1e-40", "1_0", "3GB"),
        *(3, b"3,1", (True, 1), (3, None), (10**400, 1), (float("nan"),)),
        *({3, 1}, {3: 1}, (3j,), (Decimal("nan"),), (Decimal("sNaN"),), (Decimal("1e400"),)),
        *(np.array(3), np.array([[3], [1]]), np.array([True]), (np.complex64(3),)),
        *(np.array([3, -1]), np.array([np.nan]), np.array(["3"], dtype="S1")),
        "1," * (MAX_SHARES + 1),
    ],
)
def test_what_makes_no_shares_is_a_usage_error(given_as):
    with pytest.raises(UsageError, match=r"^-ts/--tensor-split takes "):
        Runtime(tensor_split=given_as)


@given(st.lists(st.floats(0, 1e30).filter(lambda x: not 0 < x < 1e-30), max_size=MAX_SHARES))
def test_the_engine_is_told_the_very_numbers(shares):
    runtime = Runtime(n_ctx=512, tensor_split=shares)
    args = engine_args(runtime)

    if shares:
        assert Runtime(n_ctx=512, tensor_split=args[args.index("-ts") + 1]) == runtime
    else:
        assert "-ts" not in args


def test_values_beyond_the_gpus_are_not_read_and_gpus_beyond_the_values_get_nothing():
    runtime = Runtime(tensor_split="3,1,2")

    assert runtime.shares(2) == (3.0, 1.0)
    assert runtime.shares(4) == (3.0, 1.0, 2.0, 0.0)
    assert runtime.shares(1) == runtime.shares(0) == ()
    assert runtime.n_shares == 3
    assert Runtime(tensor_split="0,2,0").n_shares == 2
    assert runtime.with_(split_mode="none").n_shares == 0


@pytest.mark.parametrize("ignored", ["0", "0,0,0", "0,0,5"])
def test_where_nothing_is_left_to_divide_by_llama_cpp_divides_by_itself(ignored):
    name, runtime = "Llama-3.1-8B-Q4_K_M", Runtime(n_ctx=4096)
    found = estimate(name, runtime.with_(tensor_split=ignored), 2)

    assert found.devices == estimate(name, runtime, 2).devices


@pytest.mark.parametrize("name", KINDS)
def test_equal_shares_are_no_shares_on_equal_gpus(name):
    for i, runtime in enumerate(SETTINGS):
        n = 2 + i % 3
        even = estimate(name, runtime, n)

        assert estimate(name, runtime.with_(tensor_split=(0.7,) * n), n) == even


@pytest.mark.parametrize("name", KINDS)
def test_one_gpu_ignores_them(name):
    for runtime in SETTINGS[:3]:
        shared = runtime.with_(tensor_split="0,1")
        alone = runtime.with_(split_mode="none")

        assert estimate(name, shared, 1) == estimate(name, runtime, 1)
        assert estimate(name, shared.with_(split_mode="none"), 3) == estimate(name, alone, 3)
        assert estimate(name, shared, 0) == estimate(name, runtime, 0)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.sampled_from(SETTINGS), SHARES, st.integers(2, 4))
def test_shares_move_weights_and_caches_and_never_change_their_sum(name, runtime, shares, n_gpus):
    even = sums(estimate(name, runtime, n_gpus))
    found = sums(estimate(name, runtime.with_(tensor_split=shares), n_gpus))
    # Each GPU with a block has a copy of the factors that positions are stretched by.
    factors = [t for t in shape(name).hp.tensors.values() if t.name.startswith("rope_")]
    copies = sum(-(-t.n_bytes // 128) * 128 for t in factors) * n_gpus

    assert found[1] == even[1]
    assert abs(found[0] - even[0]) <= copies


@pytest.mark.parametrize("name", KINDS)
def test_what_is_folded_or_stamped_is_what_the_whole_graph_asks_for(name):
    choose = random.Random(name)
    for i, runtime in enumerate(SETTINGS):
        for n_gpus in (2, 3 + i % 2):
            n_values = choose.randint(1, n_gpus + 1)
            shares = [choose.choice((0, 0.02, 0.3, 1, 4)) for _ in range(n_values)]
            uneven = runtime.with_(tensor_split=shares)
            found = estimate(name, uneven, n_gpus)

            assert found == estimate(name, uneven, n_gpus, fold=False), (shares, n_gpus)


def kinds_of_splits() -> Iterator[tuple[bool, bool, bool]]:
    for row in rows():
        if row.get("tensor_split", "-") != "-":
            yield row["n_gpu_layers"] >= 0, row["n_cpu_moe"] > 0, "no_kv_offload" in row


def test_uneven_runs_of_llama_cpp_are_recorded_which_all_estimates_are_held_against():
    seen = list(kinds_of_splits())

    assert len(seen) > 1000
    assert set(seen) >= {(True, False, True), (False, True, False), (False, False, False)}


def test_a_gpu_without_a_layer_holds_nothing_and_is_named():
    runtime = Runtime(n_ctx=4096, tensor_split="3,0,1")
    found = estimate("Qwen3-30B-A3B-Q4_K_M", runtime, 4)
    empty = [i for i, device in enumerate(found.devices) if not device.total_bytes]

    assert empty == [1, 3]
    assert found.warnings == ("-ts 3,0,1 leaves CUDA1 and CUDA3 of 4 GPUs without a layer.",)
    assert "has more values than 2 GPUs" in estimate("LFM2-1.2B-Q8_0", runtime, 2).warnings[0]


def test_the_formula_for_models_without_a_graph_leaves_an_empty_gpu_empty_too():
    runtime = Runtime(n_ctx=4096, tensor_split="1,0,1")
    known = shape("Llama-3.1-8B-Q4_K_M")
    ctx, layout = known.context(runtime)
    placement = known.placed(3, runtime, ctx).placement
    terms = compute_terms(known.hp, ctx, layout, placement, pipelined=True)

    assert [term.n_bytes > 0 for term in terms] == [True, False, True, True]


def test_shares_come_before_free_memory():
    runtime = Runtime(n_ctx=4096, tensor_split="3,1")
    name = "Llama-3.1-8B-Q4_K_M"
    shared = estimate(name, runtime, 2)

    assert estimate(name, runtime, 2, proportions=(1.0, 9.0)) == shared
    by_memory = estimate(name, runtime.with_(tensor_split=()), 2, proportions=(3.0, 1.0))
    assert by_memory.devices == shared.devices


def test_a_draft_is_divided_like_its_model():
    draft = ModelShape(headers()["Qwen3-0.6B-Q8_0"])
    extras = Extras(draft=draft)
    runtime = Runtime(n_ctx=4096, tensor_split="0,1")
    found = estimate("Qwen3-8B-Q4_K_M", runtime, 2, extras=extras)
    (none,), (some,) = (device.extras for device in found.devices)

    assert none.n_bytes == 0
    assert some.n_bytes > draft.hp.tensors["output_norm.weight"].n_bytes


def test_what_is_remembered_of_one_division_does_not_stand_for_another():
    name = "Llama-3.1-8B-Q4_K_M"
    plain = Runtime(n_ctx=4096)
    shared = plain.with_(tensor_split="1,0")
    before = estimate(name, plain, 2), traffic(shape(name), 2, plain)

    assert estimate(name, shared, 2) != before[0]
    assert traffic(shape(name), 2, shared).total_bytes < before[1].total_bytes  # no second copy
    assert (estimate(name, plain, 2), traffic(shape(name), 2, plain)) == before


def test_numbers_of_gpus_to_look_at_are_one_and_as_many_as_there_are_shares():
    runtime = Runtime(tensor_split="1,2,1")

    assert counts_under(runtime, (1, 2, 3, 4)) == (1, 3)
    assert counts_under(runtime, (2, 4)) == (2, 4)
    assert counts_under(Runtime(), (1, 2, 3, 4)) == (1, 2, 3, 4)
    assert counts_under(runtime.with_(split_mode="none"), (1, 2)) == (1, 2)


def plan(name: str, gpus: str, runtime: Runtime) -> Plan:
    header = headers()[name]
    files = (File(f"{name}.gguf", sum(t.n_bytes for t in header.tensors.values())),)
    model = Model(name, "local", files, header, shape(name))
    return make_plan(model, runtime, Constraints(gpus=gpus), CATALOGUE)


def test_a_plan_looks_at_one_card_and_at_as_many_as_there_are_shares():
    found = plan("Llama-3.1-70B-Q4_K_M", "L4", Runtime(n_ctx=4096, tensor_split="1,2,2"))
    choice = found.require_choice()
    by_gpu = [device.weights_bytes for device in choice.row.estimate.devices]

    assert [row.count for row in found.gpus] == [1, 3]
    assert choice.row.count == 3
    assert by_gpu[0] < 0.6 * by_gpu[1]
    assert "-ts" in choice.engine_args


def test_a_number_of_cards_that_is_asked_for_is_planned_as_llama_cpp_would_use_it():
    runtime = Runtime(n_ctx=4096, tensor_split="3,1")
    two = plan("Llama-3.1-70B-Q4_K_M", "L40S:2", runtime)
    four = plan("Llama-3.1-70B-Q4_K_M", "L40S:4", runtime)
    devices = [p.require_choice().row.estimate.devices for p in (two, four)]

    assert [d.weights_bytes for d in devices[1][:2]] == [d.weights_bytes for d in devices[0]]
    assert not any(d.weights_bytes + d.compute_bytes for d in devices[1][2:])
    assert four.warnings == ("-ts 3,1 leaves CUDA2 and CUDA3 of 4 GPUs without a layer.",)
    assert two.warnings == ()


def test_a_single_card_that_is_picked_says_that_it_ignores_them():
    runtime = Runtime(n_ctx=4096, tensor_split="3,1")
    found = plan("Llama-3.1-8B-Q4_K_M", "L4", runtime)

    assert found.require_choice().row.count == 1
    assert found.warnings == ("-ts 3,1 has no effect on one GPU.",)
    without = setting_warnings(shape("LFM2-1.2B-Q8_0"), runtime.with_(split_mode="none"))
    assert without == ("-ts 3,1 has no effect with -sm none.",)
    zeros = setting_warnings(shape("LFM2-1.2B-Q8_0"), Runtime(n_ctx=4096, tensor_split="0,0"))
    assert zeros == ("-ts 0,0 has no effect where all its values are 0.",)


def test_where_shares_are_what_keeps_it_from_fitting_that_is_offered():
    runtime = Runtime(n_ctx=32768, tensor_split="9,1")
    found = plan("Llama-3.1-70B-Q4_K_M", "L40S:2", runtime)
    (step,) = (step for step in found.ladder if step.kind is StepKind.TENSOR_SPLIT)
    even = plan("Llama-3.1-70B-Q4_K_M", "L40S:2", runtime.with_(tensor_split=step.changes[1]))

    with pytest.raises(DoesNotFit):
        found.require_choice()
    assert step.changes == ("-ts", "0")
    assert even.require_choice().row.used_bytes == step.used_bytes
    assert not any(step.kind is StepKind.TENSOR_SPLIT for step in even.ladder)
    assert not any(step.leaves_on_host for step in found.ladder)


@pytest.mark.parametrize(
    ("name", "gpus", "option"),
    [("Llama-3.1-70B-Q4_K_M", "A10:2", "-ngl"), ("Qwen3-30B-A3B-Q4_K_M", "L4:2", "--n-cpu-moe")],
)
def test_what_goes_to_the_host_does_not_make_room_for_an_empty_gpu(name, gpus, option):
    runtime = Runtime(n_ctx=1 << 18, n_ubatch=2048, tensor_split="1,0")
    (step,) = (step for step in plan(name, gpus, runtime).ladder if step.leaves_on_host)
    (even,) = (
        step
        for step in plan(name, gpus, runtime.with_(tensor_split=())).ladder
        if step.leaves_on_host
    )

    assert step.changes == ("-ts", "0", *even.changes)
    assert even.changes[0] == option
    assert step.text == f"without -ts, divided evenly, {even.text}"
    assert step.host_bytes == even.host_bytes


def test_what_goes_to_the_host_keeps_shares_that_serve_as_well():
    runtime = Runtime(n_ctx=32768, n_ubatch=2048, tensor_split="1,1")
    (step,) = (
        step
        for step in plan("Llama-3.1-70B-Q4_K_M", "A10:2", runtime).ladder
        if step.leaves_on_host
    )

    assert step.changes[0] == "-ngl"
