"""Writes small GGUF files: headers of any shape, with as much data behind them as a test needs."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ggufctl.core.ggml.types import TYPES, tensor_bytes

SCALARS = {
    "uint8": (0, "B"),
    "int8": (1, "b"),
    "uint16": (2, "H"),
    "int16": (3, "h"),
    "uint32": (4, "I"),
    "int32": (5, "i"),
    "float32": (6, "f"),
    "bool": (7, "?"),
    "uint64": (10, "Q"),
    "int64": (11, "q"),
    "float64": (12, "d"),
}
STRING, ARRAY = 8, 9


class Typed(NamedTuple):
    """A scalar of a given GGUF type."""

    type: str
    value: int | float


class Array(NamedTuple):
    """An array of a given GGUF type; `string` elements may be bytes."""

    type: str
    values: Sequence[int | float | str | bytes]


class Tensor(NamedTuple):
    """A tensor by name, type and shape (row length first)."""

    name: str
    type: str
    shape: tuple[int, ...]


Writable = int | float | bool | str | bytes | Typed | Array


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str | bytes, value: Writable) -> bytes:
    """One key and value as stored; a plain int is a uint32, a plain float a float32."""
    if isinstance(value, bool):
        value = Typed("bool", value)
    elif isinstance(value, int):
        value = Typed("uint32", value)
    elif isinstance(value, float):
        value = Typed("float32", value)
    if isinstance(value, str | bytes):
        return text(key) + struct.pack("<I", STRING) + text(value)
    if isinstance(value, Typed):
        number, code = SCALARS[value.type]
        return text(key) + struct.pack(f"<I{code}", number, value.value)
    if value.type == "string":
        head = struct.pack("<IIQ", ARRAY, STRING, len(value.values))
        return text(key) + head + b"".join(text(v) for v in value.values)  # type: ignore[arg-type]  # strings here
    number, code = SCALARS[value.type]
    head = struct.pack("<IIQ", ARRAY, number, len(value.values))
    return text(key) + head + struct.pack(f"<{len(value.values)}{code}", *value.values)


def pad(size: int, alignment: int = 32) -> int:
    return (size + alignment - 1) // alignment * alignment


def header(
    metadata: Mapping[str, Writable],
    tensors: Sequence[Tensor] = (),
    *,
    version: int = 3,
    alignment: int = 32,
) -> tuple[bytes, int]:
    """`(header padded to where the data starts, size of the whole file in bytes)`."""
    infos, offset, end = [], 0, 0
    for tensor in tensors:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        place = struct.pack("<IQ", TYPES[tensor.type].id, offset)
        infos.append(text(tensor.name) + shape + place)
        end = offset + tensor_bytes(tensor.type, tensor.shape)
        offset = pad(end, alignment)
    raw = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    raw += b"".join(entry(key, value) for key, value in metadata.items()) + b"".join(infos)
    if tensors:
        raw = raw.ljust(pad(len(raw), alignment), b"\0")
    return raw, len(raw) + end


def whole(
    metadata: Mapping[str, Writable], tensors: Sequence[Tensor] = (), **options: int
) -> bytes:
    """A complete file, its tensors all zero."""
    raw, size = header(metadata, tensors, **options)
    return raw.ljust(size, b"\0")


def write(path: Path, raw: bytes, size: int) -> Path:
    """A sparse file: `raw`, then zeros up to `size`."""
    with path.open("wb") as file:
        file.write(raw)
        file.truncate(size)
    return path


def words(count: int, mean: int, seed: int = 0) -> list[bytes]:
    """Vocabulary-like strings of many lengths, none repeated on purpose."""
    rng = random.Random(seed)
    pool = rng.randbytes(1 << 16).replace(b"\0", b"x")
    return [
        pool[(start := rng.randrange(len(pool) - 200)) : start + 1 + int(rng.expovariate(1 / mean))]
        for _ in range(count)
    ]


def llama(
    n_layer: int = 2,
    n_embd: int = 256,
    n_vocab: int = 512,
    n_merges: int = 600,
    type_: str = "q8_0",
    **extra: Writable,
) -> tuple[dict[str, Writable], list[Tensor]]:
    """Metadata and tensors of a small model that llama.cpp would load."""
    metadata: dict[str, Writable] = {
        "general.architecture": "llama",
        "general.name": "tiny",
        "llama.block_count": n_layer,
        "llama.context_length": 4096,
        "llama.embedding_length": n_embd,
        "llama.feed_forward_length": 2 * n_embd,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 500000.0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": Array("string", words(n_vocab, 6, seed=1)),
        "tokenizer.ggml.token_type": Array("int32", [1] * n_vocab),
        "tokenizer.ggml.merges": Array("string", words(n_merges, 8, seed=2)),
        "tokenizer.ggml.bos_token_id": 1,
        "general.quantization_version": 2,
        "general.file_type": 7,
    }
    metadata.update({key.replace("__", "."): value for key, value in extra.items()})
    kv = n_embd // 2
    tensors = [Tensor("token_embd.weight", type_, (n_embd, n_vocab))]
    for i in range(n_layer):
        tensors += [
            Tensor(f"blk.{i}.attn_norm.weight", "f32", (n_embd,)),
            Tensor(f"blk.{i}.attn_q.weight", type_, (n_embd, n_embd)),
            Tensor(f"blk.{i}.attn_k.weight", type_, (n_embd, kv)),
            Tensor(f"blk.{i}.attn_v.weight", type_, (n_embd, kv)),
            Tensor(f"blk.{i}.attn_output.weight", type_, (n_embd, n_embd)),
            Tensor(f"blk.{i}.ffn_norm.weight", "f32", (n_embd,)),
            Tensor(f"blk.{i}.ffn_gate.weight", type_, (n_embd, 2 * n_embd)),
            Tensor(f"blk.{i}.ffn_up.weight", type_, (n_embd, 2 * n_embd)),
            Tensor(f"blk.{i}.ffn_down.weight", type_, (2 * n_embd, n_embd)),
        ]
    tensors += [
        Tensor("output_norm.weight", "f32", (n_embd,)),
        Tensor("output.weight", type_, (n_embd, n_vocab)),
    ]
    return metadata, tensors


def shards(
    metadata: Mapping[str, Writable], tensors: Sequence[Tensor], count: int
) -> list[tuple[bytes, int]]:
    """`header(...)` of each of `count` files that a model is split into."""
    share = -(-len(tensors) // count)
    files = []
    for number in range(count):
        split: dict[str, Writable] = {
            "split.no": Typed("uint16", number),
            "split.count": Typed("uint16", count),
            "split.tensors.count": Typed("int32", len(tensors)),
        }
        part = tensors[number * share : (number + 1) * share]
        files.append(header({**metadata, **split} if number == 0 else split, part))
    return files
