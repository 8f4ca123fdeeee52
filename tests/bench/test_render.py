import io
import json

import pytest

from ggufctl.core.bench import compare
from ggufctl.documents import schema_of
from ggufctl.render.bench import comparison_lines, headline, notes, show_levels, tsv_levels

EXPECTED = {"low": 50.0, "best": 80.0, "high": 120.0}


def level(n_streams, **changes):
    row = {
        "n_streams": n_streams,
        "n_ok": 2 * n_streams,
        "n_errors": 0,
        "seconds": 12.5,
        "n_prompt": 256,
        "n_tokens": 64,
        "n_cached": 0,
        "prompt_tokens_per_second": 12345.67,
        "tokens_per_second": 123.45,
        "total_tokens_per_second": 1234.5,
        "total_prompt_tokens_per_second": 5000.0,
        "first_token_p50_seconds": 0.12,
        "first_token_p90_seconds": 1.23,
        "first_token_p99_seconds": 12.34,
        "latency_p50_seconds": 1.23,
        "latency_p90_seconds": 12.34,
        "latency_p99_seconds": 123.45,
        "errors": [],
    }
    return {**row, **changes}


def report(**changes):
    found = {
        "schema_version": "1.0",
        "name": "qwen3",
        "where": "modal",
        "model": "Qwen3-8B-Q4_K_M",
        "engine_build": "b11434-abc",
        "llama_cpp_build": "b11434",
        "is_llama_server": True,
        "gpus": ["L4"],
        "n_slots": 8,
        "n_ctx_slot": 4096,
        "settings": {
            "seed": 1,
            "n_prompt": 256,
            "n_predict": 64,
            "prompts": "tokens",
            "concurrency": [1, 8],
            "max_requests": 200,
            "max_seconds": 300.0,
            "max_usd": 1.0,
        },
        "cold_start_seconds": 41.5,
        "levels": [level(1), level(8, n_errors=2, errors=[{"text": "bad \x1b[2J", "n": 2}])],
        "prediction": {
            "gpu": "L4",
            "count": 1,
            "n_slots": 8,
            "tokens_per_second": EXPECTED,
            "total_tokens_per_second": EXPECTED,
            "prompt_tokens_per_second": EXPECTED,
            "first_token_seconds": {"low": 0.1, "best": 0.12, "high": 0.3},
            "cold_start_seconds": EXPECTED,
        },
        "n_requests": 21,
        "seconds": 99.0,
        "usd_per_hour": 0.98,
        "usd": 0.1,
        "stopped_by": "money",
        "comparison": None,
    }
    schema_of("bench").model_validate(found)
    return {**found, **changes}


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_the_table_fits_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = io.StringIO()

    show_levels(report(), width=columns, stream=stream)

    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert all(len(line) <= columns for line in lines)
    assert "…" not in stream.getvalue()
    assert ("p90" in stream.getvalue()) == (columns >= 80)
    assert ("requests" in stream.getvalue()) == (columns >= 120)


def test_measured_figures_stand_beside_the_estimate():
    lines = "\n".join(notes(report()))

    assert "cold start 41.5 s to the first token" in lines
    assert "estimated 80 (50 to 120): not as estimated" in lines
    assert "estimated 0.12 (0.1 to 0.3): as estimated" in lines
    assert "all 8 slots" in lines
    assert "8 at once: 2 × bad \\x1b[2J" in lines
    assert "stopped by --max-usd" in lines
    assert "about $0.100, with" in lines
    assert all(len(line) <= 80 for line in lines.splitlines())
    assert "\x1b" not in lines


def test_the_headline_says_what_was_measured():
    assert headline(report()) == (
        "Qwen3-8B-Q4_K_M · qwen3 · L4 · llama.cpp b11434 · prompts of 256 tokens, answers of 64"
    )


def test_values_in_a_pipe_are_whole_and_errors_are_left_to_the_notes():
    head, *rows = [line.split("\t") for line in tsv_levels(report()).splitlines()]

    assert head[:3] == ["n_streams", "n_ok", "n_errors"]
    assert [row[0] for row in rows] == ["1", "8"]
    assert all(len(row) == len(head) for row in rows)


def test_a_comparison_is_read_line_by_line():
    after = report(levels=[level(1, tokens_per_second=246.9), level(8)])
    after["settings"] = {**after["settings"], "seed": 2}

    lines = comparison_lines(*compare(json.loads(json.dumps(report())), after))

    assert lines[0] == "not comparable: seed: 1 before, 2 now"
    assert any("+100.0% better" in line for line in lines)
    assert all(len(line) <= 80 for line in lines)


def test_two_builds_are_compared_and_answers_of_two_lengths_are_not_called_better():
    after = report(levels=[level(1, tokens_per_second=246.9), level(8)])
    build = {**after, "engine_build": "b12000"}
    shorter = {**after, "settings": {**after["settings"], "n_predict": 8}}

    builds = comparison_lines(*compare(report(), build))
    lengths = comparison_lines(*compare(report(), shorter))

    assert builds[0].startswith("compares engine_build: ")
    assert any("+100.0% better" in line for line in builds)
    assert lengths[0].startswith("not comparable: n_predict: ")
    assert not any("better" in line or "worse" in line for line in lengths)
    assert any("+100.0%" in line for line in lengths)
