"""Headers and listings already read, on disk, so that a second plan costs next to nothing.

An entry is found by what it is the content of: a commit and a path, or a URL and its etag. It is
written beside its place and moved there, and an entry that does not read back is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ggufctl.core.header import Header, SkippedArray, TensorInfo, Value

__all__ = ["cache_dir", "load", "load_header", "store", "store_header"]

_FORMAT = 1


def cache_dir() -> Path:
    """Where entries are kept: `GGUFCTL_CACHE_DIR`, or the user's cache directory."""
    if own := os.environ.get("GGUFCTL_CACHE_DIR"):
        return _at_home(own)
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "ggufctl" / "cache"
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else _at_home("~/.cache")
    return root / "ggufctl"


def _at_home(path: str) -> Path:
    """A path with its `~` filled in; where nobody is at home, one that nothing is written to."""
    found = os.path.expanduser(path)
    return Path(os.devnull if found.startswith("~") else found)


def load(kind: str, *key: str) -> Any:
    """The JSON value stored under a key, or None."""
    try:
        raw = _place(kind, key).read_bytes()
        checksum, _, payload = raw.partition(b"\n")
        if int(checksum, 16) != zlib.crc32(payload):
            return None
        document = json.loads(payload)
        if document["format"] != _FORMAT or document["key"] != list(key):
            return None
        return document["value"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def store(value: object, kind: str, *key: str) -> None:
    """Keep a JSON value under a key; a disk that is full or read-only is no error."""
    place = _place(kind, key)
    document = {"format": _FORMAT, "key": list(key), "value": value}
    payload = json.dumps(document, separators=(",", ":")).encode()
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(b"%08x\n" % zlib.crc32(payload) + payload)
            os.replace(temporary, place)
        except OSError:
            os.unlink(temporary)
            raise


def load_header(*key: str) -> Header | None:
    """The header stored under a key, or None."""
    value = load("headers", *key)
    try:
        return None if value is None else _header_from(value)
    except (KeyError, ValueError, TypeError):
        return None


def store_header(header: Header, *key: str) -> None:
    """Keep the header of one file under a key."""
    store(_header_to(header), "headers", *key)


def _place(kind: str, key: tuple[str, ...]) -> Path:
    digest = hashlib.sha256("\0".join(key).encode("utf-8", "surrogatepass")).hexdigest()
    return cache_dir() / kind / digest[:2] / f"{digest}.json"


def _header_to(header: Header) -> dict[str, object]:
    return {
        "version": header.version,
        "metadata": {key: _value_to(value) for key, value in header.metadata.items()},
        "tensors": [list(tensor) for tensor in header.tensors.values()],
        "n_bytes": header.n_bytes,
        "alignment": header.alignment,
        "file_size": header.file_size,
        "n_shards": header.n_shards,
        "shard_no": header.shard_no,
    }


def _header_from(value: Mapping[str, Any]) -> Header:
    tensors = (
        TensorInfo(str(name), str(type_), tuple(map(int, shape)), int(offset), int(n_bytes))
        for name, type_, shape, offset, n_bytes in value["tensors"]
    )
    return Header(
        version=int(value["version"]),
        metadata={str(key): _value_from(stored) for key, stored in value["metadata"].items()},
        tensors={tensor.name: tensor for tensor in tensors},
        n_bytes=int(value["n_bytes"]),
        alignment=int(value["alignment"]),
        file_size=int(value["file_size"]),
        n_shards=int(value["n_shards"]),
        shard_no=int(value["shard_no"]),
    )


def _value_to(value: Value) -> object:
    if isinstance(value, SkippedArray):
        return {"skipped": value.type, "length": value.length}
    return list(value) if isinstance(value, tuple) else value


def _value_from(stored: Any) -> Value:
    if isinstance(stored, dict):
        return SkippedArray(str(stored["skipped"]), int(stored["length"]))
    if isinstance(stored, list):
        return tuple(stored)
    if not isinstance(stored, int | float | str):
        raise TypeError("not a metadata value")
    return stored
