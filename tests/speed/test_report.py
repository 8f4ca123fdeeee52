"""The coefficients in the package are those that the measured points give, and as good."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ggufctl.catalog import load_catalogue
from tests.speed import cards, report
from tests.speed.fit import points


@pytest.fixture(scope="module")
def data():
    return points()


def test_the_package_has_the_coefficients_that_the_points_give(data):
    document = json.loads(report.DATA.read_text())
    rows = {row["gpu"]: row for row in document["gpus"]}
    for gpu, fitted in report.coefficients(data).items():
        assert rows[gpu] == fitted
    for name, best in report.shared(data).items():
        assert document[name]["best"] == best


def test_measured_points_lie_within_the_predicted_ranges(data):
    within, n = report.inside(data)

    assert n == 60
    assert within == n


def test_it_is_far_better_than_a_flat_roofline(data):
    found = dict(report.summary(data))
    mean = {what: sum(map(abs, errors)) / len(errors) for what, errors in found.items()}

    assert mean["decode, points of the fit"] < 0.04
    assert mean["decode, 22 published points of others"] < 0.10
    assert mean["  flat roofline"] > 1.0
    assert mean["decode, a GPU left out"] < 0.12
    assert mean["decode, a model left out"] < 0.08


def test_a_small_models_prompt_takes_an_a10_longer_than_an_l4_as_it_was_measured(data):
    catalogue = load_catalogue()

    def predicted(run: dict[str, Any]) -> float:
        model, speed = data["models"][run["model"]], catalogue.find(run["gpu"]).speed
        seconds = model["n_layer"] * speed.prefill_us_per_layer * 1e-6
        return 512 / (seconds + 2 * model["active_params"] * 512 / speed.prefill_flops)

    def is_longer(tokens_per_s: Callable[[dict[str, Any]], float]) -> dict[str, bool]:
        runs = [run for run in data["runs"] if run["count"] == 1 and run["gpu"] in ("L4", "A10")]
        found = {(run["model"], run["gpu"]): tokens_per_s(run) for run in runs}
        return {model: found[model, "A10"] < found[model, "L4"] for model, _ in found}

    measured = is_longer(lambda run: run["pp512"])

    assert measured["SmolLM-135M"]
    assert not measured["Llama-7B"]
    assert is_longer(predicted) == measured


def test_the_report_prints_its_tables(capsys):
    report.main([])
    report.main(["--markdown"])
    out = capsys.readouterr().out

    assert "left out" in out
    assert out.rstrip().endswith("|")


def test_the_readme_has_the_tables_that_the_report_prints(data):
    readme = (Path(__file__).parents[2] / "README.md").read_text()

    for table in (report.markdown(data), report.starts(data)):
        assert [line for line in table.splitlines() if line not in readme] == []


def test_the_package_has_the_coefficients_that_the_runs_of_cards_give():
    assert json.loads(cards.DATA.read_text())["speeds"] == cards.coefficients()


def test_a_card_is_predicted_by_the_others_and_on_another_model():
    errors = [decode - 1 for _, decode, _ in cards.left_out(cards.coefficients())]
    others = [ratio - 1 for _, ratio in cards.checked()]

    # All but the only one with stacked memory.
    assert sorted(map(abs, errors))[-2] < 0.2
    assert all(abs(error) < 0.25 for error in others)


def test_the_report_of_cards_prints_its_tables(capsys):
    cards.main([])

    assert capsys.readouterr().out.count("median error") == 2
