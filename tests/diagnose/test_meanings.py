"""Words that mean something else elsewhere, and lines of a log that nobody said."""

from __future__ import annotations

import pytest

from ggufctl.core.diagnosis import LogReport, diagnose_chunks

OTHER_MEANING = (
    ("hub-not-found", "main.go:9:12: pattern dist: no matching files found"),
    ("hub-not-found", "npm ERR! 404 Not Found - GET https://registry.npmjs.org/foo"),
    ("hub-not-found", "error: preference not found"),
    (
        "download-denied",
        "HTTPError: 401 Client Error for url: https://api.x.ai/v1/chat/completions",
    ),
    ("hub-token", "JWT token has expired"),
    ("hub-token", "error: invalid token"),
    ("oom-killed", "OOMKilled false\nExitCode 132"),
    ("oom-killed", '"State": {"OOMKilled": false, "Dead": false, "ExitCode": 137}'),
    ("quant-type-unknown", "--draft has been removed, use --spec-draft-n-max instead"),
    ("compiler-version", "instance of 'std::filesystem::__cxx11::filesystem_error'"),
    ("package-conflict", "error: flash attention is incompatible with logit softcapping"),
    ("not-schedulable", "error: checksum didn't match for file x.bin"),
    ("modal-deserialization", "ERROR: Could not deserialize key data."),
    ("threads-limit", "BlockingIOError: [Errno 11] Resource temporarily unavailable"),
    ("address-not-here", "httpx.ConnectError: [Errno 99] Cannot assign requested address"),
    ("connection-refused", "error: server refused our key"),
    ("backend-missing", "[ERROR] Plugin not found: foo"),
    ("config-file-invalid", "Received request with invalid JSON: Expected ',' at position 150"),
    ("config-file-invalid", "SyntaxError: Unexpected token < in JSON at position 0"),
    ("decode-failed", "UnicodeDecodeError: 'utf-8' codec can't decode byte 0x80 in position 0"),
    ("argument-unknown", "cl : Command line warning D9002 : ignoring unknown option '-O3'"),
    (
        "argument-value",
        "RuntimeError: Expected all tensors to be on the same device, but found two",
    ),
    ("build-out-of-memory", "g++: internal compiler error: Segmentation fault signal terminated"),
    (
        "command-not-found",
        "The term 'OLLAMA_HOST=0.0.0.0' is not recognized as the name of a cmdlet",
    ),
    (
        "endpoint-unknown",
        "Unexpected endpoint or method. (OPTIONS /v1/models). Returning 200 anyway",
    ),
    ("disk-full", "curl: (23) Failed writing body"),
    ("disk-full", "curl: (23) Failure writing output to destination, passed 1369 returned 0"),
    ("network-broken", "bash: line 1: echo: write error: Broken pipe"),
    ("network-broken", "bash: -c: line 1: unexpected EOF while looking for matching `\"'"),
    ("mount-failed", "/app/entry.sh: line 3: MODEL_PATH: unbound variable"),
    ("unknown-architecture", "JSON schema error at #: unrecognized type objekt"),
    ("command-not-found", "docker: unknown command: docker compose"),
    ("command-not-found", "bash: line 1: nvidia-smi: command not found\n[exit code: 127]"),
    ("download-denied", "HTTP/1.1 401 Unauthorized\nServer: llama.cpp"),
    ("hub-not-found", "HTTP/1.1 404 Not Found\nServer: llama.cpp"),
    (
        "hub-not-found",
        'HTTP/1.1 404 Not Found\n\n{"error":{"message":"File Not Found",'
        '"type":"not_found_error","code":404}}',
    ),
    ("template-refuses", "Object is not callable: null at row 203, column 40"),
)
"""What a log is not about, and a log with its words."""

