"""What programs around the engine say: containers, clusters, drivers, clients, builds, clouds.

The logs of around.txt are written in the words of the programs' own sources and of public
reports, each after the cause that is named first, or after `-` where nothing is wrong.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ggufctl.core.diagnosis import LogReport, diagnose_chunks
from ggufctl.core.signatures import SIGNATURES

LOGS = [
    (id, log)
    for id, log in re.findall(
        r"^== (\S+)\n(.*?)(?=^== |\Z)",
        Path(__file__).with_name("around.txt").read_text(encoding="utf-8"),
        re.M | re.S,
    )
]
FAILING = [(id, log) for id, log in LOGS if id != "-"]
HEALTHY = [log for id, log in LOGS if id == "-"]


def causes(log: str) -> list[str]:
    *_, report = diagnose_chunks([log.encode()])
    assert isinstance(report, LogReport)
    return [found.id for found in report.diagnoses]


@pytest.mark.parametrize(("id", "log"), FAILING, ids=[id for id, _ in FAILING])
def test_the_root_is_named_first(id, log):
    assert causes(log)[:1] == [id]


@pytest.mark.parametrize("log", HEALTHY, ids=lambda log: log.strip()[:30])
def test_nothing_is_blamed_where_nothing_is_wrong(log):
    assert causes(log) == []


def test_there_are_many_of_both_and_every_cause_is_in_the_table():
    assert len(FAILING) >= 800
    assert len(HEALTHY) >= 20
    assert {id for id, _ in FAILING} <= {signature.id for signature in SIGNATURES}


@pytest.mark.parametrize(
    "prefix",
    [
        "llama-1  | ",
        "Jan 02 03:04:05 host llama[812]: ",
        "2026-01-02T03:04:05.123456789Z stderr F ",
        "2026-01-02 03:04:05.123456+00:00",
        "[ 1212.123456] ",
        "(EngineCore_DP0 pid=469) ERROR 03-11 17:57:10 [core.py:783] ",
    ],
)
def test_most_are_told_the_same_whatever_a_collector_puts_in_front(prefix):
    told = [
        causes("".join(f"{prefix}{line}\n" for line in log.splitlines()))[:1] == [id]
        for id, log in FAILING[::4]
    ]

    assert sum(told) >= 0.95 * len(told)
