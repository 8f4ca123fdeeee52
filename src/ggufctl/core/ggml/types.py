"""The tensor types of ggml: how many bytes a row of each one takes.

Source: llama.cpp ggml/src/ggml.c `type_traits` and ggml-common.h (pin in core/_pins.py).
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TYPES", "TYPES_BY_ID", "GgmlType", "is_quantized", "row_bytes", "tensor_bytes"]


class GgmlType(NamedTuple):
    """One ggml tensor type: a row is a whole number of blocks."""

    id: int
    name: str
    block_size: int
    """Elements in a block."""
    type_size: int
    """Bytes of a block."""
    is_quantized: bool


def _type(id_: int, name: str, block_size: int, type_size: int) -> GgmlType:
    return GgmlType(id_, name, block_size, type_size, is_quantized=block_size > 1)


TYPES_BY_ID: dict[int, GgmlType] = {
    t.id: t
    for t in (
        _type(0, "f32", 1, 4),
        _type(1, "f16", 1, 2),
        _type(2, "q4_0", 32, 18),
        _type(3, "q4_1", 32, 20),
        _type(6, "q5_0", 32, 22),
        _type(7, "q5_1", 32, 24),
        _type(8, "q8_0", 32, 34),
        _type(9, "q8_1", 32, 36),
        _type(10, "q2_K", 256, 84),
        _type(11, "q3_K", 256, 110),
        _type(12, "q4_K", 256, 144),
        _type(13, "q5_K", 256, 176),
        _type(14, "q6_K", 256, 210),
        _type(15, "q8_K", 256, 292),
        _type(16, "iq2_xxs", 256, 66),
        _type(17, "iq2_xs", 256, 74),
        _type(18, "iq3_xxs", 256, 98),
        _type(19, "iq1_s", 256, 50),
        _type(20, "iq4_nl", 32, 18),
        _type(21, "iq3_s", 256, 110),
        _type(22, "iq2_s", 256, 82),
        _type(23, "iq4_xs", 256, 136),
        _type(24, "i8", 1, 1),
        _type(25, "i16", 1, 2),
        _type(26, "i32", 1, 4),
        _type(27, "i64", 1, 8),
        _type(28, "f64", 1, 8),
        _type(29, "iq1_m", 256, 56),
        _type(30, "bf16", 1, 2),
        _type(34, "tq1_0", 256, 54),
        _type(35, "tq2_0", 256, 66),
        _type(39, "mxfp4", 32, 17),
        _type(40, "nvfp4", 64, 36),
        _type(41, "q1_0", 128, 18),
        _type(42, "q2_0", 64, 18),
    )
}
"""Type id as stored in a GGUF file → type. Ids that are absent were removed or never existed."""

TYPES: dict[str, GgmlType] = {t.name: t for t in TYPES_BY_ID.values()}
"""llama.cpp's own name of a type (`q4_K`, `f16`) → type."""


def is_quantized(type_name: str) -> bool:
    """Whether a type stores blocks of several elements."""
    return TYPES[type_name].is_quantized


def row_bytes(type_name: str, n_elements: int) -> int:
    """Bytes of a row of `n_elements`, which fill whole blocks.  [bytes]

    Source: ggml.c `ggml_row_size`.
    """
    t = TYPES[type_name]
    return n_elements // t.block_size * t.type_size


def tensor_bytes(type_name: str, shape: tuple[int, ...]) -> int:
    """Bytes of a contiguous tensor; `shape` has the row length first.  [bytes]"""
    n = row_bytes(type_name, shape[0])
    for extent in shape[1:]:
        n *= extent
    return n
