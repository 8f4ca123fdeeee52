"""Tiny projectors with random weights that the real engine loads beside SmolLM2-135M.

python -m tests.projector [FILE]    # planned memory against what the engine takes, on the CPU
"""

from __future__ import annotations

import random
import struct
import sys
import tempfile
import zlib
from pathlib import Path

from tests.ggufs import Array, Tensor, Writable, header, pad
from tests.serving import serving

N_EMBD_OF_MODEL = 576
"""Of SmolLM2-135M, which a projector must give."""

N_EMBD, N_FF, N_LAYER, IMAGE, PATCH = 64, 128, 3, 56, 14


def metadata() -> dict[str, Writable]:
    """As llama.cpp's converter writes it for LLaVA's kind of projector."""
    return {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "general.name": "tiny",
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        "clip.vision.image_size": IMAGE,
        "clip.vision.patch_size": PATCH,
        "clip.vision.embedding_length": N_EMBD,
        "clip.vision.feed_forward_length": N_FF,
        "clip.vision.block_count": N_LAYER,
        "clip.vision.attention.head_count": 4,
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.projection_dim": N_EMBD_OF_MODEL,
        "clip.vision.image_mean": Array("float32", [0.5, 0.5, 0.5]),
        "clip.vision.image_std": Array("float32", [0.5, 0.5, 0.5]),
        "clip.use_gelu": True,
    }


def tensors() -> list[Tensor]:
    """Those of a vision transformer, and what leads from it to the model."""
    patches = (IMAGE // PATCH) ** 2
    found = [
        Tensor("v.patch_embd.weight", "f32", (PATCH, PATCH, 3, N_EMBD)),
        Tensor("v.patch_embd.bias", "f32", (N_EMBD,)),
        Tensor("v.position_embd.weight", "f32", (N_EMBD, patches)),
        *_norm("v.post_ln"),
    ]
    for i in range(N_LAYER):
        block = f"v.blk.{i}"
        found += [*_norm(f"{block}.ln1"), *_norm(f"{block}.ln2")]
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            found += _linear(f"{block}.{name}", N_EMBD, N_EMBD)
        found += _linear(f"{block}.ffn_up", N_EMBD, N_FF)
        found += _linear(f"{block}.ffn_down", N_FF, N_EMBD)
    hidden = _linear("mm.0", N_EMBD, N_EMBD_OF_MODEL)
    return [*found, *hidden, *_linear("mm.2", N_EMBD_OF_MODEL, N_EMBD_OF_MODEL)]


def _linear(name: str, n_in: int, n_out: int) -> list[Tensor]:
    return [
        Tensor(f"{name}.weight", "f16", (n_in, n_out)),
        Tensor(f"{name}.bias", "f32", (n_out,)),
    ]


def _norm(name: str) -> list[Tensor]:
    return [Tensor(f"{name}.{part}", "f32", (N_EMBD,)) for part in ("weight", "bias")]


def write_projector(path: Path, seed: int = 1) -> Path:
    """A whole file with small random weights."""
    all_tensors = tensors()
    raw, _ = header(metadata(), all_tensors)
    rng = random.Random(seed)
    parts = [raw]
    for tensor in all_tensors:
        count = 1
        for extent in tensor.shape:
            count *= extent
        code = "e" if tensor.type == "f16" else "f"
        data = struct.pack(f"<{count}{code}", *(rng.gauss(0, 0.05) for _ in range(count)))
        parts.append(data.ljust(pad(len(data)), b"\0"))
    path.write_bytes(b"".join(parts))
    return path


def write_picture(path: Path, side: int = 96, seed: int = 1) -> Path:
    """A PNG of coloured noise."""
    rng = random.Random(seed)
    rows = b"".join(b"\0" + rng.randbytes(3 * side) for _ in range(side))

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    size = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", size), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def main(path: str = "") -> int:
    """Print planned and actual memory of a projector beside SmolLM2-135M, on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(path) if path else write_projector(Path(folder) / "mmproj-tiny.gguf")
        options = ("--name", "eye", "-c", "512", "--gpu", "cpu", "--mmproj", str(file))
        with serving(*options, state=Path(folder) / "state") as running:
            rows = running.document["memory"]
    for row in rows:
        planned, actual = row["planned_bytes"], row["actual_bytes"]
        verdict = "as planned" if row["is_as_planned"] else "WRONG"
        place = f"{row['device']} {row['term']:12}"
        print(f"{place} planned {planned:>11} actual {actual:>11} {verdict}")
    return 0 if all(row["is_as_planned"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
