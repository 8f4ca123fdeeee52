"""Estimates against what llama.cpp's own allocator did, run by run.

`GGUFCTL_TRUTH=full` takes every recorded run, else every tenth.
"""

from __future__ import annotations

import os

import pytest

from ggufctl.core.memory import estimate_memory
from tests.truth.compare import differences, estimated
from tests.truth.recorded import Run, headers, runs, shape

EVERY = 1 if os.environ.get("GGUFCTL_TRUTH") == "full" else 10

PARTS = 16
"""Into how many tests the runs are cut, so that workers share them and none takes long."""


def part_of(every: int, part: int) -> list[Run]:
    """The chosen runs of each PARTS-th model: what the runs of a model share is made once."""
    ours = set(sorted(headers())[part::PARTS])
    return [run for run in runs(every) if run.model in ours]


@pytest.mark.parametrize("part", range(PARTS))
def test_buffers_are_right_to_the_byte(part):
    chosen = part_of(EVERY, part)
    wrong = []
    for run in chosen:
        estimate = estimated(run)
        found = [*differences(run, estimate)] if estimate.has_graph else ["no graph"]
        if found:
            wrong.append(f"{run.text}\n    " + "; ".join(found))

    assert len(chosen) >= 50
    assert not wrong, f"{len(wrong)} of {len(chosen)} runs are off:\n" + "\n".join(wrong[:20])


@pytest.mark.parametrize("part", range(PARTS))
def test_leaving_out_repeating_blocks_changes_nothing(part):
    chosen = part_of(EVERY * 5, part)
    for run in chosen:
        model = shape(run.model)
        folded = estimate_memory(model, run.runtime, run.gpus)
        whole = estimate_memory(model, run.runtime, run.gpus, fold=False)

        assert folded == whole, run.text
    assert len(chosen) >= 10


def test_every_header_describes_a_model_that_has_layers():
    assert all(shape(name).hp.n_layer_all > 0 for name in headers())
