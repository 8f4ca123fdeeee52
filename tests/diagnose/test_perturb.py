"""A log is told the same whatever brought it here, and by its root whoever else complains."""

from __future__ import annotations

import pytest

from ggufctl.core.diagnosis.upstream import (
    EMPTINESS,
    SHOWS_AS,
    TELLS_KIND,
    WAITS_FOR_SERVER,
)
from ggufctl.core.signatures import SIGNATURES
from tests.diagnose.perturb import (
    PERTURBATIONS,
    Perturbation,
    applies,
    engine_causes,
    holds,
    joined,
    report_of,
    sample,
)

SOME = sample(30)
ENGINE = engine_causes()
MOST_MISSED = 0.1
"""Share of a small sample, but one log at least; the program prints that of all logs."""

SAMPLES = {signature.id: signature.sample.splitlines() for signature in SIGNATURES}


@pytest.mark.parametrize(
    "perturbation", [p for p in PERTURBATIONS if p.keeps_all], ids=lambda p: p.name
)
def test_most_logs_are_told_the_same_after_a_change(perturbation: Perturbation):
    # Those that put thousands of lines in front take their time.
    some = SOME[:8] if "2000" in perturbation.name else SOME
    told = [
        result
        for case in some
        if applies(perturbation, case, ENGINE) and (result := holds(perturbation, case)) is not None
    ]

    assert len(told) - sum(told) <= max(1, MOST_MISSED * len(told))


CAUSE_AND_EFFECT = (
    *(
        (cause, effect)
        for cause in (
            "oom-kv",
            "oom-weights",
            "gpu-not-found",
            "unknown-architecture",
            "file-missing",
            "driver-mismatch",
            "oom-killed",
        )
        for effect in sorted(WAITS_FOR_SERVER)
        if (cause, effect) != ("oom-killed", "probe-failed")
    ),
    ("docker-no-gpu-runtime", "gpu-not-found"),
    ("docker-no-gpu-runtime", "no-gpu-used"),
    ("docker-no-gpu-runtime", "client-timeout"),
    ("driver-mismatch", "cuda-init-failed"),
    ("driver-too-old", "cuda-init-failed"),
    ("driver-not-loaded", "gpu-not-found"),
    ("hub-gated", "file-missing"),
    ("hub-gated", "model-load-failed"),
    ("download-denied", "file-missing"),
    ("hub-not-found", "file-missing"),
    ("disk-full", "file-truncated"),
    ("disk-full", "download-incomplete"),
    ("oom-host", "segfault"),
    ("oom-killed", "ollama-runner-died"),
    ("certificate", "model-load-failed"),
)
"""What by its nature comes of what; a probe that fails kills the container itself."""


@pytest.mark.parametrize(("cause", "effect"), CAUSE_AND_EFFECT, ids=str)
def test_a_cause_comes_before_its_effect_in_whatever_order_they_are_read(cause, effect):
    for lines in (SAMPLES[cause] + SAMPLES[effect], SAMPLES[effect] + SAMPLES[cause]):
        found = report_of(joined(lines)).diagnoses

        assert found[0].id == cause


def test_what_is_upstream_of_what_speaks_of_causes_of_the_table():
    known = set(SAMPLES)
    named = {id for key, ids in (*SHOWS_AS.items(), *TELLS_KIND.items()) for id in (key, *ids)}

    assert named | EMPTINESS.keys() | WAITS_FOR_SERVER <= known


def test_no_two_causes_take_each_other_away():
    assert not [(a, b) for a, ids in SHOWS_AS.items() for b in ids if a in SHOWS_AS.get(b, ())]
