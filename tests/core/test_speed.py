from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ggufs import header, llama
from tests.truth.recorded import headers

from ggufctl.catalog import load_catalogue, load_prices
from ggufctl.core.cold_start import predict_cold_start
from ggufctl.core.deployment import startup_limits
from ggufctl.core.economics import economics_of, priced
from ggufctl.core.header import parse_header
from ggufctl.core.memory import ModelShape
from ggufctl.core.model import File, Model
from ggufctl.core.money import Load, cost_of, month_bill
from ggufctl.core.plan import make_plan
from ggufctl.core.planner import Constraints, Planner
from ggufctl.core.ranges import Range
from ggufctl.core.runtime import Runtime
from ggufctl.core.speed import Calibration, Speed, predict_speed, traffic
from ggufctl.errors import UsageError

CATALOGUE = load_catalogue()
SEVEN_B = {"n_layer": 32, "n_embd": 4096, "n_vocab": 32000, "n_merges": 10}
GB = 10**9

contexts = st.integers(256, 131072)
slots = st.integers(1, 64)
gpus = st.sampled_from([gpu for gpu in CATALOGUE if gpu.cuda_bytes is not None])
cache_types = st.sampled_from(["f16", "q8_0", "q4_0"])


@cache
def model(type_: str = "q4_K", **changes: int) -> Model:
    raw, size = header(
        *llama(
            type_=type_,
            llama__context_length=131072,
            llama__attention__head_count=32,
            llama__attention__head_count_kv=8,
            **{**SEVEN_B, **changes},
        )
    )
    parsed = parse_header(raw, size)
    files = (File("model.gguf", size),)
    return Model("model", "local", files, parsed, ModelShape(parsed), "Q4_K_M")


@cache
def real(name: str) -> ModelShape:
    return ModelShape(headers()[name])


def speed(gpu: str = "L4", n_ctx: int = 8192, n_parallel: int = 1, count: int = 1) -> Speed:
    runtime = Runtime(n_ctx=n_ctx, n_parallel=n_parallel)
    return predict_speed(model().shape, None, CATALOGUE.find(gpu), count, runtime)


def test_a_range_is_ordered_and_says_so():
    with pytest.raises(ValueError, match="does not hold"):
        Range(2, 1, 3)


@given(st.floats(0.01, 1e6), st.floats(1, 10), st.floats(1, 10), st.floats(0, 100))
def test_ranges_stay_ordered_through_arithmetic(low, up, further, factor):
    found = Range(low, low * up, low * up * further)
    for made in (
        found + found,
        found * found,
        found.scale(factor),
        found.invert(),
        found.map(lambda x: 1 / (1 + x)),
        found.clamp(1, 2),
    ):
        assert made.low <= made.best <= made.high


@settings(max_examples=60, deadline=None)
@given(gpus, contexts, slots, cache_types, st.integers(1, 8), st.integers(0, 32))
def test_all_figures_are_ordered_positive_ranges(gpu, n_ctx, n_parallel, kv, count, n_cpu_moe):
    runtime = Runtime(
        n_ctx=n_ctx, n_parallel=n_parallel, cache_type_k=kv, cache_type_v=kv, n_cpu_moe=n_cpu_moe
    )
    found = predict_speed(real("Qwen3-30B-A3B-Q4_K_M"), None, gpu, count, runtime)
    start = predict_cold_start(18 * GB, gpu, count)
    cost = cost_of(
        gpu.price(count),
        found,
        start,
        load_prices(),
        cores=4,
        memory_mib=16384,
        stored_bytes=18 * GB,
        scaledown_seconds=300,
        load=Load(n_ctx, 100, 100),
    )
    assert cost.month is not None
    for figure in (
        found.decode_tokens_per_s,
        found.aggregate_tokens_per_s,
        found.prefill_tokens_per_s,
        found.ttft_seconds(n_ctx),
        found.request_seconds(n_ctx, 100),
        start.seconds,
        start.billed_seconds,
        cost.usd_per_hour,
        cost.idle_window_usd,
        cost.cold_start_usd,
        cost.usd_per_million_tokens,
        cost.usd_per_million_tokens_all_slots,
        cost.month.usd,
        cost.month.up_hours,
    ):
        assert 0 < figure.low <= figure.best <= figure.high < float("inf")
    assert start.limit_seconds > start.billed_seconds.high


