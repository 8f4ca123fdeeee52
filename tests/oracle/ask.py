"""Asks the oracle what llama.cpp allocates.

    python -m tests.oracle.ask MODEL.gguf ['{"n_ctx": 8192, "device": "h100x2"}' ...]

One answer per object of settings, as JSON; without any, one for `DEFAULTS`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ggufctl.catalog import load_catalogue
from ggufctl.core.gpus import GpuCatalogue
from tests.truth.recorded import OTHER_NAMES

Settings = Mapping[str, Any]
Row = dict[str, Any]

DEFAULTS: Row = {
    "device": "h100",
    "n_gpu_layers": -1,
    "n_cpu_moe": 0,
    "n_ctx": 4096,
    "cache_type_k": "f16",
    "cache_type_v": "f16",
    "flash_attn": "auto",
    "n_ubatch": 512,
    "n_batch": 2048,
    "n_parallel": 1,
    "kv_unified": False,
    "n_outputs": 1,
    "embeddings": False,
    "swa_full": False,
    "split_mode": "layer",
    "tensor_split": "-",
}
"""Settings of a recorded run, by llama.cpp's names.

`device` is `cpu`, or a GPU of the catalogue and how many of it. `n_outputs` 0 means as many as the
batch.
"""

OPTIONAL = (
    *("main_gpu", "cpu_moe", "n_cpu_ffn", "overrides", "no_host", "no_kv_offload"),
    *("no_op_offload", "load_mtp", "n_rs_seq", "n_outputs_per_seq", "n_outputs_mtp"),
    *("pooling_type", "ctx_type", "ctx_other", "target"),
    *("spec_type", "spec_draft_n_max", "spec_draft_type_k", "spec_draft_type_v", "draft"),
)
"""Settings that are off, or llama.cpp's own default, where they are not given.

`overrides` is a list of `PATTERN=BUFFER TYPE`, `pooling_type` a number, `target` the path of the
model that this one drafts for. `ctx_type` is `default` or `mtp`: then the context is the MTP one,
beside the model's main one unless `ctx_other` is false.

`spec_type` `draft-mtp` is all of that as llama-server has it, whatever `n_outputs` is: the context
beside the model's own is in `buffers_draft`, of the model `draft` if there is that path, and both
once they are in use (`*_in_use`).
"""

LABELS = ("architecture", "model")
"""What a recorded run has besides; it is handed through."""

SPECULATING = ("buffers", "buffers_draft", "buffers_in_use", "buffers_draft_in_use")
"""Buffers in an answer to `spec_type` `draft-mtp`."""

ANSWERS = ("n_ctx_total", "n_ctx_seq", *SPECULATING, "buffers_main", "error", "detail")
"""What an answer has beyond its settings."""


class OracleError(Exception):
    """The oracle itself is missing or incomplete; what llama.cpp refuses is an answer instead."""


def folder() -> Path:
    """Where the oracle is built: `GGUFCTL_ORACLE`, or in the cache of this checkout."""
    here = Path(__file__).resolve().parents[2] / ".ci" / "cache" / "oracle"
    return Path(os.environ.get("GGUFCTL_ORACLE", here))


@lru_cache(maxsize=1)
def _catalogue() -> GpuCatalogue:
    return load_catalogue()


def _environment(device: str) -> dict[str, str]:
    """The machine as the stand-in for CUDA reads it."""
    if device == "cpu":
        return {"GGUFCTL_ORACLE_GPUS": "0"}
    found = re.fullmatch(r"(.+?)(?:x(\d+))?", device)
    if not found:
        raise OracleError("A device needs a name.")
    name, count = found.groups()
    gpu = _catalogue().find(OTHER_NAMES.get(name, name))
    major, minor = gpu.capability
    return {
        "GGUFCTL_ORACLE_GPUS": count or "1",
        "GGUFCTL_ORACLE_CAPABILITY": str(10 * major + minor),
        "GGUFCTL_ORACLE_MIB": str((gpu.cuda_bytes or gpu.nominal_gb << 30) >> 20),
    }


def _answers(model: Path, device: str, settings: list[Row]) -> list[Row]:
    program = folder() / "oracle"
    if not program.exists():
        raise OracleError(f"There is no {program}: run `python -m tests.oracle.build`.")
    done = subprocess.run(
        [program, model],
        input="".join(json.dumps(line) + "\n" for line in settings),
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, **_environment(device)},
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or len(rows) != len(settings):
        raise OracleError(f"{len(rows)} answers to {len(settings)} settings of {model}")
    for row in rows:
        if "mistake" in row:
            raise OracleError(row["mistake"])
        if "missing" in row:
            raise OracleError(f"Add the file of ggml-cuda that has {row['missing']} to build.py.")
    return rows


def _complete(settings: Settings) -> Row:
    """The settings with every default, and without the answer of a recorded run."""
    row = {k: v for k, v in {**DEFAULTS, **settings}.items() if k not in ANSWERS}
    if unknown := row.keys() - {*DEFAULTS, *OPTIONAL, *LABELS}:
        raise OracleError(f"The oracle knows no setting {', '.join(sorted(unknown))}.")
    return row


def ask(model: Path, settings: Iterable[Settings]) -> list[Row]:
    """What llama.cpp does with a model under each of some settings, in their order.

    Each answer is the settings, completed by `DEFAULTS`, with `n_ctx_total`, `n_ctx_seq` and
    `buffers`: bytes of `model`, `context` and `compute` by buffer type. Where llama.cpp fails,
    `error` and its last words in `detail` instead.

    Raises: OracleError if the oracle is not built or lacks a part that llama.cpp needs, and on a
        setting that it does not know; UsageError on a GPU that is not in the catalogue.
    """
    asked = [_complete(line) for line in settings]
    by_device: dict[str, list[int]] = defaultdict(list)
    # Settings that load the model alike come together, so that it is loaded once for them.
    keys = ("n_gpu_layers", "n_cpu_moe", "split_mode", "tensor_split")
    for i in sorted(range(len(asked)), key=lambda i: [str(asked[i][key]) for key in keys]):
        by_device[asked[i]["device"]].append(i)
    found: dict[int, Row] = {}
    for device, places in by_device.items():
        found.update(zip(places, _answers(model, device, [asked[i] for i in places]), strict=True))
    return [found[i] for i in range(len(asked))]


def main(arguments: list[str]) -> None:
    """Print one answer per argument after the model."""
    model, *lines = arguments
    for row in ask(Path(model), [json.loads(line) for line in lines] or [DEFAULTS]):
        sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
