"""Estimates against what llama.cpp's own allocator did, run by run.

`GGUFCTL_TRUTH=full` takes every recorded run, else every tenth.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict

import pytest

from ggufctl.core.estimate import Estimate
from ggufctl.core.memory import estimate_memory
from tests.truth.compare import differences, estimated
from tests.truth.recorded import Run, headers, runs, shape

EVERY = 1 if os.environ.get("GGUFCTL_TRUTH") == "full" else 10


@pytest.fixture(scope="module")
def compared() -> dict[str, list[tuple[Run, Estimate, list[str]]]]:
    """Every chosen run with its estimate and differences, by architecture."""
    found: dict[str, list[tuple[Run, Estimate, list[str]]]] = defaultdict(list)
    for run in runs(EVERY):
        estimate = estimated(run)
        found[shape(run.model).hp.arch].append((run, estimate, list(differences(run, estimate))))
    return found


def test_every_recorded_architecture_has_a_graph_that_can_be_built(compared):
    without = Counter(
        arch for arch, rows in compared.items() for _, est, _ in rows if not est.has_graph
    )

    assert without == {}


def test_buffers_are_right_to_the_byte(compared):
    wrong = [
        f"{arch}: {run.text}\n    " + "; ".join(diffs)
        for arch, rows in compared.items()
        for run, _, diffs in rows
        if diffs
    ]
    n = sum(len(rows) for rows in compared.values())
    print(f"right to the byte: {n - len(wrong)} of {n} runs, {len(compared)} architectures")

    assert not wrong, f"{len(wrong)} of {n} runs are off:\n" + "\n".join(wrong[:20])


def test_leaving_out_repeating_blocks_changes_nothing():
    checked = 0
    for run in runs(EVERY * 5):
        model = shape(run.model)
        folded = estimate_memory(model, run.runtime, run.gpus)
        whole = estimate_memory(model, run.runtime, run.gpus, fold=False)
        checked += 1

        assert folded == whole, run.text
    assert checked > 100


def test_every_header_describes_a_model_that_has_layers():
    assert all(shape(name).hp.n_layer_all > 0 for name in headers())
