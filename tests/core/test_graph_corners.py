"""Corners of single graphs, against llama.cpp's own allocator."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.truth.recorded import headers

from ggufctl.core.memory import ModelShape, estimate_memory
from ggufctl.core.runtime import Runtime

# What the oracle says of this model with `interleave_moe_layer_step` 3 instead of 2.
SKIPPED_EXPERTS = [
    ({}, 1, [8665216, 6309920]),
    ({}, 2, [27058688, 5632, 22093952]),
    ({"n_gpu_layers": 1}, 1, [12587008, 6309920]),
    ({"flash_attn": "off"}, 1, [28846208, 11548704]),
    ({}, 0, [8407072]),
]


@pytest.mark.parametrize(("setting", "n_gpus", "compute"), SKIPPED_EXPERTS)
def test_an_ernie_block_whose_experts_the_interleave_skips_is_planned_as_llama_cpp_does(
    setting, n_gpus, compute
):
    header = headers()["tiny-ernie4_5-moe-moe"]
    step = {"ernie4_5-moe.interleave_moe_layer_step": 3}
    shape = ModelShape(replace(header, metadata={**header.metadata, **step}))
    runtime = Runtime(n_ctx=4096, n_parallel=1, n_outputs=1, load_mode="none", **setting)

    estimate = estimate_memory(shape, runtime, ["H100"] * n_gpus, dry_run=True)

    assert [p.compute_bytes for p in (*estimate.devices, estimate.host)] == compute
    assert estimate.is_exact
