"""The screen of `status`: of every width, with and without colours, and never cut."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO

import pytest

from ggufctl.core.status import Counters, Health, MemoryUse, ProcessUse, Rates, ServerStatus, Slot
from ggufctl.render import status as render

LONG = "organisation-with-a-long-name/Model-With-A-Very-Long-Name-Instruct-GGUF:UD-Q4_K_XL"


def status(**changes: object) -> ServerStatus:
    made = ServerStatus(
        name="a-deployment-with-a-name-as-long-as-they-may-become-in-practice",
        where="local",
        status="running",
        health=Health.OK,
        at="2026-11-22T23:50:54Z",
        at_seconds=1.0,
        model=LONG,
        engine="xllamacpp",
        build="b11549",
        url="http://127.0.0.1:8080/v1",
        uptime_seconds=93784.0,
        processes=(
            ProcessUse(role="supervisor", id="11", is_alive=True, memory_bytes=1 << 25),
            ProcessUse(
                role="engine", id="12", is_alive=True, memory_bytes=1 << 30, cpu_percent=163.0
            ),
        ),
        memory=(
            MemoryUse(
                where="CUDA0",
                description="NVIDIA H100 80GB HBM3",
                planned_bytes=70 << 30,
                used_bytes=71 << 30,
                busy_bytes=72 << 30,
                total_bytes=79 << 30,
                utilization_percent=98,
            ),
            MemoryUse(
                where="host", planned_bytes=1 << 30, used_bytes=2 << 30, total_bytes=64 << 30
            ),
        ),
        n_slots=2,
        n_ctx=8192,
        slots=(
            Slot(id=0, is_busy=True, n_ctx=4096, n_used=4000, n_decoded=40),
            Slot(id=1, is_busy=False, n_ctx=4096),
        ),
        counters=Counters(prompt_tokens=1_234_567, predicted_tokens=7_654_321, n_deferred=3),
        rates=Rates(
            prompt_tokens_per_second=812.4, predicted_tokens_per_second=95.5, window_seconds=1.0
        ),
        n_requests=1234,
        n_errors=2,
        last_error="the request exceeds the available context size, try increasing it",
        usd_per_hour=3.95,
        usd_so_far=12.34,
        problems=("The engine does not answer.",),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # as a test names them


def shown(*found: ServerStatus, width: int) -> str:
    stream = StringIO()
    render.show_status(found, width=width, stream=stream)
    return stream.getvalue()


def bare(text: str) -> str:
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_nothing_is_cut_at_any_width(width):
    text = shown(status(), status(name="two", where="modal"), width=width)

    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for part in (
        status().name,
        LONG,
        "71.0 GiB used, 70.0 planned, 79.0 in all",
        "98% busy",
        "1 of 2 busy, 3 waiting",
        "4,000 of 8,192 tokens filled",
        "812.4 tokens/s read, 95.5 written (last 1.0 s)",
        "1,234,567 read, 7,654,321 written",
        "1,234 finished, 2 failed",
        "try increasing it",
        "$3.95 per hour now, $12.34 so far",
        "The engine does not answer.",
    ):
        assert bare(part) in bare(text)


def test_on_80_columns_it_is_as_it_always_was():
    text = shown(status(name="chat", model="org/repo:Q4_K_M", problems=(), last_error=""), width=80)

    assert [line.rstrip() for line in text.splitlines()] == [
        "chat · running for 1 d 2 h · local · 1/2 busy",
        "model     org/repo:Q4_K_M",
        "engine    xllamacpp b11549",
        "url       http://127.0.0.1:8080/v1",
        "CUDA0     71.0 GiB used, 70.0 planned, 79.0 in all █████████░ 91% full, 98%",
        "          busy, NVIDIA H100 80GB HBM3",
        "host      2.00 GiB used, 1.00 planned, 64.0 in all ░░░░░░░░░░ 3% full",
        "runs      engine 12, 163% of a core",
        "slots     1 of 2 busy, 3 waiting",
        "context   4,000 of 8,192 tokens filled █████░░░░░ 49%",
        "speed     812.4 tokens/s read, 95.5 written (last 1.0 s)",
        "tokens    1,234,567 read, 7,654,321 written",
        "requests  1,234 finished, 2 failed",
        "cost      $3.95 per hour now, $12.34 so far",
    ]


def test_text_of_others_never_reaches_the_terminal_as_it_is():
    evil = "\x1b[31mred\x1b[0m [bold]not bold[/] \u202e"

    text = shown(
        status(model=evil, last_error=evil, problems=(evil,), engine=evil, url=evil), width=200
    )

    assert "\x1b" not in text and "\u202e" not in text
    assert "[bold]not bold[/]" in text
    (row,) = render.tsv_rows([status(model=evil + "\t\n", problems=(evil,))])
    assert "\x1b" not in row
    assert row.count("\t") == render.tsv_titles().count("\t")


@pytest.mark.parametrize("health", Health)
@pytest.mark.parametrize("said", ["starting", "running", "idle", "stopped", "failed", "lost"])
def test_a_status_of_which_nothing_is_known_is_shown_too(health, said):
    bleak = ServerStatus(name="x", where="modal", status=said, health=health, at="", at_seconds=0.0)

    text = shown(bleak, width=80)

    assert "x · " in text
    (row,) = render.tsv_rows([bleak])
    assert row.count("\t") == render.tsv_titles().count("\t")


def test_when_nothing_runs_that_is_said():
    assert shown(width=80) == "Nothing is being served.\n"