@settings(max_examples=60, deadline=None)
@given(gpus, contexts, contexts, slots)
def test_more_context_is_never_faster_and_never_takes_less_memory(gpu, a, b, n_parallel):
    less, more = sorted((a, b))
    shape = model().shape
    of = [Runtime(n_ctx=n, n_parallel=n_parallel, kv_unified=True) for n in (less, more)]
    fast, slow = (predict_speed(shape, None, gpu, 1, runtime) for runtime in of)
    planner = Planner(shape, CATALOGUE)
    small, large = (planner.row(gpu, 1, runtime, with_max_n_ctx=False) for runtime in of)

    assert slow.decode_tokens_per_s.best <= fast.decode_tokens_per_s.best
    assert slow.aggregate_tokens_per_s.best <= fast.aggregate_tokens_per_s.best
    assert small.used_bytes <= large.used_bytes


@settings(max_examples=60, deadline=None)
@given(
    gpus,
    st.floats(1, 10),
    st.floats(0.1, 1),
    st.floats(1, 10),
    contexts,
    slots,
    st.sampled_from(["Qwen3-30B-A3B-Q4_K_M", "Llama-3.2-1B-Q8_0", "Mamba-2.8B-F16"]),
)
def test_a_faster_gpu_is_never_predicted_slower(gpu, bandwidth, launch, flops, n_ctx, n, name):
    known = gpu.speed
    assert known is not None
    better = replace(
        known,
        eff_bw_gb_s=known.eff_bw_gb_s * bandwidth,
        us_per_layer=known.us_per_layer * launch,
        batch_us_per_layer=known.batch_us_per_layer * launch,
        prefill_us_per_layer=known.prefill_us_per_layer * launch,
        prefill_flops=known.prefill_flops * flops,
        batch_flops=known.batch_flops * flops,
    )
    runtime = Runtime(n_ctx=n_ctx, n_parallel=n)
    shape = real(name)
    slow = predict_speed(shape, None, gpu, 1, runtime)
    fast = predict_speed(shape, None, replace(gpu, speed=better), 1, runtime)
    for field in ("decode_tokens_per_s", "aggregate_tokens_per_s", "prefill_tokens_per_s"):
        assert getattr(fast, field).best >= getattr(slow, field).best * (1 - 1e-9)
    assert fast.ttft_seconds(1000).best <= slow.ttft_seconds(1000).best * (1 + 1e-9)


def test_a_token_reads_all_weights_but_the_embedding_it_gathers_from():
    shape = real("Llama-3.1-8B-Q4_K_M")
    tensors = shape.hp.tensors
    reads = traffic(shape, 1, Runtime(n_ctx=4096))
    everything = sum(info.n_bytes for info in tensors.values())

    assert reads.active_bytes == everything - tensors["token_embd.weight"].n_bytes


def test_a_tied_output_matrix_is_read_though_its_rows_are_gathered_too():
    shape = real("Llama-3.2-1B-Q8_0")
    reads = traffic(shape, 1, Runtime(n_ctx=4096))

    assert "output.weight" not in shape.hp.tensors
    assert reads.active_bytes == sum(info.n_bytes for info in shape.hp.tensors.values())


def test_of_experts_a_token_reads_those_it_uses():
    shape = real("Qwen3-30B-A3B-Q4_K_M")
    reads = traffic(shape, 1, Runtime(n_ctx=4096))

    assert reads.expert_share == 8 / 128
    assert reads.n_moe_layer == 48
    assert reads.active_bytes < 2.2 * GB < 17 * GB < reads.gpu_expert_bytes + reads.gpu_dense_bytes
    # Many tokens meet nearly all of them.
    assert reads.gpu_bytes(512) > 0.99 * (reads.gpu_dense_bytes + reads.gpu_expert_bytes)


def test_experts_on_the_host_cost_speed():
    shape = real("Qwen3-30B-A3B-Q4_K_M")
    gpu = CATALOGUE.find("L4")
    found = [
        predict_speed(shape, None, gpu, 1, Runtime(n_ctx=4096, n_parallel=1, n_cpu_moe=n))
        for n in (0, 12, 48)
    ]
    decode = [each.decode_tokens_per_s.best for each in found]
    prefill = [each.prefill_tokens_per_s.best for each in found]

    assert decode == sorted(decode, reverse=True)
    assert prefill == sorted(prefill, reverse=True)
    assert decode[2] < decode[0] / 1.5
    assert any("host" in text for text in found[2].basis)


def test_a_cache_on_the_host_costs_speed():
    shape, gpu = model().shape, CATALOGUE.find("L4")
    on_gpu, on_host = (
        predict_speed(shape, None, gpu, 1, Runtime(n_ctx=32768, no_kv_offload=away))
        for away in (False, True)
    )

    assert on_host.decode_tokens_per_s.best < on_gpu.decode_tokens_per_s.best


