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


@dataclass(frozen=True, slots=True)
class Run:
    """One run of llama.cpp's allocator."""

    model: str
    n_gpus: int
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
    found = {}
    raw = lzma.decompress((HERE / "headers.tar.xz").read_bytes())
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
    """Recorded runs on equal GPUs, every n-th of them."""
    for r in rows(every):
        if r.get("tensor_split", "-") != "-" or r["split_mode"] not in ("layer", "none"):
            continue
        _, _, count = r["device"].partition("x")
        n_gpus = 0 if r["device"] == "cpu" else int(count or 1)
        runtime = Runtime(**{name: r[name] for name in FIELDS}, load_mode="none")
        settings = " ".join(f"{name}={r[name]}" for name in ("model", "device", *FIELDS))
        yield Run(r["model"], n_gpus, runtime, r["buffers"], settings)
