"""Records what the standard spread leaves out, on headers that are packed already.

    python -m tests.oracle.more few-tokens > runs.jsonl
    python -m tests.truth.pack --add runs.jsonl

`few-tokens` is micro-batches of a few tokens on every kind of GPU, whose flash-attention
kernels differ then; `cache-on-host` is `-nkvo`; `overridden` is `-ot`; `uneven` is `-ts`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from ggufctl.core.header import Header
from tests.oracle.ask import DEFAULTS, Row, ask
from tests.oracle.check import write_model
from tests.oracle.record import BF16, EMBEDDING, F32, NO_FA, Q4, Q8, SLOTS, TARGETS
from tests.truth.recorded import headers

DEVICES = ("t4", "a100-80", "a10g", "l4", "h100", "b200")
"""One GPU of every kind that ggml-cuda tells apart."""

TWO = {"n_parallel": 2, "n_outputs": 2}
Q8K = {"cache_type_k": "q8_0"}
MIXED = {**Q8K, "flash_attn": "on"}
UNCOMPILED = {"cache_type_k": "q5_1", "cache_type_v": "q5_1"}

FEW_TOKENS: tuple[Row, ...] = (
    {"n_ubatch": 1, **Q8},
    {"n_ubatch": 2, **Q8},
    {"n_ubatch": 3, **Q4},
    {"n_ubatch": 2, **MIXED},
    {"n_ubatch": 2, **UNCOMPILED, "n_ctx": 16384},
    {"n_ubatch": 1, **BF16},
    {"n_ubatch": 2, **BF16},
    {"n_ubatch": 1, **F32, "n_ctx": 16384},
    {"n_ubatch": 1},
    {"n_ubatch": 4, **TWO, **Q8},
    {"n_ubatch": 2, **TWO, "kv_unified": True, **Q4},
    {"n_ubatch": 8, **SLOTS, **Q8},
    {"n_ubatch": 4, **SLOTS, **BF16},
)

AS_ALL_DEVICES = frozenset(("l4", "b200"))
"""Asked for some of the settings only: they are of the kind of the H100."""


def few_tokens(header: Header) -> list[Row]:
    """Tiny micro-batches, on one GPU of every kind and on two of them."""
    rows = [
        {**changed, "device": device}
        for i, changed in enumerate(FEW_TOKENS)
        for device in DEVICES
        if device not in AS_ALL_DEVICES or i % 4 == 1
    ]
    half = _half(header)
    for device in ("t4", "a10gx2", "l4x2"):
        rows.append({"device": device, "n_ubatch": 2, **Q8, "n_gpu_layers": half})
        rows.append({"device": device, **TWO, "kv_unified": True, **Q8, "n_gpu_layers": half})
    return [*rows, *({"device": d, "n_ubatch": 2, **Q8} for d in ("t4x2", "a10gx2", "h100x2"))]


def _half(header: Header) -> int:
    return max(1, int(str(header.metadata[f"{header.architecture}.block_count"])) // 2)


ON_HOST: Row = {"no_kv_offload": True}

CACHE_ON_HOST: tuple[Row, ...] = (
    {},
    Q8,
    BF16,
    F32,
    NO_FA,
    {**NO_FA, **SLOTS},
    {**NO_FA, "n_outputs": 0},
    {**NO_FA, "cache_type_k": "q8_0"},
    {**NO_FA, "device": "h100x2"},
    SLOTS,
    {**SLOTS, **Q8, "kv_unified": True},
    {"n_ctx": 8192, "n_ubatch": 128, **Q4},
    {"n_ctx": 32768, "swa_full": True},
    {"n_ubatch": 2, **Q8, "device": "t4"},
    {"n_ubatch": 16},
    {"device": "h100x2"},
    {"device": "h100x2", **Q8},
    {"n_gpu_layers": 0},
    {"n_gpu_layers": 0, **NO_FA},
)


def cache_on_host(header: Header) -> list[Row]:
    """`-nkvo` under settings that move other things as well."""
    half = _half(header)
    rows = [*CACHE_ON_HOST, {"n_gpu_layers": half}, {"n_gpu_layers": half, **NO_FA, **Q8K}]
    if any("_exps" in name for name in header.tensors):
        rows += ({"n_cpu_moe": 1}, {"n_cpu_moe": 2, **NO_FA}, {"n_cpu_moe": 1, "device": "h100x2"})
    return [{**row, **ON_HOST} for row in rows]


OVERRIDES: tuple[tuple[str, ...], ...] = (
    ("ffn_.*=CPU",),
    ("blk\\.[0-9]*[02468]\\.ffn_(up|down|gate)=CPU",),
    ("exps=CPU",),
    ("^output=CPU",),
    ("token_embd=CUDA0",),
    ("token_embd=CUDA0", "^output=CPU"),
    ("attn=CPU",),
    ("blk\\.0\\.=CPU",),
    ("norm=CPU",),
    ("ffn_down=CPU", "blk\\.1\\.=CPU"),
    ("rope=CPU",),
    ("no such tensor=CPU",),
)


BETWEEN_GPUS = ("ffn_up=CUDA1", "blk\\.0\\.=CUDA1", "output=CUDA0", "attn=CPU")


def overridden(header: Header) -> list[Row]:
    """`-ot` to the host and to GPUs."""
    half = _half(header)
    beside: tuple[Row, ...] = (
        *(Q8, NO_FA, SLOTS, {"n_ubatch": 16}, {"n_ubatch": 2048, "n_ctx": 8192}),
        *({"device": "h100x2"}, {"n_gpu_layers": half}, ON_HOST),
    )
    rows: list[Row] = [
        *({"overrides": list(entries)} for entries in OVERRIDES),
        *({"overrides": ["ffn_(up|gate).*=CPU"], **changed} for changed in beside),
        *({"overrides": [entry], "device": "h100x2"} for entry in BETWEEN_GPUS),
    ]
    rows.append({"overrides": ["attn=CUDA0", "ffn_down=CUDA0"], "n_gpu_layers": 0})
    if any("_exps" in name for name in header.tensors):
        rows.append({"overrides": ["ffn_up_exps=CUDA0"], "n_cpu_moe": 2})
        rows.append({"overrides": ["ffn_up_exps=CUDA1"], "n_cpu_moe": 2, "device": "h100x2"})
    return rows


def _shared(device: str, tensor_split: str, **changed: object) -> Row:
    return {"device": device, "tensor_split": tensor_split, **changed}


UNEVEN: tuple[Row, ...] = (
    _shared("h100x2", "3,1"),
    _shared("l4x2", "1,3", **Q8),
    _shared("h100x3", "5,1,2"),
    _shared("h100x4", "1,2,3,4", **SLOTS),
    # A GPU without a layer: in the middle, the first, and those without a value.
    _shared("h100x3", "1,0,2"),
    _shared("h100x2", "0,1"),
    _shared("h100x4", "2,1"),
    _shared("h100x2", "1,0", **Q4),
    _shared("h100x4", "1,0.02,0.02,1"),
    # What is beyond the GPUs is not read, and where nothing is left llama.cpp divides by itself.
    _shared("h100x3", "3,2,1,7"),
    _shared("h100x2", "0,0,1"),
    _shared("h100x2", "0,1", split_mode="none"),
    _shared("h100", "3,1"),
    _shared("h100x2", "3,1", **NO_FA),
    _shared("a100-80x3", "1,1,4", n_ctx=32768, n_ubatch=1024),
    _shared("h100x2", "1,3", **ON_HOST),
    _shared("h100x3", "1,0,1", **ON_HOST, **NO_FA),
    _shared("h100x2", "3,1", overrides=["ffn_(up|gate).*=CPU"]),
    _shared("h100x3", "1,0,1", overrides=["ffn_down=CUDA1"]),
)


def uneven(header: Header) -> list[Row]:
    """`-ts` on two to four GPUs, with all layers on them and with some."""
    half = _half(header)
    rows = [
        *UNEVEN,
        _shared("h100x2", "3,1", n_gpu_layers=half),
        _shared("h100x3", "1,4,1", n_gpu_layers=half, **Q8),
        _shared("h100x4", "0,1,1", n_gpu_layers=half, **ON_HOST),
    ]
    if any("_exps" in name for name in header.tensors):
        rows += [
            _shared("h100x2", "1,3", n_cpu_moe=2),
            _shared("h100x3", "2,1", n_cpu_moe=half, **Q8),
        ]
    return rows


SPREADS: dict[str, Callable[[Header], list[Row]]] = {
    "few-tokens": few_tokens,
    "cache-on-host": cache_on_host,
    "overridden": overridden,
    "uneven": uneven,
}


def record(name: str, rows: Iterable[Row], folder: Path) -> list[Row]:
    """Runs of one packed model.

    Raises: OracleError if the oracle cannot be asked.
    """
    header = headers()[name]
    arch = header.architecture
    whole = {"embeddings": True, "n_outputs": 0} if arch in EMBEDDING else {}
    path = write_model(header, folder / f"{name}.gguf")
    answers = ask(path, [{**DEFAULTS, **row, **whole} for row in rows])
    path.unlink()
    for row in answers:
        row.pop("detail", None)
    return [{"architecture": arch, "model": name, **row} for row in answers]


def main(arguments: list[str]) -> None:
    """Record a spread for every packed model of the names given, or for all."""
    spread, *names = arguments
    with tempfile.TemporaryDirectory() as folder:
        for name, header in headers().items():
            if header.architecture in TARGETS or (names and name not in names):
                continue
            rows = record(name, SPREADS[spread](header), Path(folder))
            refused = sum("error" in row for row in rows)
            sys.stderr.write(f"{name}: {len(rows)} runs, {refused} refused\n")
            for row in rows:
                if "error" not in row:
                    sys.stdout.write(json.dumps(row, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