def test_a_prompt_moves_a_cache_on_the_host_or_attends_there():
    shape, gpu = real("Llama-3.1-8B-Q4_K_M"), CATALOGUE.find("L4")
    on_gpu, moved, on_host = (
        predict_speed(shape, None, gpu, 1, Runtime(n_ctx=32768, **setting)).ttft_seconds(8192).best
        for setting in (
            {"flash_attn": "off"},
            {"no_kv_offload": True},
            {"no_kv_offload": True, "flash_attn": "off"},
        )
    )

    assert on_gpu < moved < on_host / 2


@pytest.mark.parametrize("entry", ["ffn_.*=CPU", r"blk\.[0-9]\.=CPU", ".*=CPU"])
def test_weights_that_a_pattern_keeps_on_the_host_are_read_there(entry):
    shape, gpu = real("Llama-3.1-8B-Q4_K_M"), CATALOGUE.find("L4")
    plain = Runtime(n_ctx=8192)
    away = plain.with_(override_tensor=(entry,))

    # The first answer must not stand for the second.
    fast = predict_speed(shape, None, gpu, 1, plain)
    slow = predict_speed(shape, None, gpu, 1, away)
    back = predict_speed(shape, None, gpu, 1, plain)

    assert slow.decode_tokens_per_s.best < 0.6 * fast.decode_tokens_per_s.best
    assert back == fast
    assert traffic(shape, 1, away).host_bytes(1) > traffic(shape, 1, plain).host_bytes(1)
    # What is named for the GPU where it is anyway changes nothing.
    named = plain.with_(override_tensor=("ffn_.*=CUDA0",))
    assert traffic(shape, 1, named) == traffic(shape, 1, plain)


def test_more_gpus_are_no_faster_for_one_stream():
    one, two = speed("L40S"), speed("L40S", count=2)

    assert two.decode_tokens_per_s.best < one.decode_tokens_per_s.best


def test_busy_slots_share_the_reading_of_weights():
    one, eight = speed(), speed(n_parallel=8)

    assert one.aggregate_tokens_per_s == one.decode_tokens_per_s
    assert eight.aggregate_tokens_per_s.best > 4 * one.decode_tokens_per_s.best


def test_recurrent_models_do_not_slow_down_with_their_context():
    shape, gpu = real("Mamba-2.8B-F16"), CATALOGUE.find("L4")
    short, long = (
        predict_speed(shape, None, gpu, 1, Runtime(n_ctx=n, n_parallel=1)) for n in (512, 65536)
    )

    assert short.decode_tokens_per_s == long.decode_tokens_per_s


def test_a_users_own_figures_replace_the_ranges():
    own = Calibration(Range(1.0, 1.1, 1.15), None, "12 runs on this GPU")
    runtime = Runtime(n_ctx=8192, n_parallel=1)
    found = predict_speed(model().shape, None, CATALOGUE.find("L4"), 1, runtime, calibration=own)
    before = speed()

    assert found.decode_tokens_per_s.best == pytest.approx(1.1 * before.decode_tokens_per_s.best)
    width = found.decode_tokens_per_s.high / found.decode_tokens_per_s.low
    assert width < before.decode_tokens_per_s.high / before.decode_tokens_per_s.low
    assert any("12 runs" in text for text in found.basis)


def test_another_quant_is_scaled_by_its_weights():
    planner = Planner(model().shape, CATALOGUE)
    runtime = Runtime(n_ctx=4096, n_parallel=1)
    gpu = CATALOGUE.find("H100")
    row = planner.row(gpu, 1, runtime)
    assert row.estimate is not None
    device = row.estimate.devices[0]
    double = replace(device, weights=replace(device.weights, n_bytes=2 * device.weights_bytes))
    larger = replace(row.estimate, devices=(double,))
    small = predict_speed(model().shape, row, gpu, 1, runtime)
    large = predict_speed(model().shape, larger, gpu, 1, runtime)

    assert large.active_bytes > 1.9 * small.active_bytes
    assert large.decode_tokens_per_s.best < small.decode_tokens_per_s.best


def test_a_gpu_without_coefficients_is_told():
    gpu = replace(CATALOGUE.find("L4"), speed=None)
    with pytest.raises(UsageError, match="speed of L4"):
        predict_speed(model().shape, None, gpu, 1, Runtime(n_ctx=4096))
    with pytest.raises(UsageError, match="starts on L4"):
        predict_cold_start(GB, gpu)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000 * GB), gpus, st.integers(1, 8))
