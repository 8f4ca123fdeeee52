from __future__ import annotations

import json
from io import StringIO

import pytest

from ggufctl.core.planner import Constraints
from ggufctl.core.runtime import Runtime
from ggufctl.core.shapes import shape_key
from ggufctl.documents.compare import CompareDocument
from ggufctl.render.compare import show_compare, tsv_compare
from ggufctl.report.plan import plan_report
from ggufctl.services.compare import compare
from ggufctl.services.plan import plan_reference, read_model

THREE = ("org/a-GGUF", "org/none-GGUF", "org/b-GGUF:Q8_0")


def table(*refs: str, width: int = 100) -> str:
    stream = StringIO()
    show_compare(compare(refs, Runtime(), Constraints()), stream, width=width)
    return stream.getvalue()


def test_every_model_is_planned_as_if_it_were_alone(models):
    found = compare(THREE, Runtime(n_parallel=2), Constraints(), n_ctx=4096)

    assert [model.exit_code for model in found] == [0, 3, 0]
    for model in (found[0], found[2]):
        alone = plan_reference(model.ref, Runtime(n_parallel=2), Constraints(), n_ctx=4096)
        assert model.plan is not None
        assert plan_report(model.plan) == plan_report(alone)


def test_the_columns_are_the_models_and_the_best_is_marked(models):
    lines = table(*THREE).splitlines()

    assert lines[0].split() == ["a-GGUF", "none-GGUF", "b-GGUF:Q8_0"]
    by_heading = {line.split()[0]: line.split()[1:] for line in lines[2:] if line.strip()}
    assert by_heading["quant"] == ["Q4_K_M", "-", "Q8_0"]
    assert by_heading["pick"] == ["T4", "-", "T4"]
    assert by_heading["tok/s"][1] == "-"
    assert lines[-2] == "none-GGUF: error: There is no repository 'org/none-GGUF' on the Hub."


def test_nothing_is_marked_where_all_are_alike(models):
    assert "*" not in table("org/a-GGUF", "org/a-GGUF")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 140])
def test_a_narrow_terminal_shows_one_row_per_model(width, models):
    found = table(*THREE * 3, width=width)

    assert found.count("b-GGUF:") >= 3
    rows = [line for line in found.splitlines() if "error:" not in line and "hint:" not in line]
    assert all(len(line) <= width for line in rows)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("-ts", "1,1"), "-ts 1,1 leaves CUDA2 and CUDA3 of 4 GPUs without a layer."),
        (("-sm", "none"), "-sm none uses only one of 4×L4."),
        (("-ngl", "2"), "CUDA1 and CUDA3 of 4×L4 hold no layer: fewer go to GPUs than there are"),
    ],
)
def test_a_pipe_is_told_as_well_which_gpus_are_left_empty(models, run, option, said):
    found = run("--compare", "org/a-GGUF", "org/b-GGUF", "--gpu", "L4:4", *option)

    assert f"org/a-GGUF: warning: {said}" in found.stderr
    assert f"org/b-GGUF: warning: {said}" in found.stderr
    assert "warning" not in found.stdout


def test_tab_separated_values_have_one_line_per_model(models):
    found = tsv_compare(compare(THREE, Runtime(), Constraints())).splitlines()

    heads = found[0].split("\t")
    cells = [dict(zip(heads, line.split("\t"), strict=True)) for line in found[1:]]
    assert [c["ref"] for c in cells] == list(THREE)
    assert [c["exit_code"] for c in cells] == ["0", "3", "0"]
    assert [c["gpu"] for c in cells] == ["T4", "", "T4"]
    assert cells[0]["T4_max_n_ctx"] == cells[0]["max_n_ctx"] == "32768"
    assert float(cells[0]["T4_utilization"]) == float(cells[0]["utilization"])


def test_json_holds_the_plans_and_the_errors(models, run):
    found = run("--compare", *THREE, "--json")

    document = json.loads(found.stdout)
    CompareDocument.model_validate(document, strict=True)
    assert found.returncode == 3
    assert found.stderr == ""
    assert [m["exit_code"] for m in document["models"]] == [0, 3, 0]
    assert document["models"][1]["plan"] is None
    assert document["models"][1]["error"]["code"] == "model_not_found"


def test_the_exit_code_is_that_of_the_first_model_that_fails(models, run):
    tight = ("--gpu", "T4", "--max-usd-per-hour", "0.1")

    assert run("--compare", "org/a-GGUF", "org/b-GGUF").returncode == 0
    assert run("--compare", "org/a-GGUF", "org/none-GGUF", *tight).returncode == 5
    assert run("--compare", "org/none-GGUF", "org/a-GGUF", *tight).returncode == 3


def test_the_flag_may_stand_anywhere(models, run):
    assert (
        run("org/a-GGUF", "--compare", "org/b-GGUF").stdout
        == run("--compare", "org/a-GGUF", "org/b-GGUF").stdout
    )


@pytest.mark.parametrize(
    "arguments", [["--compare"], ["--compare", "org/a"], ["org/a", "org/b"]], ids=" ".join
)
def test_too_few_or_too_many_models_are_refused(arguments, run):
    found = run(*arguments)

    assert found.returncode == 2
    assert found.stderr.startswith("error: ")


def test_names_from_strangers_cannot_act_on_a_terminal(models, run):
    evil = ["x/\x1b[2Jy", "[bold red]z[/]", "\u202eorg/" + "q" * 500]

    shown = table(*evil) + tsv_compare(compare(evil, Runtime(), Constraints()))
    shown += "".join(run("--compare", *evil, *more).stdout for more in ((), ("--json",)))

    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[bold red]z[/]" in shown


def test_models_that_differ_in_names_alone_have_one_shape(models):
    a, b = read_model("org/a-GGUF:Q4_K_M"), read_model("org/b-GGUF:Q4_K_M")

    assert a.header.metadata["general.name"] != b.header.metadata["general.name"]
    assert shape_key(a.header) == shape_key(b.header)


@pytest.mark.parametrize("key", ["llama.context_length", "llama.attention.head_count_kv"])
def test_models_that_differ_in_what_counts_have_shapes_of_their_own(models, key):
    a, b = read_model("org/a-GGUF:Q4_K_M"), read_model("org/b-GGUF:Q4_K_M")
    b.header.metadata[key] = 2

    assert shape_key(a.header) != shape_key(b.header)
