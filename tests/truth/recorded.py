"""Reads the packed runs: which model, which settings, and every buffer in bytes."""

from __future__ import annotations

import io
import json
import lzma
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ggufctl.catalog import load_catalogue
from ggufctl.core.gpus import Gpu, GpuCatalogue
from ggufctl.core.header import Header, parse_header
from ggufctl.core.memory import ModelShape
from ggufctl.core.runtime import Runtime

HERE = Path(__file__).parent

FIELDS = (
    *("n_ctx", "n_parallel", "kv_unified", "cache_type_k", "cache_type_v", "flash_attn"),
    *("n_batch", "n_ubatch", "n_gpu_layers", "n_cpu_moe", "split_mode", "n_outputs"),
    *("embeddings", "swa_full"),
)
"""Settings of a run that a `Runtime` has by the same name."""

OTHER_NAMES = {"a100-40": "A100-40GB", "a100-80": "A100-80GB"}
"""GPUs that recorded runs call otherwise than the catalogue."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of llama.cpp's allocator."""

    model: str
    gpus: tuple[str, ...]
    capabilities: tuple[tuple[int, int], ...]
    runtime: Runtime
    buffers: dict[str, dict[str, int]]
    text: str

    def gpu(self, i: int, what: str) -> int:
        """Bytes of one kind on one GPU."""
        return self.buffers.get(f"CUDA{i}", {}).get(what, 0)

    def host(self, what: str) -> int:
        """Bytes of one kind in host memory."""
        on_gpus = re.compile(r"CUDA\d+$")
        return sum(b[what] for name, b in self.buffers.items() if not on_gpus.match(name))


@lru_cache(maxsize=1)
def headers() -> dict[str, Header]:
    """Header of every recorded model."""
    return read_headers("headers.tar.xz")


def read_headers(archive: str) -> dict[str, Header]:
    """Headers of an archive in this folder, by model."""
    found = {}
    raw = lzma.decompress((HERE / archive).read_bytes())
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            size = int(member.pax_headers["GGUFCTL.size"])
            found[member.name.removesuffix(".gguf")] = parse_header(file.read(), size)
    return found


@cache
def shape(model: str) -> ModelShape:
    """Model ready for estimates."""
    return ModelShape(headers()[model])


def rows(every: int = 1) -> Iterator[dict[str, Any]]:
    """Recorded runs as they are packed, every n-th of them."""
    text = lzma.decompress((HERE / "runs.jsonl.xz").read_bytes()).decode()
    for line in text.splitlines()[::every]:
        yield json.loads(line)


def runs(every: int = 1) -> Iterator[Run]:
    """Recorded runs that an estimate can be held against, every n-th of them."""
    return filter(None, map(as_run, rows(every)))


def as_run(row: dict[str, Any]) -> Run | None:
    """A packed run, or None for one split in a way that is not planned."""
    if row["split_mode"] not in ("layer", "none"):
        return None
    name, _, count = row["device"].partition("x")
    gpus: tuple[Gpu, ...] = ()
    if name != "cpu":
        gpus = (_catalogue().find(OTHER_NAMES.get(name, name)),) * int(count or 1)
    shown = ("model", "device", *FIELDS, "tensor_split", "no_kv_offload", "overrides")
    shares = row.get("tensor_split", "-")
    runtime = Runtime(
        **{name: row[name] for name in FIELDS},
        load_mode="none",
        tensor_split=() if shares == "-" else shares,
        no_kv_offload=row.get("no_kv_offload", False),
        override_tensor=tuple(row.get("overrides", ())),
    )
    return Run(
        row["model"],
        tuple(gpu.name for gpu in gpus),
        tuple(gpu.capability for gpu in gpus),
        runtime,
        row["buffers"],
        " ".join(f"{name}={row[name]}" for name in shown if name in row),
    )


@cache
def _catalogue() -> GpuCatalogue:
    return load_catalogue()