STATUS = (
    ("illegal-instruction", "    Exit Code:    132"),
    ("illegal-instruction", '"ExitCode": 132,'),
    ("aborted", "ExitCode 134"),
    ("segfault", "exitCode: 139"),
    ("killed", "OOMKilled false\nExitCode 137"),
    ("killed", "ExitCode 137\nOOMKilled false"),
    ("oom-killed", '"OOMKilled": true, "ExitCode": 137'),
    ("oom-killed", "OOMKilled false\noom-kill:constraint=CONSTRAINT_NONE\nExitCode 137"),
    ("exit-code", "exit_code=143"),
)

_FRAME = '  File "/x/llama_cpp/llama_cpp.py", line 77, in _load_shared_library\n'
_RAISE = "    raise RuntimeError(f\"Failed to load shared library '{_lib_path}': {e}\")\n"


def report_of(log: str) -> LogReport:
    *_, report = diagnose_chunks([f"{log}\n".encode()])
    assert isinstance(report, LogReport)
    return report


def causes(log: str) -> list[str]:
    return [found.id for found in report_of(log).diagnoses]


@pytest.mark.parametrize(("id", "log"), OTHER_MEANING, ids=lambda value: value[:30])
def test_a_word_of_another_program_names_no_cause_that_it_does_not_mean(id, log):
    assert id not in causes(log)


@pytest.mark.parametrize(("id", "log"), STATUS, ids=lambda value: value[:30])
def test_how_a_process_ended_is_read_from_a_dump_of_its_status(id, log):
    assert causes(log)[:1] == [id]


def test_source_that_a_traceback_quotes_is_no_message():
    assert causes(_FRAME + _RAISE) == []

    (found,) = report_of(
        f"{_FRAME}{_RAISE}RuntimeError: Failed to load shared library '/x/libllama.so': gone"
    ).diagnoses

    assert found.id == "shared-library-missing"
    assert "/x/libllama.so" in found.cause
    assert "_lib_path" not in str(found)


@pytest.mark.parametrize(
    "quoted",
    [
        '│ ❱  77 │   │   raise RuntimeError("CUDA error: out of memory")   │',
        '---> 77         raise RuntimeError("CUDA error: out of memory")',
    ],
)
def test_source_that_other_tracebacks_quote_is_no_message(quoted):
    assert causes(quoted) == []


def test_what_follows_a_frame_without_source_is_a_message():
    assert causes(f"{_FRAME}ModuleNotFoundError: No module named 'foo'") == ["module-missing"]


def test_a_writer_that_fails_at_once_has_no_folder_and_one_that_fails_later_a_full_disk():
    failed = "llama_model_quantize: failed to quantize: basic_ios::clear: iostream error"
    tensor = "[   1/  20] output_norm.weight - [ 576, 1, 1, 1], type = f32, size = 0.002 MiB\n"

    assert causes(failed) == ["output-not-written"]
    assert causes(tensor + failed) == ["disk-full"]


@pytest.mark.parametrize(
    ("id", "error"),
    [
        ("converter-mismatch", "NameError: name 'ModelBase' is not defined"),
        ("converter-mismatch", "AttributeError: type object 'MODEL_ARCH' has no attribute 'X'"),
        ("module-missing", "ModuleNotFoundError: No module named 'torch'"),
        ("conversion-failed", "KeyError: 'num_hidden_layers'"),
        ("conversion-failed", "AttributeError: 'NoneType' object has no attribute 'get'"),
    ],
)
def test_the_end_of_a_conversion_says_whether_script_or_model_is_at_fault(id, error):
    frame = '  File "/x/llama.cpp/convert_hf_to_gguf.py", line 20, in main\n    x = y.z\n'

    assert causes(frame + error)[:1] == [id]


@pytest.mark.parametrize("status", [200, 404])
def test_an_endpoint_that_is_there_or_that_monitors_ask_for_is_no_failure(status):
    assert causes(f"srv  log_server_r: done request: GET /metrics 10.0.0.1 {status}") == []
    assert causes("srv  log_server_r: done request: GET /slots 10.0.0.1 501") == []
    assert causes("srv  log_server_r: done request: POST /v1/embeddings 10.0.0.1 501") == [
        "endpoint-off"
    ]
