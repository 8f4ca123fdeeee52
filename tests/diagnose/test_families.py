"""Sentences that stand in no row of the table: what kind of failure their words tell of, and which
of them is the reason where there are several.
"""

from __future__ import annotations

import pytest

from ggufctl.core.diagnosis import LogReport, diagnose_chunks, diagnose_lines
from ggufctl.core.logtext import read_log
from ggufctl.core.signatures import SIGNATURES, Severity
from ggufctl.core.signatures.families import (
    QUOTING,
    family_of,
    is_told_as_error,
    path_in,
    speaker_of,
)

KNOWN = {signature.id for signature in SIGNATURES}
UP = "main: model loaded\nmain: server is listening on http://x:8080 - starting the main loop\n"


def report_of(log: str) -> LogReport:
    *_, report = diagnose_chunks([log.encode()])
    assert isinstance(report, LogReport)
    return report


def causes(log: str) -> list[str]:
    return [found.id for found in report_of(log).diagnoses]


@pytest.mark.parametrize(
    ("id", "why"),
    [
        ("file-missing", "open /data/frob.db: No such file or directory"),
        ("file-missing", "cannot find /opt/frob/frob.toml"),
        ("not-supported", "frobnication is not supported on this card"),
        ("hub-not-found", "failed to get the frob from Hugging Face: 404"),
        ("download-denied", "HEAD of the frob failed with status 403"),
        ("draft-failed", "speculative frobbing requires a draft of the same vocabulary"),
        ("argument-value", "frob must be between 0 and 7"),
        ("network-broken", "connection to the frob was lost"),
        ("connection-refused", "frob refused the connection"),
        ("start-timeout", "frob did not start: timed out"),
        ("hub-rate-limit", "GET failed (429): <!DOCTYPE html>"),
        ("download-denied", "frob answered with status code 403"),
        ("hub-not-found", "frob answered with HTTP 404"),
        ("certificate", "the certificate of frob is not trusted"),
        ("module-missing", "'Frob' object has no attribute 'tune'"),
        ("backend-missing", "failed to load the frob backend"),
        ("file-truncated", "the frob file is truncated"),
        ("config-file-invalid", "frob.yaml: yaml: syntax is wrong"),
        ("cuda-error", "GPU frob failed"),
        ("decode-failed", "failed to compute the frob"),
        ("illegal-instruction", "your CPU does not meet the minimal requirements: no AVX"),
        ("conversion-unsupported", "Quant method is not yet supported: 'frob'"),
        ("context-exceeded", "could not find a kv cache slot"),
        ("version-mismatch", "frob 0.2 is too old, minimum required is 0.9"),
        ("command-not-found", "frob does not appear to be installed"),
        ("hub-not-found", "frob was not found in the Ollama registry"),
        ("download-denied", "make sure it exists and you are authorized to push to it"),
        ("connection-refused", "could not connect to: http://frob:8080/v1"),
        ("server-busy", "could not find an available sequence"),
        ("argument-value", "frob cannot be run with the --nofrob option"),
        ("docker-no-gpu-runtime", "Device frob.com/gpu=all does not have a CDI configuration"),
        ("conversion-unsupported", "failed to quantize model. This frob may not be supported"),
        ("ollama-cloud", "frob:120b-cloud requires sign in"),
    ],
)
def test_words_say_of_what_kind_a_failure_is(id: str, why: str):
    assert family_of(why) == id
    assert id in KNOWN


def test_words_that_say_nothing_have_no_kind():
    assert family_of("the moon is full") is None


def test_what_is_said_of_a_model_or_of_a_request_is_taken_for_that():
    assert family_of("frobs must be even", is_loading=True) == "key-missing"
    assert family_of("frobs must be even", is_request=True) == "request-invalid"
    assert family_of("frobs must be even") == "argument-value"


def test_every_row_that_quotes_is_in_the_table():
    assert QUOTING <= KNOWN


def test_the_cause_of_a_kind_quotes_the_sentence_and_is_surer_than_a_mere_quote():
    (kind,) = report_of("error: open /data/frob.db: no luck, the file is missing\n").diagnoses
    (quote,) = report_of("error: the moon is full\n").diagnoses

    assert kind.id == "file-missing"
    assert "the file is missing" in kind.cause
    assert "/data/frob.db" in kind.cause
    assert kind.confidence > quote.confidence > 0.2


def test_the_fix_names_the_program_that_speaks():
    (found,) = report_of(
        'time=2025-04-25T15:57:29Z level=ERROR source=server.go:421 msg="the moon is full"\n'
    ).diagnoses

    assert any("Ollama" in text for text in found.fix)
    assert speaker_of("huggingface_hub.errors.FrobError: x") == "the Hub's client"
    assert speaker_of("x") == ""


def test_a_path_is_found_in_a_sentence():
    assert path_in("cannot read '/a b/c.gguf' now") == "/a b/c.gguf"
    assert path_in("open C:\\models\\x.gguf: gone") == "C:\\models\\x.gguf"
    assert path_in("see https://example.org/x") == ""


