"""Makes real failures with a real engine and keeps what it printed in tests/logs.

    python tests/record_failures.py MODEL.gguf [--python PYTHON]

MODEL is a small healthy model; PYTHON has the xllamacpp wheel, which holds llama.cpp's own server.
Every case breaks a copy of the model or the command in one way. Copies are sparse: only the header
is real.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

LOGS = Path(__file__).parent / "logs"
SOURCE = Path(__file__).parent.parent / "src"
HEADER_BYTES = 4 << 20
SECONDS = 60.0

Build = Callable[[Path, Path], list[str]]


def broken(old: bytes, new: bytes) -> Build:
    """A copy whose header says something else."""

    def build(model: Path, folder: Path) -> list[str]:
        with model.open("rb") as file:
            header = file.read(HEADER_BYTES)
        assert old in header, old
        assert len(old) == len(new)
        return ["-m", str(sparse(folder / "m.gguf", header.replace(old, new, 1), model))]

    return build


def sparse(path: Path, header: bytes, model: Path) -> Path:
    path.write_bytes(header)
    os.truncate(path, model.stat().st_size)
    return path


def whole(*arguments: str) -> Build:
    return lambda model, folder: ["-m", str(model), *arguments]


def content(data: bytes) -> Build:
    def build(model: Path, folder: Path) -> list[str]:
        (folder / "m.gguf").write_bytes(data)
        return ["-m", str(folder / "m.gguf")]

    return build


def truncated(size: int) -> Build:
    def build(model: Path, folder: Path) -> list[str]:
        with model.open("rb") as file:
            (folder / "m.gguf").write_bytes(file.read(size))
        return ["-m", str(folder / "m.gguf")]

    return build


def shard_of_two(index: int) -> Build:
    """One shard of two, the other of which is not there."""

    def build(model: Path, folder: Path) -> list[str]:
        with model.open("rb") as file:
            header = file.read(HEADER_BYTES)
        (n_keys,) = struct.unpack_from("<Q", header, 16)
        extra = b"".join(
            struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + value
            for key, kind, value in (
                (b"split.no", 2, struct.pack("<H", index)),
                (b"split.count", 2, struct.pack("<H", 2)),
                (b"split.tensors.count", 5, struct.pack("<i", 272)),
            )
        )
        data = header[:16] + struct.pack("<Q", n_keys + 3) + extra + header[24:]
        path = folder / f"m-0000{index + 1}-of-00002.gguf"
        sparse(path, data, model)
        os.truncate(path, model.stat().st_size + 4096)
        return ["-m", str(path)]

    return build


def unknown_quant(model: Path, folder: Path) -> list[str]:
    with model.open("rb") as file:
        header = bytearray(file.read(HEADER_BYTES))
    at = header.index(b"blk.0.attn_k.weight") + len(b"blk.0.attn_k.weight")
    (n_dims,) = struct.unpack_from("<I", header, at)
    struct.pack_into("<I", header, at + 4 + 8 * n_dims, 152)
    return ["-m", str(sparse(folder / "m.gguf", bytes(header), model))]


def missing_file(model: Path, folder: Path) -> list[str]:
    return ["-m", str(folder / "m.gguf")]


def a_folder(model: Path, folder: Path) -> list[str]:
    (folder / "m.gguf").mkdir()
    return ["-m", str(folder / "m.gguf")]


def beside(option: str) -> Build:
    """A broken file beside a healthy model."""

    def build(model: Path, folder: Path) -> list[str]:
        (folder / "beside.gguf").write_bytes(b"GGUF\x03\0\0\0" + bytes(16))
        return ["-m", str(model), option, str(folder / "beside.gguf")]

    return build


ADDRESS_SPACE_BYTES = {"kv-too-large": 6 << 30}
"""Cases in which the engine may not have more: what it asks for beyond is refused."""

# Recorded once with -c 2000000000: it makes the kernel kill the engine, and perhaps others.
DANGEROUS = {"oom-killed": "oom-killed"}

CASES: dict[str, tuple[str, Build]] = {
    "healthy": ("", whole("-c", "2048")),
    "healthy-two-slots": ("", whole("-c", "4096", "-np", "2", "-no-kvu")),
    "html": ("file-is-html", content(b"<!DOCTYPE html><html><body>Sign in</body></html>")),
    "lfs-pointer": (
        "file-is-lfs-pointer",
        content(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
    ),
    "not-gguf": ("file-not-gguf", content(b"PK\x03\x04" + bytes(64))),
    "ggml": ("file-is-old-ggml", content(b"tjgg" + bytes(64))),
    "empty": ("file-empty", content(b"")),
    "truncated": ("file-truncated", truncated(30 << 20)),
    "truncated-header": ("header-truncated", truncated(1000)),
    "version-4": ("gguf-version-new", broken(b"GGUF\x03\0\0\0", b"GGUF\x04\0\0\0")),
    "version-1": ("gguf-v1", broken(b"GGUF\x03\0\0\0", b"GGUF\x01\0\0\0")),
    "big-endian": ("big-endian", broken(b"GGUF\x03\0\0\0", b"GGUF\0\0\0\x03")),
    "missing-file": ("file-missing", missing_file),
    "folder": ("file-empty", a_folder),
    "missing-shard": ("shard-missing", shard_of_two(0)),
    "second-shard": ("shard-not-first", shard_of_two(1)),
    "unknown-architecture": (
        "unknown-architecture",
        broken(
            b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama",
            b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llamx",
        ),
    ),
    "unknown-pre-tokenizer": (
        "unknown-pre-tokenizer",
        broken(b"\x06\0\0\0\0\0\0\0smollm", b"\x06\0\0\0\0\0\0\0smollx"),
    ),
    "missing-key": ("key-missing", broken(b"llama.context_length", b"llama.context_lengtx")),
    "missing-tensor": ("tensor-missing", broken(b"output_norm.weight", b"output_norx.weight")),
    "unknown-quant": ("quant-type-unknown", unknown_quant),
    "kv-too-large": ("oom-kv", whole("-c", "400000", "-fit", "off", "-np", "1")),
    "quantised-v": ("quantized-v-needs-fa", whole("-ctv", "q8_0", "-fa", "off")),
    "broken-lora": ("lora-failed", beside("--lora")),
    "broken-draft": ("draft-failed", beside("-md")),
    "broken-projector": ("projector-failed", beside("-mm")),
}
"""Name → the cause that must be found, and how it is made."""


def limited(n_bytes: int) -> Callable[[], None] | None:
    """What a child does before it starts, to live within an address space."""
    if not n_bytes:
        return None
    import resource

    return lambda: resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))


def record(name: str, build: Build, model: Path, python: str) -> str:
    """What the engine prints, without the paths of this machine."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        arguments = build(model, folder)
        port = free_port()
        limit = ADDRESS_SPACE_BYTES.get(name, 0)
        text = run([*arguments, "--port", str(port), "-lv", "4"], port, python, limit)
        return text.replace(scratch, "/models").replace(str(model.parent), "/models")


