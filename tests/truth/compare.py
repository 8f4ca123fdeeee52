"""Holds an estimate against a recorded run."""

from __future__ import annotations

from collections.abc import Iterator

from ggufctl.core.estimate import Estimate
from ggufctl.core.memory import estimate_memory
from tests.truth.recorded import Run, shape


def estimated(run: Run, *, fold: bool = True) -> Estimate:
    """What we say to a recorded run."""
    return estimate_memory(
        shape(run.model),
        run.runtime,
        run.gpus,
        dry_run=True,
        fold=fold,
        capabilities=run.capabilities,
    )


def differences(run: Run, estimate: Estimate) -> Iterator[str]:
    """Say every term that is not right to the byte."""

    def check(term: str, ours: int, true: int) -> Iterator[str]:
        if ours != true:
            yield f"{term}: ours {ours}, llama.cpp {true} ({ours - true:+d})"

    for i, device in enumerate(estimate.devices):
        yield from check(f"CUDA{i} weights", device.weights_bytes, run.gpu(i, "model"))
        state = device.kv_cache_bytes + device.recurrent_bytes
        yield from check(f"CUDA{i} context", state, run.gpu(i, "context"))
        yield from check(f"CUDA{i} compute", device.compute_bytes, run.gpu(i, "compute"))
    host = estimate.host
    yield from check("host weights", host.weights_bytes, run.host("model"))
    state = host.kv_cache_bytes + host.recurrent_bytes
    yield from check("host context", state, run.host("context"))
    yield from check("host compute", host.compute_bytes, run.host("compute"))


def device_errors(run: Run, estimate: Estimate) -> Iterator[float]:
    """Relative error of each GPU's total, positive where we say too much."""
    for i, device in enumerate(estimate.devices):
        true = sum(run.gpu(i, what) for what in ("model", "context", "compute"))
        ours = (
            device.weights_bytes
            + device.kv_cache_bytes
            + device.recurrent_bytes
            + device.compute_bytes
        )
        if true:
            yield (ours - true) / true
