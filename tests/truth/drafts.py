"""Reads packed runs of `--spec-type draft-mtp` and holds estimates against them."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

from ggufctl.core.estimate import Estimate
from ggufctl.core.header import Header
from ggufctl.core.memory import Extras, ModelShape, draft_output_bytes, estimate_memory
from ggufctl.core.runtime import Runtime
from tests.oracle.drafts import nextn_alone
from tests.truth import recorded
from tests.truth.recorded import HERE, Run, as_run, read_headers

FIELDS = ("spec_draft_n_max", "spec_draft_type_k", "spec_draft_type_v")
"""Settings of a run that it may lack."""


@lru_cache(maxsize=1)
def headers() -> dict[str, Header]:
    """Header of every recorded model."""
    return {**recorded.headers(), **read_headers("drafts-headers.tar.xz")}


def rows(every: int = 1) -> Iterator[dict[str, Any]]:
    """Recorded runs as they are packed, every n-th of them; also those that were refused."""
    text = lzma.decompress((HERE / "drafts-runs.jsonl.xz").read_bytes()).decode()
    for line in text.splitlines()[::every]:
        yield json.loads(line)


@cache
def shape(model: str) -> ModelShape:
    """Model ready for estimates."""
    return ModelShape(headers()[model])


@cache
def _drafter(model: str, draft: str) -> ModelShape:
    return ModelShape(nextn_alone(headers()[model])) if draft == "nextn alone" else shape(draft)


def extras_of(row: dict[str, Any]) -> Extras | None:
    """What is loaded beside the model of a run."""
    if "draft" not in row:
        return None
    return Extras(draft=_drafter(row["model"], row["draft"]))


def runtime_of(row: dict[str, Any]) -> tuple[Run, Runtime]:
    """The run without its speculation, and its settings with it."""
    run = as_run({**row, "buffers": row.get("buffers", {})})
    assert run is not None
    given = {name: row[name] for name in FIELDS if name in row}
    return run, run.runtime.with_(n_outputs=None, spec_type=row["spec_type"], **given)


def differences(row: dict[str, Any]) -> Iterator[str]:
    """Say every term that is not right to the byte, at the start and in use."""
    run, runtime = runtime_of(row)
    extras = extras_of(row)
    for in_use, ending in ((False, ""), (True, "_in_use")):
        estimate = estimate_memory(
            shape(run.model),
            runtime,
            run.gpus,
            dry_run=True,
            in_use=in_use,
            extras=extras,
            capabilities=run.capabilities,
        )
        if not estimate.has_graph:
            yield "no graph"
            return
        drafter = shape(run.model) if extras is None else extras.draft
        assert drafter is not None
        outputs = draft_output_bytes(drafter.with_mtp, runtime.n_seq_max, in_use=in_use)
        own, draft = _with(run, row[f"buffers{ending}"]), _with(run, row[f"buffers_draft{ending}"])
        for what, ours, true in _terms(estimate, own, draft, outputs, is_own=extras is None):
            if ours != true:
                yield f"{what}{ending}: ours {ours}, llama.cpp {true} ({ours - true:+d})"


def _with(run: Run, buffers: dict[str, dict[str, int]]) -> Run:
    return Run(run.model, run.gpus, run.capabilities, run.runtime, buffers, run.text)


def _terms(
    estimate: Estimate, own: Run, draft: Run, outputs: int, *, is_own: bool
) -> Iterator[tuple[str, int, int]]:
    kinds = ("context", "compute") if is_own else ("model", "context", "compute")
    for i, device in enumerate(estimate.devices):
        yield f"CUDA{i} weights", device.weights_bytes, own.gpu(i, "model")
        state = device.kv_cache_bytes + device.recurrent_bytes
        yield f"CUDA{i} context", state, own.gpu(i, "context")
        yield f"CUDA{i} compute", device.compute_bytes, own.gpu(i, "compute")
        true = sum(draft.gpu(i, kind) for kind in kinds)
        yield f"CUDA{i} draft", device.extras[-1].n_bytes, true
    host = estimate.host
    yield "host weights", host.weights_bytes, own.host("model")
    yield "host context", host.kv_cache_bytes + host.recurrent_bytes, own.host("context")
    yield "host compute", host.compute_bytes, own.host("compute")
    # What is put out is in no buffer that llama.cpp counts.
    true = sum(draft.host(kind) for kind in kinds)
    yield "host draft", host.extras[-1].n_bytes - outputs, true
