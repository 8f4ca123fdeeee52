"""Speed, start and cost as users meet them: text, tab-separated values, JSON, and their limits."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ggufctl.core.economics import priced
from ggufctl.core.money import Load
from ggufctl.core.planner import Constraints
from ggufctl.core.runtime import Runtime
from ggufctl.documents.plan import PlanDocument
from ggufctl.render.plan import economics_lines, show_plan
from ggufctl.services.plan import plan_reference
from tests.ggufs import header as gguf
from tests.ggufs import llama, write

SEVENTY_B = {"n_layer": 80, "n_embd": 8192, "n_vocab": 32000, "n_merges": 10}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    metadata, tensors = llama(llama__context_length=32768, **SEVENTY_B)
    raw, size = gguf(metadata, tensors)
    return write(tmp_path / "Big-70B-Q4_K_M.gguf", raw, size)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "ggufctl", *map(str, arguments)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_plan_says_how_fast_how_soon_and_how_dear_with_ranges(model):
    found = run("plan", model, "--gpu", "H100", "--requests-per-day", 100)

    assert found.returncode == 0, found.stderr
    for word in ("speed", "start", "cost", "month"):
        (line,) = [text for text in found.stderr.splitlines() if text.startswith(f"{word} (esti")]
        assert " to " in line
    assert "prices of 2026-10-01" in found.stderr
    assert "100 requests a day of 1000 tokens in and 300 out" in found.stderr


@pytest.mark.parametrize(
    ("options", "is_said"),
    [
        (("--prompt-tokens", "9000"), True),
        (("--prompt-tokens", "7892", "--output-tokens", "301"), True),
        (("--prompt-tokens", "7892", "--output-tokens", "300"), False),
        (("--prompt-tokens", "2000", "-np", "4"), True),
        (("--prompt-tokens", "9000", "-c", "16384"), False),
    ],
)
def test_requests_that_no_slot_holds_are_said(model, options, is_said):
    found = run("plan", model, "--gpu", "H100", *options)

    assert found.returncode == 0, found.stderr
    assert ("do not fit a slot" in found.stderr) is is_said


def test_tab_separated_values_have_the_figures_in_columns_of_their_own(model):
    lines = run("plan", model, "--requests-per-day", 100).stdout.splitlines()
    head = lines[0].split("\t")
    rows = [dict(zip(head, line.split("\t"), strict=True)) for line in lines[1:]]

    for row in rows:
        given = [row["decode_tokens_per_s_low"], row["decode_tokens_per_s"], row["month_usd"]]
        assert all(given) == (row["fits"] == "yes")
    assert head.index("reason") < head.index("decode_tokens_per_s")


def test_the_document_has_ranges_and_their_basis(model):
    found = run("plan", model, "--json", "--requests-per-day", 10, "--prompt-tokens", 4000)
    document = PlanDocument.model_validate(json.loads(found.stdout))

    assert document.choice is not None
    choice = document.choice
    assert choice.speed is not None
    assert choice.cost is not None
    assert choice.cost.month is not None
    assert choice.cold_start is not None
    assert choice.speed.basis
    assert choice.speed.ttft_prompt_tokens == 4000
    assert choice.speed.depth_tokens == 4150
    assert next(phase.name for phase in choice.cold_start.phases) == "queue"
    for row in document.gpus:
        assert (row.speed is None) == (not row.fits)


def test_tokens_alone_change_the_speed_and_make_no_bill(model):
    found = json.loads(run("plan", model, "--json", "--output-tokens", 4000).stdout)["choice"]

    assert found["speed"]["depth_tokens"] == 3000
    assert found["cost"]["month"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        ("--requests-per-day", "-1"),
        ("--requests-per-day", "nan"),
        ("--prompt-tokens", "-5"),
        ("--output-tokens", "999999999999"),
    ],
)
def test_a_load_that_is_none_is_a_usage_error(model, arguments):
    found = run("plan", model, *arguments)

    assert found.returncode == 2
    assert "Traceback" not in found.stderr


def test_a_bill_is_not_for_this_machine(model):
    found = run("serve", model, "--on", "local", "--requests-per-day", 5, "--dry-run")

    assert found.returncode == 2
    assert "--on modal" in found.stderr


@pytest.mark.parametrize("width", [60, 70, 80, 90, 109, 110, 140])
def test_tables_of_any_width_stay_whole_and_keep_the_speed(model, width):
    plan = plan_reference(str(model), Runtime(), Constraints())
    screen = io.StringIO()
    show_plan(plan, screen, width=width)
    lines = screen.getvalue().splitlines()
    table = lines[1 : next(i for i, line in enumerate(lines) if line.startswith("pick"))]

    assert "~tok/s" in table[0]
    assert ("~$/1M" in table[0]) == (width >= 72)
    assert max(map(len, table)) <= width


def test_a_model_that_embeds_is_said_to_read(model):
    plan = priced(plan_reference(str(model), Runtime(embeddings=True), Constraints()), Load(10))
    assert plan.choice is not None
    speed, *_ = economics_lines(plan.economics_of(plan.choice.row))

    assert "tokens/s read" in speed
    assert "stream" not in speed
