"""Whole logs: the root before its consequences, one cause once, nothing blamed that was "
"survived."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ggufctl.core.diagnosis import Diagnoser, Diagnosis, LogReport, diagnose_chunks
from ggufctl.core.logtext import LogLine
from ggufctl.core.signatures import SIGNATURES, Basis

LOGS = Path(__file__).parent.parent / "logs"
RECORDED = json.loads((LOGS / "index.json").read_text())
HEADER = """\
ggml_cuda_init: found 1 CUDA devices (Total VRAM: 22502 MiB):
  Device 0: NVIDIA A10, compute capability 8.6, VMM: yes, VRAM: 22502 MiB
build_info: b11434-abcdef0
llama_model_loader: loaded meta data with 24 key-value pairs and 254 tensors from /m/x-Q4_K_M.gguf \
(version GGUF V3 (latest))
llama_model_load_from_file_impl: using device CUDA0 (NVIDIA A10) (0000:00:1e.0) - 22502 MiB free
load_tensors: offloaded 33/33 layers to GPU
load_tensors:        CUDA0 model buffer size =  4403.49 MiB
llama_context: n_seq_max     = 1
llama_context: n_ctx         = 262144
llama_context: n_ubatch      = 512
"""
KV = """\
ggml_backend_cuda_buffer_type_alloc_buffer: allocating 32768.00 MiB on device 0: cudaMalloc \
failed: out of memory
alloc_tensor_range: failed to allocate CUDA0 buffer of size 34359738368
llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache
"""
COMPUTE = """\
ggml_backend_cuda_buffer_type_alloc_buffer: allocating 8560.00 MiB on device 0: cudaMalloc failed: \
out of memory
ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 8975810560
"""
UP = "srv  llama_server: model loaded\nsrv  update_slots: all slots are idle\n"
GAVE_UP = "srv  llama_server: exiting due to model loading error\n"


def report_of(text: str | bytes) -> LogReport:
    data = text.encode() if isinstance(text, str) else text
    *_, report = diagnose_chunks([data])
    assert isinstance(report, LogReport)
    return report


def causes(text: str | bytes) -> list[str]:
    return [found.id for found in report_of(text).diagnoses]


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_what_a_real_engine_printed_is_understood(name):
    found = causes((LOGS / f"{name}.log").read_bytes())

    assert found[:1] == ([RECORDED[name]["cause"]] if RECORDED[name]["cause"] else [])


@pytest.mark.parametrize("name", sorted(RECORDED))
@pytest.mark.parametrize(
    "prefix",
    [
        "llama-1  | ",
        "2026-01-02T03:04:05.123456789Z stdout F ",
        "Jan 02 03:04:05 host llama-server[812]: ",
        "[pod/llama-0/llama] ",
        "2026-01-02T03:04:05Z ta-01ABCDEFGHIJ ",
        "\x1b[32m",
        "2026-01-02 03:04:05,123 INFO ",
        "[2026-01-02 03:04:05] ",
    ],
)
def test_what_a_collector_puts_in_front_changes_nothing(name, prefix):
    text = (LOGS / f"{name}.log").read_text()
    wrapped = "".join(f"{prefix}{line}\n" for line in text.splitlines())

    assert causes(wrapped) == causes(text)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_a_log_in_json_is_the_same_log(name):
    text = (LOGS / f"{name}.log").read_text()
    lines = (json.dumps({"log": line + "\n", "stream": "stderr"}) for line in text.splitlines())

    assert causes("\n".join(lines)) == causes(text)


def test_a_cache_that_did_not_fit_is_told_with_what_would_have():
    (found,) = report_of(HEADER + KV + GAVE_UP).diagnoses

    assert found.id == "oom-kv"
    assert found.cause.startswith("KV cache of 32.0 GiB at -c 262144 did not fit on CUDA0.")
    assert found.fix[0].startswith("-c 140288 would fit; so would -c 262144 with -fa on -ctk q8_0")
    assert [evidence.line for evidence in found.evidence] == [11, 13]


def test_a_compute_buffer_that_fitted_after_a_retry_is_not_blamed():
    retry = (
        "sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism\n"
    )
    report = report_of(HEADER + COMPUTE + retry + UP)

    assert report.diagnoses == ()
    assert "pipeline-fallback" in [found.id for found in report.remarks]


def test_a_retry_that_fails_as_well_is_blamed():
    retry = (
        "sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism\n"
    )

    assert causes(HEADER + COMPUTE + retry + COMPUTE + GAVE_UP) == ["oom-compute"]


def test_errors_of_the_dry_run_are_survived_when_the_model_loads():
    report = report_of(HEADER + KV + "failed to fit params to free device memory: x\n" + UP)

    assert report.diagnoses == ()
    assert {"fit-failed", "oom-kv"} <= {found.id for found in report.remarks}


def test_a_crash_after_the_model_was_loaded_is_blamed():
    log = HEADER + UP + "CUDA error: out of memory\n  current device: 0, in function alloc\n"

    assert causes(log + "llama-server exited with code 134\n") == ["oom-runtime"]


def test_a_failure_stays_one_when_the_platform_starts_the_engine_again():
    assert causes(HEADER + UP + "Last State: Terminated  Reason: OOMKilled\n" + HEADER + UP) == [
        "oom-killed"
    ]


def test_the_root_comes_before_what_follows_from_it():
    log = (
        "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected\n"
        "ggml_aligned_malloc: insufficient memory (attempted to allocate 140000.00 MB)\n"
        "llama_model_load: error loading model: unable to allocate CPU buffer\n"
        + GAVE_UP
        + "llama-server exited with code 1\nWarning BackOff kubelet Back-off restarting failed "
        "container\n"
    )

    assert causes(log)[0] == "gpu-not-found"


def test_a_cause_is_told_once_however_often_it_is_seen():
    (found,) = report_of((HEADER + KV + GAVE_UP) * 50).diagnoses

    assert found.id == "oom-kv"
    assert found.n_lines == 50
    assert len(found.evidence) <= 5


def test_a_server_that_fell_back_to_the_cpu_is_not_healthy():
    init = "ggml_cuda_init: failed to initialize CUDA: system has unsupported display driver\n"

    assert causes(init + UP) == ["driver-mismatch"]


def test_a_cache_that_many_requests_filled_is_a_context_too_small():
    retry = (
        "update_slots : failed to find free space in the KV cache, retrying with smaller batch\n"
    )
    end = "update_slots : failed to decode the batch, n_batch = 1, ret = 1\n"

    assert causes(UP + 3 * retry + end) == ["context-exceeded"]


def test_streams_are_told_apart():
    bad = "llama_model_load: error loading model: unknown model architecture: 'qwen9'\n"
    log = f"[pod/a/llama] {bad}" + "".join(f"[pod/b/llama] {line}\n" for line in UP.splitlines())

    assert causes(log) == ["unknown-architecture"]


def test_others_that_wait_for_the_server_are_not_blamed():
    log = (
        "proxy-1  | dial tcp 127.0.0.1:8080: connect: connection refused\n"
        "llama-1  | srv  llama_server: model loaded\n"
    )

    assert causes(log) == []


def test_a_kill_by_a_failed_probe_is_no_lack_of_memory():
    log = (
        "Warning  Unhealthy  kubelet  Startup probe failed: HTTP probe failed with statuscode: "
        "503\n"
        "llama exited with code 137\n"
    )

    assert causes(log) == ["probe-failed"]


def test_copies_of_the_scheduler_are_told_from_a_large_model():
    log = (
        HEADER
        + "sched_reserve: pipeline parallelism enabled\n"
        + COMPUTE.replace("8560.00", "856000.00").replace("8975810560", "897581056000")
    )

    assert causes(log) == ["oom-scheduler-copies"]


def test_the_smallest_card_is_named():
    log = HEADER + (
        "llama_model_load_from_file_impl: using device CUDA1 (NVIDIA T400) (0000:00:2e.0) - 1800 "
        "MiB free\n" + COMPUTE.replace("device 0", "device 1").replace("CUDA0", "CUDA1")
    )
    (found,) = report_of(log).diagnoses

    assert "CUDA1 has far less memory" in found.fix[1]


@pytest.mark.parametrize(
    ("id", "log"),
    [
        (
            "oom-weights",
            'time=2026-03-03T21:36:19Z level=INFO msg="alloc_tensor_range: failed to allocate '
            'CUDA0 buffer of size 11244037120"\n'
            'time=2026-03-03T21:36:20Z level=INFO msg="llama_model_load: error loading model: '
            'unable to allocate CUDA0 buffer"\n'
            "Error: llama runner process has terminated: exit status 2\n",
        ),
        (
            "oom-compute",
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 826.00 MiB on device 0: "
            "cudaMalloc failed: out of memory\n"
            "ggml_gallocr_reserve_n: failed to allocate ROCm0 buffer of size 866125824\n"
            "llama_new_context_with_model: failed to allocate compute buffers\n"
            "llama_init_from_gpt_params: error: failed to create context with model 'x'\n",
        ),
        (
            "hub-gated",
            "Traceback (most recent call last):\n"
            "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: x\n"
            "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1)\n"
            "Cannot access gated repo for url https://huggingface.co/meta/x.\n"
            "Runner failed with exception: GatedRepoError()\n",
        ),
        (
            "file-missing",
            "ValueError: Model path does not exist: /models/x.gguf\n",
        ),
        (
            "shared-library-missing",
            "OSError: libcudart.so.12: cannot open shared object file: No such file or directory\n"
            "RuntimeError: Failed to load shared library '/x/libllama.so': libcudart.so.12: cannot "
            "open shared object file\n",
        ),
        (
            "docker-no-gpu-runtime",
            "docker: Error response from daemon: failed to create task for container: failed to "
            "create shim task: OCI runtime create failed: runc create failed: unable to start "
            "container process: error during container init: nvidia-container-cli: initialization "
            "error: load library failed: libnvidia-ml.so.1: cannot open shared object file\n",
        ),
        (
            "cuda-compiler-missing",
            "CMake Error at CMakeLists.txt: Could not find nvcc, please set CUDAToolkit_ROOT.\n"
            "*** CMake configuration failed\nERROR: Failed building wheel for llama-cpp-python\n"
            "Image build for im-abc failed.\n",
        ),
    ],
    ids=lambda value: value if "\n" not in value else "",
)
def test_logs_of_other_programs_are_understood(id, log):
    assert causes(log)[0] == id


HEALTHY = {
    "ollama": (
        'time=2025-04-25T15:57:29Z level=INFO source=routes.go:1298 msg="Listening on '
        '127.0.0.1:11434 (version 0.6.6)"\n'
        "llama_context: n_ctx_pre_seq (8192) > n_ctx_train (2048) -- possible training context "
        "overflow\n"
        'time=2025-04-25T15:57:29Z level=WARN source=ggml.go:152 msg="key not found" '
        "key=general.alignment default=32\n"
        'time=2025-04-25T15:57:30Z level=INFO source=server.go:619 msg="waiting for llama runner '
        'to start responding"\n'
        'time=2025-04-25T15:57:30Z level=INFO source=server.go:624 msg="llama runner started in '
        '1.29 seconds"\n'
        '[GIN] 2025/04/25 - 15:57:31 | 200 |  1.957762501s | 172.22.0.2 | POST "/api/embed"\n'
    ),
    "old-llama-server": (
        "llm_load_tensors: offloaded 33/33 layers to GPU\n"
        "llm_load_tensors:      CUDA0 buffer size =  4155.99 MiB\n"
        "llama_new_context_with_model: n_ctx      = 8192\n"
        "llama_kv_cache_init:      CUDA0 KV buffer size =  1024.00 MiB\n"
        "ggml_cuda_host_malloc: failed to allocate 512.00 MiB of pinned memory: out of memory\n"
        "main: server is listening on http://127.0.0.1:8080 - starting the main loop\n"
        "srv  log_server_r: request: GET /health 127.0.0.1 200\n"
    ),
    "compose": (
        "llama-1  | srv  llama_server: model loaded\n"
        "web-1    | GET /error-page 200\n"
        "llama-1  | slot print_timing: id 0 | prompt eval time = 10.00 ms / 5 tokens (2.00 ms per "
        "token, 500.00 tokens per second)\n"
    ),
    "kubernetes": (
        "Warning  Unhealthy  kubelet  Readiness probe failed: HTTP probe failed with statuscode: "
        "503\n"
        "Normal  Pulled  kubelet  Successfully pulled image\n"
        "srv  llama_server: model loaded\n"
    ),
    "llama-cpp-python": (
        "llama_model_loader: loaded meta data with 24 key-value pairs and 291 tensors from /m.gguf "
        "(version GGUF V3 (latest))\n"
        "INFO:     Uvicorn running on http://localhost:8000 (Press CTRL+C to quit)\n"
        "llama_print_timings:        eval time =     100.00 ms /    10 runs   (   10.00 ms per "
        "token,   100.00 tokens per second)\n"
    ),
    "download": (
        "common_download: retrying after 2 seconds...\n"
        "urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool: Read timed out.\n"
        "srv    load_model: loading model '/m.gguf'\nsrv  llama_server: model loaded\n"
    ),
    "metadata": (
        "llama_model_loader: - kv  20: tokenizer.chat_template str = {{ "
        "raise_exception('Conversation "
        "roles must alternate') }} CUDA error: out of memory\n"
        "chat_template: {{ raise_exception('Conversation roles must alternate user/assistant') }}\n"
        "load_backend: failed to find ggml_backend_init in /x/libggml-hip.so\n"
        "slot print_timing: id 3 | task 0 | n_decoded = 1081, tg =  12.93 t/s, tg_3s =  12.57 t/s\n"
    ),
    "empty": "",
    "prose": "An error is never fatal to those who fail, abort, retry or ignore it.\n",
}


@pytest.mark.parametrize("name", sorted(HEALTHY))
def test_nothing_is_blamed_in_a_healthy_log(name):
    assert causes(HEALTHY[name]) == []


def test_a_healthy_log_says_what_it_shows():
    facts = report_of((LOGS / "healthy.log").read_bytes()).facts

    assert facts.architecture == "llama"
    assert facts.quant == "Q4_1"
    assert facts.build.startswith("b")
    assert facts.n_ctx == 2048
    assert facts.on("host", "weights") > 90 << 20
    assert facts.on("host", "KV cache") > 0
    assert facts.tokens_per_second > 0


def test_an_old_build_is_read_in_todays_words():
    facts = report_of(HEALTHY["old-llama-server"]).facts

    assert (facts.n_ctx, facts.offloaded, facts.n_layers) == (8192, 33, 33)
    assert facts.on("CUDA0", "weights") == round(4155.99 * (1 << 20))


def test_causes_appear_while_the_log_is_being_written():
    def writing():
        yield (HEADER + KV).encode()
        yield b"more\n"
        raise AssertionError("read on before the cause was told")

    first = next(diagnose_chunks(writing()))

    assert isinstance(first, Diagnosis)
    assert first.id == "oom-kv"


def test_no_secret_of_a_log_is_repeated():
    secret = "hf_" + "a" * 34
    log = f"huggingface_hub.errors.GatedRepoError: 401 Client Error for token {secret}\n"
    (found,) = report_of(log).diagnoses

    assert secret not in repr(found)


def test_what_a_log_says_cannot_drive_a_terminal():
    log = "error: invalid argument: --x\u202e\x07\x9b2J\n"
    (found,) = report_of(log).diagnoses

    assert found.cause.isprintable()
    assert all(evidence.text.isprintable() for evidence in found.evidence)


@pytest.mark.parametrize(
    "signature", [s for s in SIGNATURES if s.basis is Basis.REAL], ids=lambda s: s.id
)
def test_a_sample_that_is_called_real_stands_in_a_recorded_log(signature):
    recorded = "\n".join((LOGS / f"{name}.log").read_text() for name in RECORDED)

    assert signature.sample in recorded


BAD = "llama_model_load: error loading model: unknown model architecture: 'qwen9'"


def test_lines_that_repeat_are_counted_and_the_first_are_shown():
    log = "".join(f"2026-01-02T03:04:{n % 60:02}Z {BAD} #{n}\n" for n in range(5000))

    (found,) = report_of(log).diagnoses

    assert found.n_lines == 5000
    assert [evidence.line for evidence in found.evidence] == [1, 2, 3, 4]


def test_numbers_that_matter_are_told_apart_among_lines_that_repeat():
    log = "job ended, exit code 3\n" * 50 + "job ended, exit code 137\n"

    assert causes(log) == ["oom-killed"]


def test_pods_whose_names_differ_in_a_number_are_told_apart():
    log = "".join(f"[pod/llama-1/llama] {BAD}\n" for _ in range(20))
    log += "".join(f"[pod/llama-1/llama] {line}\n" for line in UP.splitlines())
    log += "".join(f"[pod/llama-1/llama] {BAD}\n" for _ in range(20))

    assert causes(log + f"[pod/llama-2/llama] {BAD}\n") == ["unknown-architecture"]


def test_what_was_survived_once_and_comes_again_is_blamed():
    again = "".join(f"{KV}" for _ in range(20))
    log = HEADER + again + "llama_server: model loaded\n"

    assert causes(log) == []
    assert causes(log + "srv    load_model: loading model '/m.gguf'\n" + again)[:1] == ["oom-kv"]


def test_a_root_comes_before_a_gpu_that_is_not_used():
    log = f"warning: no usable GPU found, --gpu-layers option will be ignored\n{BAD}\n"

    assert causes(log)[0] == "unknown-architecture"


def test_an_error_that_nobody_knows_is_told_in_its_own_words():
    (found,) = report_of("2026-01-02T03:04:05Z ERROR the frobnicator is out of tune\n").diagnoses

    assert found.cause.endswith("of its own: the frobnicator is out of tune.")
    assert found.confidence < 0.5


def test_a_warning_that_nobody_knows_is_not_told():
    assert causes("2026-01-02T03:04:05Z WARN failed to tune the frobnicator\n") == []


@pytest.mark.parametrize(
    "line",
    [
        'INFO:     10.0.0.1:50312 - "GET /favicon.ico HTTP/1.1" 404 Not Found',
        'INFO:httpx:HTTP Request: HEAD https://huggingface.co/o/r "HTTP/1.1 404 Not Found"',
        "srv  log_server_r: done request: POST /v1/chat/completions 10.0.0.1 401",
    ],
)
def test_requests_that_were_refused_are_no_failed_downloads(line):
    assert causes(f"{line}\n") == []


UNSUPPORTED = "  Device 0: AMD Radeon RX 6600, gfx1032 (0x1032), VMM: no, Wave Size: 32\n"
CRASH = "Segmentation fault (core dumped)\n"


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (UNSUPPORTED + CRASH, ["gpu-arch-unsupported"]),
        (UNSUPPORTED + UP + CRASH, ["segfault"]),
        (UNSUPPORTED + UP, []),
        ("  Device 0: AMD Radeon RX 6800 XT, gfx1030 (0x1030), VMM: no\n" + CRASH, ["segfault"]),
    ],
)
def test_a_crash_right_after_a_gpu_without_code_for_it_is_due_to_that_gpu(log, cause):
    assert causes(log) == cause


def test_an_adapter_is_told_where_it_is_loaded_as_the_model_and_not_where_it_is_applied():
    loaded = "llama_model_loader: loaded meta data with 9 key-value pairs and 64 tensors from /m/a"
    kind = "llama_model_loader: - kv   1:  general.type str              = adapter\n"
    failed = (
        "llama_model_load: error loading model: error loading model hyperparameters: key not found "
        "in model: qwen2.context_length\n"
    )

    assert causes(f"{loaded}.gguf (version GGUF V3 (latest))\n{kind}{failed}") == [
        "adapter-as-model"
    ]
    assert causes(f"{loaded}.gguf (version GGUF V3 (latest))\n{failed}") == ["key-missing"]
    assert causes(f"{loaded}.gguf (version GGUF V3 (latest))\n{kind}{UP}") == []


def test_a_draft_that_is_measured_before_its_target_is_there_is_no_cause():
    trial = (
        "llama_init_from_model: failed to initialize the context: dflash requires ctx_other to be "
        "set (this warning is normal during memory fitting)\n"
    )

    assert causes(trial + UP) == []
    assert causes(trial + HEADER + KV)[0] == "oom-kv"


def test_what_the_kernel_killed_did_not_merely_take_too_long():
    slow = "Error: timed out waiting for llama runner to start\n"

    assert causes(slow) == ["ollama-load-timeout"]
    assert causes(
        slow + "ollama.service: A process of this unit has been killed by the OOM killer."
    )[:1] == ["oom-killed"]


@pytest.mark.parametrize(
    ("log", "word"),
    [
        ("CUDA error: no kernel image is available for execution on the device\n", "sm_120"),
        ("  Device 0: AMD Instinct MI50, gfx906\nROCm error: invalid device function\n", "HSA_"),
        ("FileNotFoundError: Could not find module 'C:\\a\\ggml.dll' (or one of its", "Visual C++"),
        ("server: error while loading shared libraries: libgomp.so.1: cannot", "libgomp1"),
        ("CUDA error 802: system not yet initialized\n", "nvidia-fabricmanager"),
    ],
)
def test_the_first_fix_is_one_for_the_system_that_the_log_is_of(log, word):
    assert word in report_of(log).diagnoses[0].fix[0]


def test_a_fit_that_gave_up_says_what_was_needed_and_what_is_free():
    (remark,) = report_of(
        "common_params_fit_impl: projected to use 24840 MiB of device memory vs. 22341 MiB of free "
        "device memory\n"
        "common_fit_params: failed to fit params to free device memory: n_gpu_layers already set "
        "by user to 99, abort\n"
    ).remarks

    assert "24840 MiB needed, 22341 MiB free" in remark.cause


def test_what_a_debugger_adds_to_an_abort_is_no_failure():
    noise = "ptrace: Operation not permitted.\nNo stack.\nCould not attach to process.\n"

    assert causes(noise) == []


@pytest.mark.parametrize(
    ("first", "cause"),
    [
        ("GGML_ASSERT(n <= tokens.size()) failed\n", "failed-check"),
        ("server: server.cpp:9: void f(): Assertion `status == 0' failed.\n", "failed-check"),
        ("", "gpu-hang"),
    ],
)
def test_what_a_driver_says_of_an_engine_that_stopped_itself_is_not_the_root(first, cause):
    driver = "Memory critical error by agent node-0 on address 0x7f1c0000. Reason: Memory in use.\n"

    assert causes(f"{first}{driver}Aborted (core dumped)\n")[:1] == [cause]


def test_the_same_log_can_be_reported_twice():
    diagnoser = Diagnoser()
    for number in (1, 2):
        for stream in ("a", "b"):
            diagnoser.feed(LogLine(number, stream, BAD))

    assert diagnoser.report() == diagnoser.report()
