"""What is told of failures in words that stand in no row: few lines, builds, odd exceptions."""

from __future__ import annotations

import pytest

from ggufctl.core.diagnosis import LogReport, diagnose_chunks

TRACEBACK = (
    'Traceback (most recent call last):\n  File "/app/x.py", line 3, in <module>\n    go()\n'
)


def report_of(log: str) -> LogReport:
    *_, report = diagnose_chunks([log.encode()])
    assert isinstance(report, LogReport)
    return report


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("frobd: the flux was not aligned in time\n", "flux was not aligned"),
        ("starting frobd\nflux of layer 3 exceeds its window\n", "flux of layer 3"),
        ("11s  Normal  FailedFlux  pod/llama-0  (combined from similar events)\n", "FailedFlux"),
    ],
)
def test_a_few_lines_are_told_by_what_they_complain_of(log, words):
    assert words in report_of(log).diagnoses[0].evidence[0].text


@pytest.mark.parametrize(
    "log",
    [
        "the flux was not aligned\nflux aligned with success\n",
        "hint: the flux is not aligned\n",
        "WARNING: the flux is not aligned\n",
        "the flux is not aligned, falling back to straight lines\n",
        'level=INFO msg="flux is not aligned"\n',
        "the flux was not aligned\n" + "working\n" * 8,
        "the flux was not aligned\nmain: model loaded\nmain: server is listening on http://x:1\n",
    ],
)
def test_what_is_taken_back_or_goes_on_is_no_complaint(log):
    assert report_of(log).diagnoses == ()


def test_what_a_row_knows_is_told_by_it_and_not_by_the_last_complaint():
    log = "curl: (28) Operation timed out after 5000 milliseconds\nthe flux was not aligned\n"
    assert report_of(log).diagnoses[0].id == "network-broken"


@pytest.mark.parametrize("between", ["", "    ^^^^\n"])
def test_an_exception_is_known_by_its_traceback_whatever_it_is_called(between):
    [found] = report_of(f"{TRACEBACK}{between}frob.FluxMisaligned: the flux leans\n").diagnoses
    assert found.id == "python-exception"
    assert "the flux leans" in found.cause


def test_words_that_only_look_like_one_are_none_without_a_traceback():
    assert report_of("frob.Flux: the flux leans\n").diagnoses == ()


def test_a_build_that_stops_is_told_with_the_reason_that_stands_below():
    log = (
        "CMake Error at flux/CMakeLists.txt:24 (message):\n"
        "  Flux 3 or later is wanted by\n  the leaning backend.\n\n"
        "-- Configuring incomplete, errors occurred!\n"
    )
    [found] = report_of(log).diagnoses
    assert "Flux 3 or later is wanted by the leaning backend" in found.cause


def test_of_several_reasons_the_first_is_told():
    error = "CMake Error at a/CMakeLists.txt:{0} (message):\n  flux {0} leans\n\n"
    [found] = report_of(error.format(1) + "-- Looking on\n" + error.format(2)).diagnoses
    assert "flux 1 leans" in found.cause
    assert "flux 2" not in found.cause


def test_a_line_far_from_its_opener_is_no_reason():
    log = "CMake Error at a/CMakeLists.txt:1 (message):\n-- Found git\nflux leans, it seems\n"
    assert "leans" not in report_of(log).diagnoses[0].cause


def test_what_a_program_advises_below_its_error_is_the_first_fix():
    [found] = report_of("error: the flux leans\n\nhint: Align it with --align.\n").diagnoses
    assert found.fix[0] == "Align it with --align."


@pytest.mark.parametrize("between", ["working\n" * 3, ""])
def test_advice_that_stands_elsewhere_is_none(between):
    head = "" if between else "hint: Align it with --align.\n"
    tail = "hint: Align it with --align.\n" if between else ""
    [found] = report_of(f"{head}error: the flux leans\n{between}{tail}").diagnoses
    assert "Align it with --align." not in found.fix


def test_an_engine_that_serves_on_a_cpu_as_it_was_planned_to_is_not_blamed():
    log = (
        "warning: no usable GPU found, --gpu-layers option will be ignored\n"
        "main: model loaded\nmain: server is listening on http://x:1\n"
    )
    assert report_of(log).diagnoses
    report = report_of(f"$0.00 per hour, used or idle: this machine (CPU)\n{log}")
    assert report.diagnoses == ()
    assert report.remarks


def test_that_a_program_gives_up_says_less_than_what_it_met():
    log = (
        "ERROR [a] failed:\n [Errno 111] Connection refused\nERROR [a] Stopping due to 3 failures\n"
    )
    assert report_of(log).diagnoses[0].id == "connection-refused"


@pytest.mark.parametrize(
    "line",
    [
        '"content": "Error 404 means: connection refused, CUDA error: out of memory"',
        'curl -d "{\\"messages\\":[{\\"content\\":\\"What does error 404 mean?\\"}]}" http://x/v1/a',
    ],
)
def test_what_users_and_models_say_is_no_evidence(line):
    assert report_of(line).diagnoses == ()
