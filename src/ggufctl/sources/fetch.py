"""Brings the files of a model to this machine: a complete set of shards at one commit, or nothing.

Uses the Hub client's own cache, so that nothing is fetched twice.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ggufctl.core.escape import quoted
from ggufctl.errors import DoesNotFit, InvalidGguf, ModelNotFound, UsageError
from ggufctl.sources import hub
from ggufctl.sources.base import ModelFile, OnEvent, SourceEvent, ignore
from ggufctl.sources.references import hub_endpoint

__all__ = ["fetch_files", "missing_bytes"]

_CHUNK_BYTES = 8 << 20


def missing_bytes(repo: str, commit: str, files: Sequence[ModelFile]) -> int:
    """What would have to be downloaded of these files.  [bytes]"""
    if not repo:
        return 0
    return sum(f.size_bytes for f in files if hub.cached_file(repo, commit, f.path) is None)


def fetch_files(
    source: str,
    repo: str,
    commit: str,
    files: Sequence[ModelFile],
    *,
    on_event: OnEvent = ignore,
) -> tuple[Path, ...]:
    """Where the files lie on this machine, in the same order, each as large as it should be.

    Args:
        source: `local`, `hub` or `url`.
        repo: repository on the Hub; empty for local files.
        commit: the one commit that all shards are taken from.
        files: in shard order.
        on_event: hears of each download.

    Raises: as the sources do; InvalidGguf for a file of the wrong size or content; DoesNotFit
        when the disk is too small for it.
    """
    if source == "url":
        raise UsageError(
            "A model behind a plain URL cannot be served yet.",
            "Download the file and serve its path.",
        )
    if source == "local":
        return tuple(_local(file) for file in files)
    _check_disk(missing_bytes(repo, commit, files))
    return tuple(_from_hub(repo, commit, file, on_event) for file in files)


def _check_disk(n_bytes: int) -> None:
    """Refuse a download that the disk cannot hold, before its first byte.  [bytes]"""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise DoesNotFit(
            f"The download has {n_bytes} bytes and {quoted(str(folder))} has {free} left.",
            "Make room, or set HF_HOME to a larger disk.",
        )


def _local(file: ModelFile) -> Path:
    path = Path(os.path.expanduser(file.path)).absolute()
    if not path.is_file():
        raise ModelNotFound(f"There is no file {quoted(str(path))}.")
    _check_size(path, file)
    return path


def _from_hub(repo: str, commit: str, file: ModelFile, on_event: OnEvent) -> Path:
    from huggingface_hub import hf_hub_download

    kept = hub.cached_file(repo, commit, file.path)
    if kept is not None:
        _check_size(kept, file)
        return kept
    on_event(SourceEvent("downloading", f"{repo}/{file.path}", file.size_bytes))
    with hub._translated(repo, commit):
        path = Path(
            hf_hub_download(
                repo,
                file.path,
                revision=commit,
                endpoint=hub_endpoint(),
                library_name="ggufctl",
            )
        )
    _check_size(path, file)
    if file.sha256 is not None and _sha256(path) != file.sha256:
        # Kept, it would be taken for good the next time.
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise InvalidGguf(
            f"{quoted(file.path)} is not what the Hub says it is: its sha256 differs.",
            "It was removed: try again.",
        )
    return path


def _check_size(path: Path, file: ModelFile) -> None:
    size = path.stat().st_size
    if file.size_bytes and size != file.size_bytes:
        raise InvalidGguf(
            f"{quoted(str(path))} has {size} bytes and should have {file.size_bytes}.",
            "Fetch it again.",
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
