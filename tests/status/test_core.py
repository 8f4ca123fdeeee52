"""What an engine says of itself, what two looks say together, and what Prometheus is given."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ggufctl.core.escape import escape
from ggufctl.core.status import (
    Counters,
    Health,
    LogCount,
    MemoryUse,
    ProcessUse,
    Rates,
    ServerStatus,
    Slot,
    parse_metrics,
    parse_slots,
    prometheus_text,
    with_rates,
)

METRICS = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed, excluding cached tokens
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 120
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total 1234
llamacpp:prompt_seconds_total 3.75
llamacpp:tokens_predicted_seconds_total 20
llamacpp:prompt_tokens_seconds 0
llamacpp:predicted_tokens_seconds 0
llamacpp:requests_processing 3
llamacpp:requests_deferred 2
"""


def status(**changes: object) -> ServerStatus:
    made = ServerStatus(
        name="one",
        where="local",
        status="running",
        health=Health.OK,
        at="2026-11-22T23:50:54Z",
        at_seconds=100.0,
        model="org/repo:Q4_K_M",
        engine="llama-server",
        build="b11434",
        url="http://127.0.0.1:8080/v1",
        uptime_seconds=4000.5,
        processes=(ProcessUse(role="engine", id="12", is_alive=True, memory_bytes=1 << 30),),
        memory=(
            MemoryUse(
                where="CUDA0", planned_bytes=20 << 30, busy_bytes=21 << 30, total_bytes=24 << 30
            ),
            MemoryUse(
                where="host", planned_bytes=1 << 30, used_bytes=2 << 30, total_bytes=64 << 30
            ),
        ),
        n_slots=4,
        n_ctx=8192,
        slots=(Slot(id=0, is_busy=True, n_ctx=2048, n_used=300, n_decoded=40),),
        counters=Counters(prompt_tokens=10, predicted_tokens=20),
        n_requests=7,
        n_errors=1,
        usd_so_far=0.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # as a test names them


def test_the_counters_of_the_engine_are_read():
    assert parse_metrics(METRICS) == Counters(
        prompt_tokens=120,
        predicted_tokens=1234,
        prompt_tokens_per_second=32.0,
        predicted_tokens_per_second=61.7,
        n_processing=3,
        n_deferred=2,
    )


@pytest.mark.parametrize(
    "text", ["", "<html>", "llamacpp:prompt_tokens_total x", METRICS.replace("1234", "nan")]
)
def test_something_else_holds_no_counters(text):
    assert parse_metrics(text) is None


@given(st.text())
def test_no_text_breaks_the_readers(text):
    parse_metrics(text)
    parse_slots(text)
    LogCount().feed(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_no_json_breaks_the_reader_of_slots(value):
    for text in (json.dumps(value), json.dumps([{"id": value, "next_token": value}])):
        assert all(slot.n_used >= 0 for slot in parse_slots(text))


def test_slots_are_read():
    row = {
        "id": 3,
        "n_ctx": 1024,
        "is_processing": True,
        "n_prompt_tokens": 112,
        "n_prompt_tokens_processed": 6,
        "next_token": [{"n_decoded": 106}],
    }

    assert parse_slots(json.dumps([row])) == (
        Slot(id=3, is_busy=True, n_ctx=1024, n_used=112, n_prompt=6, n_decoded=106),
    )


def test_of_one_look_the_speed_is_the_engines_average():
    counters = Counters(prompt_tokens_per_second=30.0, predicted_tokens_per_second=60.0)

    found = with_rates(status(counters=counters), None)

    assert found.rates == Rates(prompt_tokens_per_second=30.0, predicted_tokens_per_second=60.0)


def test_of_two_looks_the_speed_counts_answers_being_written():
    before = status()
    now = status(
        at_seconds=102.0,
        slots=(Slot(id=0, is_busy=True, n_ctx=2048, n_decoded=90),),
    )

    assert with_rates(now, before).rates == Rates(
        prompt_tokens_per_second=0.0, predicted_tokens_per_second=25.0, window_seconds=2.0
    )


def test_an_answer_that_ends_between_two_looks_is_counted_once():
    before = status()
    now = status(
        at_seconds=101.0,
        counters=Counters(prompt_tokens=10, predicted_tokens=70),
        slots=(Slot(id=0, is_busy=False, n_ctx=2048),),
    )

    rates = with_rates(now, before).rates
    assert rates is not None
    assert rates.predicted_tokens_per_second == 10.0


def test_an_engine_that_began_anew_has_no_negative_speed():
    now = status(at_seconds=101.0, counters=Counters(), slots=())

    rates = with_rates(now, status()).rates
    assert rates is not None
    assert (rates.prompt_tokens_per_second, rates.predicted_tokens_per_second) == (0.0, 0.0)


def test_the_log_tells_answers_from_errors():
    count = LogCount()
    for line in (
        "0.11 I slot      release: id  0 | task 2 | stop processing: n_tokens = 8, truncated = 0",
        "0.12 E srv    send_error: task id = 3, error: the request exceeds the available context",
        'INFO:     127.0.0.1:1 - "POST /v1/chat/completions HTTP/1.1" 200 OK',
        'INFO:     127.0.0.1:1 - "POST /v1/chat/completions HTTP/1.1" 500 Internal Server Error',
        'INFO:     127.0.0.1:1 - "GET /v1/models HTTP/1.1" 401 Unauthorized',
    ):
        count.feed(line)

    assert (count.n_requests, count.n_errors, count.last_error) == (2, 2, "HTTP status 500")


def samples(text: str) -> dict[tuple[str, str], float]:
    """Value by metric and the deployment's name, as Prometheus' own client reads it."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("counter", "gauge")
        for sample in family.samples:
            device = sample.labels.get("device", "")
            found[f"{sample.name}{device}", sample.labels["name"]] = sample.value
    return found


def test_prometheus_reads_what_it_is_given():
    text = prometheus_text(
        (with_rates(status(), None), status(name="two", counters=None, slots=()))
    )

    found = samples(text)
    assert found["ggufctl_up", "one"] == 1
    assert found["ggufctl_slots", "two"] == 4
    assert found["ggufctl_slots_busy", "one"] == 1
    assert ("ggufctl_slots_busy", "two") not in found
    assert found["ggufctl_memory_busy_bytesCUDA0", "one"] == 21 << 30
    assert found["ggufctl_requests_total", "one"] == 7
    assert found["ggufctl_request_errors_total", "one"] == 1
    assert found["ggufctl_prompt_tokens_total", "one"] == 10
    assert prometheus_text(()) == ""


@given(st.text(st.characters(exclude_categories=("Cs",))), st.sampled_from(Health))
def test_prometheus_reads_any_name_and_model(text, health):
    labels = {}
    given_ = status(name="n", model=text, health=health)
    for family in text_string_to_metric_families(prometheus_text((given_,))):
        if family.name == "ggufctl_info":
            labels = family.samples[0].labels

    assert labels["model"] == escape(text)


def test_one_token_in_no_time_is_no_speed():
    text = METRICS.replace("predicted_total 1234", "predicted_total 1")

    found = parse_metrics(text.replace("seconds_total 20", "seconds_total 0.000001"))

    assert found is not None
    assert (found.predicted_tokens, found.predicted_tokens_per_second) == (1, 0)
