"""Brings a model's files onto a Volume, in a container that has a CPU only."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["download"]

_CHUNK_BYTES = 8 << 20


def download(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Fetch what is missing and say so file by file; a half file never has its final name.

    Args:
        config: `repo`, `commit`, `endpoint`, `folder` and `files` as path, size and sha256.

    Raises: RuntimeError when a file is not what it should be; else what the Hub client raises.
    """
    hub = import_module("huggingface_hub")
    folder = Path(config["folder"])
    for path, size_bytes, sha256 in config["files"]:
        final = folder / path
        if final.is_file() and final.stat().st_size == size_bytes:
            yield {"file": path, "state": "present", "bytes": size_bytes}
            continue
        yield {"file": path, "state": "downloading", "bytes": size_bytes}
        partial = folder / ".partial"
        found = Path(
            hub.hf_hub_download(
                config["repo"],
                path,
                revision=config["commit"],
                endpoint=config["endpoint"] or None,
                token=os.environ.get("HF_TOKEN") or False,
                local_dir=partial,
                library_name="ggufctl",
            )
        )
        actual = found.stat().st_size
        if actual != size_bytes:
            raise RuntimeError(f"{path} has {actual} bytes and should have {size_bytes}")
        if sha256 and _sha256(found) != sha256:
            raise RuntimeError(f"{path} is not what the Hub says it is: its sha256 differs")
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(found, final)
        yield {"file": path, "state": "complete", "bytes": size_bytes}
    shutil.rmtree(folder / ".partial", ignore_errors=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
