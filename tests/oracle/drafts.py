"""Records what drafting with nextn/MTP blocks takes: `--spec-type draft-mtp`.

    mkdir -p models && .ci/cache/oracle/generate models
    python -m tests.oracle.drafts models > runs.jsonl
    python -m tests.truth.pack --as drafts- models runs.jsonl

The small models of the folder that are called `tiny-*-mtp` draft for themselves, and with a file
of their nextn blocks alone beside them, which is made of them; so do headers that are packed
already. The last model has a drafter that reads its caches.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ggufctl.core.header import Header
from ggufctl.core.placement import block_of
from tests.oracle.ask import DEFAULTS, Row, ask
from tests.oracle.check import write_model
from tests.oracle.record import BF16, NO_FA, Q8
from tests.truth.pack import read
from tests.truth.recorded import headers

DRAFT_Q8 = {"spec_draft_type_k": "q8_0", "spec_draft_type_v": "q8_0"}
DRAFT_BF16 = {"spec_draft_type_k": "bf16", "spec_draft_type_v": "bf16"}
SLOTS = {"n_parallel": 4}
TWO_GPUS = {"device": "h100x2"}

EVERY_MODEL: tuple[Row, ...] = (
    {},
    {"n_parallel": 2},
    SLOTS,
    {**SLOTS, "kv_unified": True},
    Q8,
    DRAFT_Q8,
    {**Q8, **DRAFT_Q8},
    {**BF16, **DRAFT_BF16},
    NO_FA,
    {**NO_FA, **SLOTS},
    {"n_ubatch": 128},
    {"n_ubatch": 16},
    {"n_ubatch": 2, **DRAFT_Q8},
    {"n_ctx": 1000, "n_parallel": 3},
    {"n_ctx": 8192, "n_ubatch": 2048},
    {"n_ctx": 8192, "swa_full": True},
    {"n_ctx": 32768},
    {"spec_draft_n_max": 0},
    {"spec_draft_n_max": 1},
    {"spec_draft_n_max": 8, **SLOTS},
    {"n_gpu_layers": 0},
    {"n_gpu_layers": 1},
    {"n_gpu_layers": 2},
    {"no_kv_offload": True},
    {"no_kv_offload": True, **NO_FA},
    {"overrides": ["ffn_(up|gate).*=CPU"]},
    {"device": "cpu"},
    TWO_GPUS,
    {**TWO_GPUS, "tensor_split": "3,1"},
    {**TWO_GPUS, "split_mode": "none"},
    {"device": "h100x3", **SLOTS},
)

WITH_EXPERTS: tuple[Row, ...] = (
    {"n_cpu_moe": 1},
    {"n_cpu_moe": 2},
    {"n_cpu_moe": 999},
    {"n_cpu_moe": 1, **TWO_GPUS},
)

REAL = (
    "DeepSeek-V3.2-Q4_K_M",
    "GLM-4.5-Air-Q4_K_M",
    "GLM-4.5-UD",
    "GLM-5-IQ4_XS",
    "Ling-flash-2-Q4_K_M",
    "Qwen3.5-4B-Q4_K_M",
    "Qwen3.5-4B-UD",
)
"""Packed headers with nextn blocks; Ling's llama.cpp does not draft with."""

FEW = 9
"""Every so many settings are asked with a draft model."""

READS_CACHES = ("tiny-gemma4-dense", "tiny-gemma4-assistant-dense")
"""A model, and one that drafts out of its caches."""


def spread(header: Header) -> list[Row]:
    """The settings to record for a model, each complete."""
    n_layer = int(str(header.metadata[f"{header.architecture}.block_count"]))
    half = max(1, n_layer // 2)
    chosen = [*EVERY_MODEL, {"n_gpu_layers": half}, {"n_gpu_layers": n_layer}]
    chosen.append({"n_gpu_layers": half, **TWO_GPUS})
    if any("_exps" in name for name in header.tensors):
        chosen += WITH_EXPERTS
    return [{**DEFAULTS, "n_outputs": 0, "spec_type": "draft-mtp", **row} for row in chosen]


def nextn_alone(header: Header) -> Header:
    """What of a model a file of its nextn blocks alone has."""
    n_layer = int(str(header.metadata[f"{header.architecture}.block_count"]))
    n_nextn = int(str(header.metadata[f"{header.architecture}.nextn_predict_layers"]))
    kept = {
        name: info
        for name, info in header.tensors.items()
        if (il := block_of(name)) is None or il >= n_layer - n_nextn
    }
    return replace(header, tensors=kept)


def record(name: str, header: Header, draft: tuple[str, Header] | None = None) -> Iterator[Row]:
    """Runs of one model, by itself or with one that drafts for it.

    Raises: OracleError if the oracle cannot be asked.
    """
    asked = spread(header)
    with tempfile.TemporaryDirectory() as folder:
        path = write_model(header, Path(folder) / "model.gguf")
        if draft is not None:
            beside = str(write_model(draft[1], Path(folder) / "draft.gguf"))
            asked = [{**row, "draft": beside} for row in asked]
        for row in ask(path, asked):
            row.pop("detail", None)
            if draft is not None:
                row["draft"] = draft[0]
            yield {"architecture": header.architecture, "model": name, **row}


def all_runs(folder: Path) -> Iterator[list[Row]]:
    """Runs of everything, model by model."""
    packed = headers()
    for path in sorted(folder.glob("tiny-*-mtp.gguf")):
        header = read(path)
        kept = {k: v for k, v in header.metadata.items() if not k.startswith("tokenizer.")}
        header = replace(header, metadata=kept)
        yield list(record(path.stem, header))
        yield list(record(path.stem, header, ("nextn alone", nextn_alone(header))))[::FEW]
    for name in REAL:
        yield list(record(name, packed[name]))
    model, drafter = READS_CACHES
    yield list(record(model, packed[model], (drafter, packed[drafter])))


def _say(runs: Iterable[Row]) -> None:
    refused = 0
    for row in runs:
        refused += "error" in row
        sys.stdout.write(json.dumps(row, separators=(",", ":")) + "\n")
    sys.stderr.write(f"{row['model']} {row.get('draft', '')}: {refused} refused\n")


def main(arguments: list[str]) -> None:
    """Record every model of a folder that drafts, and the packed ones."""
    (folder,) = arguments
    for runs in all_runs(Path(folder)):
        _say(runs)


if __name__ == "__main__":
    main(sys.argv[1:])
