"""The public API as a type checker sees it: checked, never run."""

from __future__ import annotations

from typing import assert_type

import ggufctl

model = ggufctl.read_model("org/repo:Q4_K_M")
assert_type(model, ggufctl.Model)
assert_type(model.n_params, int)
assert_type(model.quant, str | None)

runtime = ggufctl.Runtime(n_ctx=8192, n_parallel=2, cache_type_k="q8_0")
assert_type(runtime.n_ctx, int)

found = ggufctl.estimate(model, runtime, gpus=("H100", "H100"), dry_run=True)
assert_type(found, ggufctl.Estimate)
assert_type(found.devices[0].total_bytes, int)
assert_type(found.devices[0].kv_cache, ggufctl.Term)
assert_type(found.host.output_bytes, int)

plan = ggufctl.plan(model, runtime, ggufctl.Constraints(gpus=("L4", "H100:2")))
assert_type(plan, ggufctl.Plan)
assert_type(plan.choice, ggufctl.Choice | None)
assert_type(plan.require_choice().modal_gpu, tuple[str, ...])
assert_type(plan.gpus[0], ggufctl.GpuPlan)
assert_type(plan.gpus[0].max_n_ctx, int)

assert_type(ggufctl.detect("org/repo-7B-GGUF"), ggufctl.Detected)
assert_type(ggufctl.get_gpu_config_llamacpp("org/repo-7B-GGUF"), tuple[str, float, str])

try:
    ggufctl.read_model("org/repo")
except ggufctl.GgufctlError as error:
    assert_type(error.exit_code, int)
