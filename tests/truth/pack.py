"""Packs recorded runs and the headers they were recorded on into this folder.

    python -m tests.truth.pack HEADERS_DIR RUNS.jsonl [HEADERS_DIR RUNS.jsonl ...]
    python -m tests.truth.pack --add RUNS.jsonl [RUNS.jsonl ...]
    python -m tests.truth.pack --as PREFIX HEADERS_DIR RUNS.jsonl

With `--add` the runs join those that are packed, on models whose headers are packed already.
With `--as` files of their own get them, where refused runs count, and headers that the folder has.
Headers are written again without vocabulary, which no estimate reads; sizes and
tensors stay as they are. Runs keep the fields that differ between them.
"""

from __future__ import annotations

import io
import json
import lzma
import mmap
import struct
import sys
import tarfile
from pathlib import Path

from ggufctl.core.ggml.types import TYPES
from ggufctl.core.header import Header, SkippedArray, Value, parse_header

HERE = Path(__file__).parent


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _scalar(value: Value) -> tuple[int, bytes]:
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        if value < 0:
            return 11, struct.pack("<q", value)
        return (4, struct.pack("<I", value)) if value < 1 << 32 else (10, struct.pack("<Q", value))
    if isinstance(value, float):
        return 12, struct.pack("<d", value)
    assert isinstance(value, str)
    return 8, _string(value)


def _entry(key: str, value: Value) -> bytes:
    if isinstance(value, tuple):
        items = [_scalar(v) for v in value]
        kinds = {kind for kind, _ in items} or {4}
        if kinds <= {4, 10, 11} and len(kinds) > 1:
            items = [(11, struct.pack("<q", v)) for v in value if isinstance(v, int)]
            kinds = {11}
        body = b"".join(raw for _, raw in items)
        return _string(key) + struct.pack("<IIQ", 9, kinds.pop(), len(items)) + body
    kind, raw = _scalar(value)
    return _string(key) + struct.pack("<I", kind) + raw


def slim(header: Header) -> bytes:
    """Write a header again without its vocabulary."""
    kept = {
        k: v
        for k, v in header.metadata.items()
        if not isinstance(v, SkippedArray) and not k.startswith(("tokenizer.", "split."))
    }
    out = struct.pack("<4sIQQ", b"GGUF", 3, len(header.tensors), len(kept))
    out += b"".join(_entry(k, v) for k, v in kept.items())
    for t in header.tensors.values():
        out += _string(t.name) + struct.pack("<I", len(t.shape))
        out += struct.pack(f"<{len(t.shape)}Q", *t.shape)
        out += struct.pack("<IQ", TYPES[t.type].id, t.offset)
    return out + b"\0" * (-len(out) % header.alignment)


def read(path: Path) -> Header:
    """Read the header of a file."""
    with path.open("rb") as f:
        buffer = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        return parse_header(buffer, path.stat().st_size)


def _lines(truth: str, *, with_refused: bool = False) -> list[str]:
    """Runs of a file that came to an end, each in a line."""
    rows = map(json.loads, Path(truth).read_text().splitlines())
    kept = [row for row in rows if with_refused or "buffers" in row]
    return [json.dumps(row, separators=(",", ":")) for row in kept]


def add(truths: list[str]) -> None:
    """Pack further runs of packed models; what is there already is not packed again."""
    packed = lzma.decompress((HERE / "runs.jsonl.xz").read_bytes()).decode().splitlines()
    runs = list(dict.fromkeys([*packed, *(line for truth in truths for line in _lines(truth))]))
    (HERE / "runs.jsonl.xz").write_bytes(lzma.compress("\n".join(runs).encode(), preset=9))
    sys.stderr.write(f"{len(runs) - len(packed)} runs added, {len(runs)} in all\n")


def main(arguments: list[str]) -> None:
    """Pack pairs of folder and runs, or add runs."""
    if arguments[:1] == ["--add"]:
        add(arguments[1:])
        return
    prefix = ""
    if arguments[:1] == ["--as"]:
        prefix, arguments = arguments[1], arguments[2:]
    runs: list[str] = []
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        packed: set[str] = set()
        for folder, truth in zip(arguments[::2], arguments[1::2], strict=True):
            for line in _lines(truth, with_refused=bool(prefix)):
                runs.append(line)
                name = json.loads(line)["model"]
                path = Path(folder) / f"{name}.gguf"
                if name in packed or (prefix and not path.exists()):
                    continue
                packed.add(name)
                header = read(path)
                data = slim(header)
                info = tarfile.TarInfo(f"{name}.gguf")
                info.size = len(data)
                # A header-only file says how long the whole would be.
                end = max((t.offset + t.n_bytes for t in header.tensors.values()), default=0)
                info.pax_headers = {"GGUFCTL.size": str(len(data) + end)}
                tar.addfile(info, io.BytesIO(data))
    compressed = lzma.compress(archive.getvalue(), preset=9)
    (HERE / f"{prefix}headers.tar.xz").write_bytes(compressed)
    compressed = lzma.compress("\n".join(runs).encode(), preset=9)
    (HERE / f"{prefix}runs.jsonl.xz").write_bytes(compressed)
    sys.stderr.write(f"{len(packed)} headers, {len(runs)} runs\n")


if __name__ == "__main__":
    main(sys.argv[1:])
