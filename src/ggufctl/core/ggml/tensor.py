"""Shape-only tensors: everything of a ggml tensor that decides memory, and no data.

Source: llama.cpp ggml/include/ggml.h `struct ggml_tensor` (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml.types import TYPES

__all__ = ["Shape", "Tensor"]

Shape = tuple[int, int, int, int]
"""Four extents (or strides), the row length first."""


class Tensor:
    """One node or leaf of a graph.

    Mutable on purpose: graph construction, scheduler and allocator each keep their
    bookkeeping here, as ggml does, which makes a whole graph cost milliseconds. What
    most tensors never change has its default on the class.
    """

    view_src: Tensor | None = None
    view_offs = 0
    param: object = None
    is_input = False
    is_output = False
    is_weight = False
    is_visited = False
    is_compute = False
    buffer = -1
    """Backend whose memory holds this tensor from outside the graph, or -1."""
    backend = -1
    """Backend the scheduler gave it, or -1."""
    owner = -1
    """Backend whose compute buffer the allocator put it in, or -1."""
    copies: dict[int, list[Tensor]] | None = None
    n_uses = 0
    n_children = 0
    n_views = 0
    is_allocated = False
    slot = -1
    """Its slot on that buffer's tape, or -1."""

    def __init__(
        self,
        type_: str,
        ne: tuple[int, ...],
        op: str = "NONE",
        src: tuple[Tensor | None, ...] = (),
        *,
        nb: tuple[int, ...] | None = None,
        view_src: Tensor | None = None,
        view_offs: int = 0,
        param: object = None,
        name: str = "",
    ) -> None:
        if len(ne) != 4:
            ne = (*ne, 1, 1, 1)[:4]
        if nb is None:
            _, _, block_size, type_size, _ = TYPES[type_]
            row = ne[0] // block_size * type_size
            plane = row * ne[1]
            nb = (type_size, row, plane, plane * ne[2])
        self.type = type_
        self.ne: tuple[int, ...] = ne
        self.nb: tuple[int, ...] = nb
        self.op = op
        self.src: list[Tensor | None] = list(src)
        self.name = name
        if view_src is not None:
            root = view_src.view_src
            if root is not None:
                view_offs += view_src.view_offs
                view_src = root
            self.view_src = view_src
            self.view_offs = view_offs
        if param is not None:
            self.param = param

    def __repr__(self) -> str:
        return f"{self.op}:{self.type}{list(self.ne)} {self.name}"

    @property
    def n_elements(self) -> int:
        """Number of elements."""
        a = self.ne
        return a[0] * a[1] * a[2] * a[3]

    @property
    def n_bytes(self) -> int:
        """Bytes from the first element to the last, by the strides.  [bytes]

        Source: ggml.c `ggml_nbytes`.
        """
        a, s = self.ne, self.nb
        if not (a[0] and a[1] and a[2] and a[3]):
            return 0
        t = TYPES[self.type]
        n = a[0] * s[0] // t.block_size if t.block_size > 1 else t.type_size + (a[0] - 1) * s[0]
        return n + (a[1] - 1) * s[1] + (a[2] - 1) * s[2] + (a[3] - 1) * s[3]

    def is_contiguous(self, n: int = 0) -> bool:
        """Whether elements are contiguous, allowing gaps in dimensions 1..n.

        Source: ggml.c `ggml_is_contiguous_n`.
        """
        t = TYPES[self.type]
        a, s = self.ne, self.nb
        expected = t.type_size
        if a[0] != t.block_size and s[0] != expected:
            return False
        expected *= a[0] // t.block_size
        for i in (1, 2, 3):
            if i > n:
                if a[i] != 1 and s[i] != expected:
                    return False
                expected *= a[i]
            else:
                expected = a[i] * s[i]
        return True

    @property
    def has_contiguous_rows(self) -> bool:
        """Whether the elements of each row are contiguous (ggml_is_contiguous_rows)."""
        t = TYPES[self.type]
        return self.ne[0] == t.block_size or self.nb[0] == t.type_size

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of this type and length.  [bytes]"""
        t = TYPES[self.type]
        return self.ne[0] // t.block_size * t.type_size

    def as_input(self) -> Tensor:
        """Mark as an input of the graph (ggml_set_input); returns itself."""
        self.is_input = True
        return self

    def as_output(self) -> Tensor:
        """Mark as an output of the graph, never freed (ggml_set_output); returns itself."""
        self.is_output = True
        return self