@pytest.mark.parametrize(
    ("line", "is_error"),
    [
        ("fatal: the moon is full", True),
        ("thread 'main' panicked at x.rs:1:1:", True),
        ("java.lang.FrobException: no", True),
        ("failed to tune the frob", False),
    ],
)
def test_some_lines_call_what_they_say_an_error(line: str, is_error: bool):
    assert is_told_as_error(line) == is_error


def test_the_first_error_is_told_and_not_what_came_of_it():
    log = (
        "panic: the graph of layer 3 is bent\n"
        'time=2025-04-25T15:57:30Z level=ERROR source=server.go:421 msg="llama runner terminated" '
        'error="exit status 2"\nError: llama runner process has terminated: exit status 2\n'
    )

    assert causes(log)[0] == "told-by-itself"
    assert "bent" in report_of(log).diagnoses[0].cause


def test_the_last_of_a_chain_of_causes_is_the_root():
    log = (
        "Error: frob could not be tuned\n    at frob.js:1\n- Caused By: Error: Channel Error\n"
        "- Caused By: Error: the moon is full\n"
    )

    assert "moon" in report_of(log).diagnoses[0].cause


def test_a_cause_of_the_table_at_the_end_of_a_chain_is_the_root():
    log = (
        "Error: frob\n- Caused By: Error: Channel Error\n"
        "- Caused By: Error: The model has crashed without additional information.\n"
    )

    assert causes(log) == ["ollama-runner-died"]


def test_a_crash_is_explained_by_the_error_before_it():
    log = "error: the moon is full\nSegmentation fault (core dumped)\n"

    assert causes(log) == ["told-by-itself"]
    assert causes("Segmentation fault (core dumped)\nerror: the moon is full\n") == ["segfault"]


def test_an_engine_that_only_complains_is_told_if_it_then_ends():
    line = "llama_frob: the tuning of layer 3 does not match\n"

    assert causes(line) == []
    assert causes(line + UP) == []
    assert causes(line + "llama-server exited with code 1\n") == ["told-by-itself"]


def test_an_error_of_a_server_that_is_up_counts_only_if_it_ends():
    line = "53.26.801.941 E slot update: the frob of slot 3 is bent\n"

    assert causes(UP + line) == []
    assert causes(UP + line + "Aborted (core dumped)\n")[0] == "told-by-itself"


def test_what_a_program_goes_on_after_is_not_told():
    assert causes("failed to tune the frob, falling back to another\n") == []
    assert causes("0.00.351.018 W frob: failed to tune it\n") == []


def test_levels_of_llama_cpp_and_of_kubernetes_are_read():
    assert causes("0.00.351.018 E frob: the moon is full\n") == ["told-by-itself"]
    assert causes("E0610 12:00:00.000001       1 frob.go:12] the moon is full\n") == [
        "told-by-itself"
    ]
    assert causes("0.00.351.018 I frob: the moon is full\n") == []


def test_the_line_after_a_panic_of_rust_says_why():
    log = "thread 'main' panicked at src/main.rs:10:5:\nthe moon is an error\n"

    assert "moon" in report_of(log).diagnoses[0].cause


def test_a_warning_does_not_come_before_an_error():
    log = (
        "0.00.360.389 W frob: unknown model architecture: 'x'\n"
        "0.00.360.390 E CUDA error: an illegal memory access was encountered\n"
    )

    assert causes(log)[0] == "illegal-memory-access"


def test_a_command_buffer_that_fails_beyond_the_working_set_ran_out_of_memory():
    over = (
        "ggml_metal_add_buffer: warning: current allocated size is greater than the recommended "
        "max working set size\n"
    )
    failed = "ggml_metal_graph_compute: command buffer 0 failed with status 5\n"

    assert causes(over + failed) == ["oom-metal"]
    assert causes(failed) == ["metal-failed"]
    assert causes(over) == []


SPEED = (
    "slot print_timing: id  0 | task {n} | eval time = 512.10 ms / 10 tokens (0.51 ms per token, "
    "{n}.10 tokens per second)\n"
)


def test_facts_of_lines_that_are_only_counted_are_those_of_the_last():
    log = UP + "".join(SPEED.format(n=n) for n in range(1000, 2000))

    assert report_of(log).facts.tokens_per_second == 1999.10
    assert report_of(log + SPEED.format(n=20)).facts.tokens_per_second == 20.10


def test_lines_are_understood_alike_whether_others_of_their_shape_were_read_or_not():
    samples = [s.sample for s in SIGNATURES if s.severity is Severity.FATAL]
    log = "".join(
        f"2026-01-02T03:04:{n:02}Z {line} #{n}\n"
        for n in range(6)
        for sample in samples
        for line in sample.splitlines()
    ).encode()
    *_, read = diagnose_lines(read_log([log]))
    *_, counted = diagnose_chunks([log])
    assert isinstance(read, LogReport)
    assert isinstance(counted, LogReport)

    assert [(d.id, d.cause, d.evidence) for d in counted.diagnoses] == [
        (d.id, d.cause, d.evidence) for d in read.diagnoses
    ]
    assert counted.n_lines == read.n_lines
