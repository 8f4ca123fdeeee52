import json
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufctl.core.bench import (
    Budget,
    Sample,
    compare,
    levels,
    percentile,
    prompt_text,
    requests_of,
    summarise,
)
from ggufctl.errors import UsageError

times = st.floats(0.001, 1e4)


@given(st.lists(times, min_size=2, max_size=40))
def test_percentiles_are_those_of_the_standard_library(values):
    expected = statistics.quantiles(values, n=100, method="inclusive")

    for percent in (1, 50, 90, 99):
        assert percentile(values, percent) == pytest.approx(expected[percent - 1])


@given(st.lists(times, min_size=1), st.floats(0, 100), st.floats(0, 100))
def test_percentiles_rise_and_stay_within_the_values(values, one, other):
    low, high = sorted((one, other))

    assert min(values) <= percentile(values, low) <= percentile(values, high) <= max(values)


def test_no_values_have_no_percentile():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


@pytest.mark.parametrize(
    ("n_slots", "expected"),
    [(0, (1,)), (1, (1,)), (2, (1, 2)), (4, (1, 2, 4)), (6, (1, 2, 4, 6)), (9, (1, 2, 4, 8, 9))],
)
def test_levels_double_up_to_the_slots(n_slots, expected):
    assert levels(n_slots) == expected


def test_prompts_are_the_same_every_time_and_none_begins_like_another():
    assert prompt_text(1, 0, 5) == "1-0 hope door east east farm"
    firsts = {prompt_text(seed, index, 8).split()[0] for seed in (1, 2) for index in range(50)}
    assert len(firsts) == 100
    assert len(prompt_text(3, 7, 40).split()) == 41


@given(
    st.lists(
        st.builds(
            Sample,
            first_token_seconds=times,
            seconds=times,
            n_prompt=st.integers(1, 100),
            n_tokens=st.integers(1, 100),
            tokens_per_second=times,
            error=st.sampled_from(["", "", "lost", "busy"]),
        ),
        max_size=20,
    ),
    st.integers(1, 8),
)
def test_a_level_counts_every_request_once(samples, n_streams):
    found = summarise(n_streams, samples, 2.0)

    assert found.n_ok + found.n_errors == len(samples)
    assert sum(n for _, n in found.errors) == found.n_errors
    assert (found.first_token is None) == (found.n_ok == 0)
    assert found.total_tokens_per_second == sum(s.n_tokens for s in samples) / 2


def test_what_a_limit_cut_off_counts_for_nothing():
    found = summarise(1, [Sample(seconds=9.0, was_cut=True), Sample(seconds=1.0)], 1.0)

    assert (found.n_ok, found.n_errors) == (1, 0)
    assert found.latency is not None
    assert found.latency.p99 == 1.0


def test_money_is_counted_with_the_start_and_the_time_it_idles():
    budget = Budget(usd_per_hour=3.6, idle_usd=0.30, start_seconds=60, max_usd=0.5)

    assert budget.least_usd == pytest.approx(0.30 + 0.07)
    assert budget.seconds == pytest.approx(200)
    assert budget.spent_usd(budget.seconds) == pytest.approx(0.5)
    assert Budget(usd_per_hour=3.6).seconds == math.inf
    assert Budget(max_usd=1.0).seconds == math.inf


def test_every_stream_asks_at_least_twice():
    assert [requests_of(n) for n in (1, 2, 3, 64)] == [4, 4, 6, 128]


def report(**changes):
    row = {
        "n_streams": 1,
        "prompt_tokens_per_second": 100.0,
        "tokens_per_second": 10.0,
        "total_tokens_per_second": 8.0,
        "first_token_p50_seconds": 0.5,
        "first_token_p99_seconds": 0.9,
        "latency_p50_seconds": 2.0,
        "latency_p99_seconds": None,
        "n_errors": 0,
    }
    settings = {"seed": 1, "n_prompt": 256, "n_predict": 64, "prompts": "tokens"}
    return {
        "schema_version": "1.0",
        "model": "m",
        "engine_build": "b1",
        "settings": settings,
        "levels": [{**row, **changes}],
    }


def test_a_comparison_knows_what_is_better():
    after = report(tokens_per_second=12.0, first_token_p50_seconds=0.25, latency_p50_seconds=3.0)

    changes, differing = compare(report(), after)

    assert differing == ()
    found = {change.metric: change for change in changes}
    assert "latency_p99_seconds" not in found
    assert found["tokens_per_second"].ratio == pytest.approx(1.2)
    assert found["tokens_per_second"].is_better
    assert found["first_token_p50_seconds"].is_better
    assert not found["latency_p50_seconds"].is_better
    assert not found["prompt_tokens_per_second"].is_better


def test_runs_that_asked_something_else_are_said_not_to_compare():
    after = {**report(), "engine_build": "b2"}
    after["settings"] = {**after["settings"], "seed": 2}

    _, differing = compare(report(), after)

    assert differing == ("engine_build: b1 before, b2 now", "seed: 1 before, 2 now")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_what_is_no_report_is_refused(document):
    with pytest.raises(UsageError, match="no report"):
        compare(document if isinstance(document, dict) else {"levels": document}, report())


def test_a_report_of_another_version_is_refused():
    with pytest.raises(UsageError, match="another version"):
        compare(json.loads('{"schema_version": "9.0"}'), report())
