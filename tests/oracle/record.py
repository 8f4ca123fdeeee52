"""Records what llama.cpp does with every model of a folder under a standard spread of settings.

    python -m tests.oracle.record HEADERS_DIR > runs.jsonl

The spread is up to 43 settings, 49 for a model with experts. What comes out is what
`python -m tests.truth.pack` takes; settings that llama.cpp refuses are in it with their `error`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from ggufctl.core.header import Header
from tests.oracle.ask import DEFAULTS, Row, ask
from tests.truth.pack import read

Q8 = {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}
Q4 = {"cache_type_k": "q4_0", "cache_type_v": "q4_0"}
BF16 = {"cache_type_k": "bf16", "cache_type_v": "bf16"}
F32 = {"cache_type_k": "f32", "cache_type_v": "f32"}
SLOTS = {"n_parallel": 4, "n_outputs": 4}
SHARED = {**SLOTS, "kv_unified": True}
NO_FA = {"flash_attn": "off"}

EVERY_MODEL: tuple[Row, ...] = (
    {},
    Q8,
    Q4,
    BF16,
    F32,
    NO_FA,
    SLOTS,
    SHARED,
    {"n_ctx": 512},
    {"n_ctx": 512, "n_ubatch": 128, **SHARED, **Q8},
    {"n_ctx": 1000, "n_parallel": 3, "n_outputs": 3},
    {"n_ctx": 8192},
    {"n_ctx": 8192, "n_ubatch": 2048},
    {"n_ctx": 8192, **NO_FA, **SHARED},
    {"n_ctx": 8192, **SLOTS, **Q8},
    {"n_ctx": 8192, **SHARED, "swa_full": True},
    {"n_ctx": 8192, "n_outputs": 0, **NO_FA},
    {"n_ctx": 32768},
    {"n_ctx": 32768, **Q8},
    {"n_ctx": 32768, **NO_FA},
    {"n_ubatch": 128},
    {"n_ubatch": 128, **NO_FA, **SLOTS},
    {"n_batch": 256, "n_ubatch": 256},
    {"n_outputs": 0},
    {"n_outputs": 0, "n_ubatch": 2048},
    {"cache_type_k": "q8_0", "flash_attn": "on"},
    {"cache_type_k": "q8_0", **NO_FA},
    {"swa_full": True},
    {"n_gpu_layers": 0},
    {"n_gpu_layers": 0, **NO_FA},
    {"n_gpu_layers": 0, **SLOTS},
    {"n_gpu_layers": 1},
    {"n_gpu_layers": 1, "n_ctx": 512, **NO_FA},
    {"device": "h100x2"},
    {"device": "h100x2", "n_ubatch": 128, **SLOTS},
    {"device": "h100x2", **Q8},
    {"device": "h100x2", **NO_FA},
    {"device": "h100x2", "n_ctx": 8192, **SHARED},
    {"device": "h100x4", "n_ctx": 8192},
)

WITH_EXPERTS: tuple[Row, ...] = (
    {"n_cpu_moe": 1},
    {"n_cpu_moe": 1, **Q8},
    {"n_cpu_moe": 1, **NO_FA, "n_ubatch": 2048},
    {"n_cpu_moe": 1, "device": "h100x2"},
    {"n_cpu_moe": 2},
    {"n_cpu_moe": 2, "n_ctx": 512, "n_ubatch": 128},
)

EMBEDDING = frozenset(
    (
        "bert",
        "clef",
        "eurobert",
        "gemma-embedding",
        "jina-bert-v2",
        "jina-bert-v3",
        "llama-embed",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "t5encoder",
    )
)
"""Architectures that embed, or judge, a text as a whole: every token of a batch is an output."""

TARGETS = {"eagle3": "tiny-qwen3-dense", "gemma4-assistant": "tiny-gemma4-dense"}
"""Drafts that exist only beside a target, and a small target of the same width."""


def by_depth(n_layer: int) -> tuple[Row, ...]:
    """Settings that put a part of the blocks on the GPUs."""
    return (
        {"n_gpu_layers": max(2, n_layer // 2)},
        {"n_gpu_layers": max(1, n_layer // 2), "device": "h100x2"},
        {"n_gpu_layers": n_layer, "n_ctx": 8192},
        {"n_gpu_layers": n_layer, **Q8},
    )


def spread(header: Header) -> list[Row]:
    """The settings to record for a model, each complete."""
    arch = header.architecture
    n_layer = header.metadata[f"{arch}.block_count"]
    assert isinstance(n_layer, int)
    chosen = [*EVERY_MODEL, *by_depth(n_layer)]
    if any("_exps" in name for name in header.tensors):
        chosen += WITH_EXPERTS
    whole = {"embeddings": True, "n_outputs": 0} if arch in EMBEDDING else {}
    settings: list[Row] = []
    for row in ({**DEFAULTS, **changed, **whole} for changed in chosen):
        if row not in settings:
            settings.append(row)
    return settings


def record(path: Path) -> Iterator[Row]:
    """Runs of one model.

    Raises: OracleError if the oracle cannot be asked.
    """
    header = read(path)
    arch = header.architecture
    beside: Row = {}
    if name := TARGETS.get(arch):
        beside["target"] = str(path.with_name(f"{name}.gguf"))
        if arch == "gemma4-assistant":
            beside["ctx_type"] = "mtp"
    for row in ask(path, [{**settings, **beside} for settings in spread(header)]):
        row.pop("detail", None)
        if "target" in row:
            row["target"] = name
        yield {"architecture": arch, "model": path.stem, **row}


def main(arguments: list[str]) -> None:
    """Record every GGUF of a folder."""
    (folder,) = arguments
    for path in sorted(Path(folder).glob("*.gguf")):
        rows = list(record(path))
        refused = sum("error" in row for row in rows)
        sys.stderr.write(f"{path.stem}: {len(rows)} runs, {refused} refused\n")
        for row in rows:
            sys.stdout.write(json.dumps(row, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