def record_taken_port(model: Path, python: str) -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = run(["-m", str(model), "--port", str(port), "-lv", "4"], 0, python)
        return text.replace(str(model.parent), "/models")


def run(arguments: Sequence[str], port: int, python: str, limit: int = 0) -> str:
    """Run the engine until it ends, or until it has answered one request."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "LLAMA_API_KEY": ""}
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            [python, "-m", "ggufctl.remote.embedded_server", "--host", "127.0.0.1", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
            preexec_fn=limited(limit),
        )
        end = time.monotonic() + SECONDS
        while child.poll() is None and time.monotonic() < end:
            if port and answers(port):
                break
            time.sleep(0.3)
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
        code = child.wait()
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    if code > 128 or code < 0:
        text += f"\nllama-server exited with code {128 - code if code < 0 else code}\n"
    return text


def answers(port: int) -> bool:
    """Whether the server is up and completes a prompt."""
    base = f"http://127.0.0.1:{port}"
    body = json.dumps({"prompt": "Once", "max_tokens": 8}).encode()
    request = urllib.request.Request(
        f"{base}/v1/completions", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(f"{base}/health", timeout=2):
            pass
        with urllib.request.urlopen(request, timeout=30) as response:
            return bool(response.read())
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    engine = subprocess.run(
        [options.python, "-c", "import importlib.metadata as m; print(m.version('xllamacpp'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    LOGS.mkdir(exist_ok=True)
    index_path = LOGS / "index.json"
    index = json.loads(index_path.read_text()) if index_path.exists() else {}
    model = options.model.resolve()
    for name, (expected, build) in CASES.items():
        if options.only and name != options.only:
            continue
        text = record(name, build, model, options.python)
        keep(index, name, expected, text, engine)
    if not options.only:
        text = record_taken_port(model, options.python)
        keep(index, "port-taken", "port-taken", text, engine)
    index_path.write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


def keep(
    index: dict[str, dict[str, str]], name: str, expected: str, text: str, engine: str
) -> None:
    (LOGS / f"{name}.log").write_text(text)
    index[name] = {"cause": expected, "basis": "real", "engine": f"xllamacpp {engine}"}
    last = text.strip().splitlines()[-1:] or [""]
    sys.stdout.write(f"{name}: {len(text)} bytes, {last[0][:120]}\n")


if __name__ == "__main__":
    main()
