"""What a container without a GPU does to a Volume: fetch a model's files, or hash them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ggufctl.remote.download import download
from ggufctl.remote.layout import FlatLayout, WantedFile
from ggufctl.remote.transfer import verify

__all__ = ["work"]

COMMIT_BYTES = 4_000_000_000
"""So much of what arrived may be lost with a container that is killed, and no more."""


def work(config: Mapping[str, Any], commit: Callable[[], object]) -> Iterator[dict[str, Any]]:
    """Do what `task` says, `download` or `verify`, and tell of it as it goes.

    Args:
        config: `task`, `repo`, `commit`, `endpoint`, `folder`, and `files` as path, size, sha256.
        commit: keeps what is on the Volume.

    Raises: as `remote.transfer.transfer`.
    """
    committed = 0
    for event in download(config) if config["task"] == "download" else _verify(config):
        done = int(event["all_done_bytes"])
        if event["state"] in ("complete", "verified", "differs") or done - committed > COMMIT_BYTES:
            # The container may end before Modal would have done it by itself.
            commit()
            committed = done
        yield event
    commit()


def _verify(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    layout = FlatLayout(Path(config["folder"]), config["repo"], config["commit"])
    known = {record.path: record.sha256 for record in layout.records()}
    files = [
        WantedFile(path, size_bytes, sha256 or known.get(path) or None)
        for path, size_bytes, sha256 in config["files"]
    ]
    hashes = {file.path: file.sha256 for file in files}
    for event in verify(layout, files):
        found = event.as_dict()
        if event.state == "verified" and not hashes[event.file]:
            # Its size is right; there is nothing to hold its content against.
            found["state"] = "unverified"
        yield found