def test_a_start_is_never_given_up_before_the_documented_rule(n_bytes, gpu, count):
    start = predict_cold_start(n_bytes, gpu, count)
    startup, deadline = startup_limits(n_bytes, 0.0, start)

    assert startup >= min(max(300, 60 + 3 * n_bytes / GB), 3 * 3600)
    assert startup >= min(start.billed_seconds.high, 3 * 3600)
    assert deadline < startup
    assert (startup, deadline) >= startup_limits(n_bytes)


def test_a_start_from_a_snapshot_or_a_measured_volume_says_so():
    gpu = CATALOGUE.find("H100")
    plain = predict_cold_start(20 * GB, gpu)
    measured = predict_cold_start(20 * GB, gpu, volume_bytes_per_second=2e9)
    restored = predict_cold_start(20 * GB, gpu, snapshot=True)

    assert dict(measured.phases)["weights"] == Range.exactly(10.0)
    assert [name for name, _ in restored.phases] == ["queue", "image", "snapshot"]
    assert restored.seconds.best < plain.seconds.best
    assert all(": " in text and not text.endswith(": ") for text in plain.basis)


def bill(requests: float, **changes: int):
    gpu = CATALOGUE.find("L4")
    load = Load(requests, **changes)
    return month_bill(
        load, speed(n_parallel=4), Range(1, 1, 2), predict_cold_start(GB, gpu), 300, Range(0, 0, 1)
    )


@settings(max_examples=50, deadline=None)
@given(st.floats(0.1, 1e6), st.floats(0.1, 1e6))
def test_more_requests_never_cost_less(a, b):
    less, more = (bill(n) for n in sorted((a, b)))

    assert less.usd.low <= more.usd.low * 1.001
    assert less.up_hours.best <= more.up_hours.best * 1.001
    assert less.usd.high <= more.usd.high * 1.001


def test_the_bill_of_a_month_follows_the_load():
    rare, constant, heavy = bill(1), bill(5000), bill(1_000_000)

    # One request a day: one start, one answer and one idle window each.
    assert rare.cold_starts.best == pytest.approx(365.25 / 12, rel=0.01)
    assert rare.up_hours.best == pytest.approx(rare.cold_starts.best * 330 / 3600, rel=0.15)
    # One every 17 seconds: always up, hardly ever cold.
    assert constant.up_hours.best == pytest.approx(730.5, rel=0.01)
    assert constant.cold_starts.best < 1
    # More than one container can do.
    assert heavy.containers.best > 2
    assert heavy.up_hours.best > 2 * 730.5


def test_what_embeds_is_paid_for_what_it_reads_whatever_answers_a_load_names():
    reads = replace(speed(n_parallel=4), embeds=True)
    gpu = CATALOGUE.find("L4")
    prices = Range(1, 1, 2), predict_cold_start(GB, gpu), 300, Range(0, 0, 1)

    short, long = (month_bill(Load(5000, 1000, n), reads, *prices) for n in (0, 300))

    assert short == long
    assert short.load.output_tokens == 0
    n_read = 5000 * 1000 * 365.25 / 12
    assert short.usd_per_million_tokens.best == pytest.approx(short.usd.best / n_read * 1e6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-1.0,), "Requests per day"),
        ((float("nan"),), "Requests per day"),
        ((1.0, -1), "one prompt"),
        ((1.0, 1, 10**12), "one answer"),
    ],
)
def test_a_load_that_is_none_is_refused(values, message):
    with pytest.raises(UsageError, match=message):
        Load(*values)


def test_a_plan_has_speed_start_and_cost_of_what_fits():
    plan = make_plan(model(), Runtime(n_ctx=8192), Constraints(), CATALOGUE)
    with_load = priced(plan, Load(1000))

    for row, found in zip(plan.gpus, plan.economics, strict=True):
        assert (found is not None) == row.fits
        assert plan.economics_of(row) is found
    assert plan.choice is not None
    chosen = with_load.economics_of(plan.choice.row)
    assert chosen is not None
    assert chosen.cost.month is not None
    assert chosen.cost.prices_as_of == plan.choice.row.gpu.price_as_of
    assert chosen.speed.depth_tokens == 1150
    alone = economics_of(plan.model, plan.choice.row, plan.runtime, load_prices())
    assert alone == plan.economics_of(plan.choice.row)


def test_every_coefficient_names_its_source():
    folder = Path(__file__).parents[2] / "src" / "ggufctl" / "data"
    document = json.loads((folder / "speed.json").read_text())
    rows = [*document.values(), *document["cold_start"].values()]
    ranges = [row for row in rows if isinstance(row, dict) and "best" in row]

    assert len(ranges) > 10
    assert all(row["source"] for row in ranges)
    assert all(row["basis"] for row in document["gpus"])
