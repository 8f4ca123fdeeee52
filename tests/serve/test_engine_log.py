"""Logs of the real engine, recorded by tests/record_logs.py, and what is read out of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ggufctl
import serving
from ggufctl.core.engine_log import (
    HOST,
    Buffer,
    EngineLog,
    FailureKind,
    Phase,
    compare,
    exit_failure,
    hide_keys,
)

LOGS = Path(__file__).parent / "logs"
FAILURES = {
    "bad_value": (FailureKind.SETTINGS, "q9_9"),
    "empty": (FailureKind.BAD_FILE, "empty"),
    "lfs_pointer": (FailureKind.BAD_FILE, "git-lfs"),
    "missing_key": (FailureKind.UNKNOWN_MODEL, "llama.embedding_length"),
    "missing_shard": (FailureKind.BAD_FILE, "split-00002-of-00002.gguf"),
    "missing_tensor": (FailureKind.UNKNOWN_MODEL, "blk.1.ffn_up.weight"),
    "newer_version": (FailureKind.BAD_FILE, "version 99"),
    "no_file": (FailureKind.BAD_FILE, "No such file"),
    "oom_compute": (FailureKind.OOM_COMPUTE, "compute buffer"),
    "oom_kv": (FailureKind.OOM_KV, "cache"),
    "oom_weights": (FailureKind.OOM_WEIGHTS, "weights on CPU"),
    "port_taken": (FailureKind.PORT, "127.0.0.1"),
    "quantized_v": (FailureKind.SETTINGS, "flash attention"),
    "second_shard": (FailureKind.BAD_FILE, "first shard"),
    "truncated": (FailureKind.BAD_FILE, "truncated"),
    "truncated_header": (FailureKind.BAD_FILE, "header"),
    "unknown_architecture": (FailureKind.UNKNOWN_MODEL, "marsupial"),
    "unknown_argument": (FailureKind.SETTINGS, "--frobnicate"),
    "web_page": (FailureKind.BAD_FILE, "web page"),
}
HEALTHY = ("healthy", "healthy_slots")


def recorded(name: str) -> tuple[EngineLog, list[Phase], int]:
    first, *lines = (LOGS / f"{name}.log").read_text().splitlines()
    log = EngineLog()
    phases = [phase for line in lines if (phase := log.feed(line)) is not None]
    return log, phases, int(first.removeprefix("exit code "))


REFUSED = "E alloc: allocating 20480.00 MiB on device 0: cudaMalloc failed: out of memory"


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        ("load_model: loading model", FailureKind.OOM_WEIGHTS),
        ("llama_context: constructing llama_context", FailureKind.OOM_KV),
        ("sched_reserve: reserving", FailureKind.OOM_COMPUTE),
        ("warming up the model", FailureKind.OOM_RUNTIME),
    ],
)
def test_what_a_gpu_refuses_is_told_by_the_phase_where_no_line_says_it(before, kind):
    log = EngineLog()
    log.feed(before)
    log.feed(REFUSED)

    assert log.failed(1).kind is kind
    assert log.failed(1).line == REFUSED


def test_what_a_gpu_refuses_is_no_failure_where_the_engine_goes_on():
    log = EngineLog()
    for line in (REFUSED, "retrying without pipeline parallelism", "init: model loaded"):
        log.feed(line)

    assert log.reason is None
    assert not log.is_explained


def test_every_recorded_log_is_checked():
    assert {path.stem for path in LOGS.glob("*.log")} == {*FAILURES, *HEALTHY}


@pytest.mark.parametrize("name", sorted(FAILURES))
def test_a_recorded_failure_is_explained_by_its_cause(name):
    kind, words = FAILURES[name]

    log, _, code = recorded(name)

    failure = log.failed(code)
    assert code != 0
    assert failure.kind is kind
    assert words in failure.text
    assert failure.line


@pytest.mark.parametrize("name", sorted(FAILURES))
def test_a_recorded_failure_is_known_before_the_process_ends(name):
    log, phases, _ = recorded(name)

    assert log.failure is not None
    assert Phase.HEALTH not in phases


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_start_goes_through_every_phase_in_order(name):
    log, phases, _ = recorded(name)

    assert log.failure is None
    assert log.cause is None
    assert phases == [Phase.WEIGHTS, Phase.CACHE, Phase.GRAPH, Phase.WARM_UP, Phase.HEALTH]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("healthy", {"n_ctx": 512, "n_parallel": 4, "kv_unified": True}),
        (
            "healthy_slots",
            {
                "n_ctx": 2048,
                "n_parallel": 2,
                "kv_unified": False,
                "cache_type_k": "q8_0",
                "cache_type_v": "q8_0",
                "flash_attn": "on",
            },
        ),
    ],
)
def test_recorded_buffers_are_as_planned_within_a_hundredth(name, settings):
    log, _, _ = recorded(name)
    model = ggufctl.read_model(str(serving.model_path()))

    rows = compare(ggufctl.estimate(model, ggufctl.Runtime(**settings), gpus=()), log.buffers)

    assert {row.term for row in rows} == {"weights", "KV cache", "compute", "outputs"}
    assert all(row.device == HOST and row.is_as_planned for row in rows)
    total = sum(row.planned_bytes for row in rows)
    assert abs(sum(row.difference_bytes for row in rows)) <= total // 100


def test_the_build_and_the_settings_are_read():
    log, _, _ = recorded("healthy_slots")

    assert log.build.startswith("b1")
    assert log.settings == {"n_ctx": 2048, "n_ctx_seq": 1024, "n_seq_max": 2, "n_ubatch": 512}
    assert log.flash_attn is True
    assert any("CPU" in device for device in log.devices)


def test_a_buffer_the_plan_lacks_is_shown_and_is_not_as_planned():
    model = ggufctl.read_model(str(serving.model_path()))
    estimate = ggufctl.estimate(model, ggufctl.Runtime(n_ctx=512), gpus=())

    rows = compare(estimate, [Buffer("CUDA0", "compute", 1 << 30)])

    (unplanned,) = [row for row in rows if row.device == "CUDA0"]
    assert unplanned.planned_bytes == 0
    assert not unplanned.is_as_planned


def test_weights_mapped_beside_a_gpu_may_be_a_range_of_the_file():
    model = ggufctl.read_model(str(serving.model_path()))
    estimate = ggufctl.estimate(model, ggufctl.Runtime(n_ctx=512, n_gpu_layers=5), gpus=("L4",))
    (device,) = estimate.devices
    buffers = [
        Buffer("CUDA0", "weights", device.weights_bytes),
        Buffer("CPU_Mapped", "weights", device.weights_bytes + estimate.host.weights_bytes),
    ]

    rows = {(row.device, row.term): row for row in compare(estimate, buffers)}

    assert rows["CUDA0", "weights"].is_as_planned
    assert rows[HOST, "weights"].is_as_planned
    assert rows[HOST, "weights"].note
    assert not rows["CUDA0", "compute"].is_as_planned


def test_weights_repacked_for_the_cpu_are_in_the_range_and_said():
    model = ggufctl.read_model(str(serving.model_path()))
    estimate = ggufctl.estimate(model, ggufctl.Runtime(n_ctx=512), gpus=())
    n_bytes = estimate.host.weights_bytes
    buffers = [
        Buffer("CPU_Mapped", "weights", n_bytes),
        Buffer("CPU_REPACK", "weights", n_bytes * 9 // 10),
    ]

    (row,) = [row for row in compare(estimate, buffers) if row.term == "weights"]

    assert row.is_as_planned
    assert "repacked" in row.note


def test_what_is_loaded_beside_a_model_is_counted_apart_from_it():
    log = EngineLog()
    for line in (
        "llama_model_loader: loaded meta data with 33 key-value pairs and 272 tensors",
        "load_tensors:        CUDA0 model buffer size =   100.00 MiB",
        "sched_reserve:      CUDA0 compute buffer size =    10.00 MiB",
        "llama_model_loader: loaded meta data with 33 key-value pairs and 99 tensors",
        "load_tensors:        CUDA0 model buffer size =    20.00 MiB",
        "sched_reserve:      CUDA0 compute buffer size =     2.00 MiB",
        "clip_ctx: CLIP using CUDA0 backend",
        "load_hparams: model size:         8.00 MiB",
        "reserve_compute_meta:      CUDA0 compute buffer size =     7.00 MiB",
        "reserve_compute_meta:        CPU compute buffer size =     0.50 MiB",
        # Once more without flash attention, in the place of the former.
        "reserve_compute_meta:      CUDA0 compute buffer size =     9.00 MiB",
        "clip_ctx: CLIP using CUDA0 backend",
        "load_hparams: model size:         8.00 MiB",
        "reserve_compute_meta:      CUDA0 compute buffer size =     3.00 MiB",
    ):
        log.feed(line)

    found = [(b.where, b.term, b.n_bytes >> 20) for b in log.buffers]
    assert found == [
        ("CUDA0", "weights", 100),
        ("CUDA0", "compute", 10),
        ("CUDA0", "draft model", 20),
        ("CUDA0", "draft model", 2),
        ("CUDA0", "projector", 8),
        ("CUDA0", "projector", 9),
        ("host", "projector", 0),
        ("CUDA0", "projector", 3),
    ]


def test_a_context_of_nextn_blocks_is_told_from_its_model():
    log = EngineLog()

    for line in (
        "load_tensors:        CUDA0 model buffer size =   100.00 MiB",
        "llama_context:  CUDA_Host  output buffer size =     1.00 MiB",
        "sched_reserve:      CUDA0 compute buffer size =    10.00 MiB",
        "common_speculative_init_result: creating MTP draft context against the target model 'm'",
        "llama_context:  CUDA_Host  output buffer size =     2.00 MiB",
        "llama_kv_cache:      CUDA0 KV buffer size =     4.00 MiB",
        "sched_reserve:      CUDA0 compute buffer size =     5.00 MiB",
        # Once more with samplers; what comes later may be the model's own.
        "sched_reserve:      CUDA0 compute buffer size =     6.00 MiB",
        "sched_reserve:      CUDA0 compute buffer size =    12.00 MiB",
    ):
        log.feed(line)

    assert [(b.where, b.term, b.n_bytes >> 20) for b in log.buffers] == [
        ("CUDA0", "weights", 100),
        ("host", "outputs", 1),
        ("CUDA0", "compute", 10),
        ("host", "draft context", 2),
        ("CUDA0", "draft context", 4),
        ("CUDA0", "draft context", 6),
    ]


def test_offloaded_layers_are_read_without_the_prefix_of_a_line():
    log = EngineLog()

    log.feed("load_tensors: offloaded 29/33 layers to GPU")

    assert log.offloaded == (29, 33)


def test_a_retry_without_pipeline_parallelism_is_no_failure():
    log = EngineLog()

    log.feed("ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 12")
    log.feed("llama_init_from_model: failed to initialize: failed to allocate compute pp buffers")
    log.feed("sched_reserve: compute buffer allocation failed, retrying without pipeline")
    log.feed("sched_reserve: retrying without pipeline parallelism")

    assert log.cause is None
    assert log.failure is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [(137, FailureKind.OOM_HOST), (-9, FailureKind.OOM_HOST), (-11, FailureKind.CRASH)],
)
def test_an_exit_code_alone_says_something(code, kind):
    assert exit_failure(code).kind is kind


def test_the_tail_of_a_key_is_hidden():
    lines = (LOGS / "healthy.log").read_text().splitlines()
    (shown,) = [line for line in lines if "api_keys" in line]

    assert "6789" in shown
    assert "6789" not in hide_keys(shown)


@given(st.text(max_size=300))
def test_any_line_can_be_read(line):
    log = EngineLog()

    log.feed(line)

    assert isinstance(log.failed(1).text, str)


def test_a_long_line_costs_no_more_than_many_short_ones_of_the_same_length():
    def seconds(lines: list[str]) -> float:
        log = EngineLog()
        started = time.process_time()
        for line in lines:
            log.feed(line)
        return time.process_time() - started

    short = min(seconds(["slot: " + "x" * 58] * 640) for _ in range(3))
    long = min(seconds(["slot: " + "x" * 4090] * 10) for _ in range(3))

    assert long < 5 * short
