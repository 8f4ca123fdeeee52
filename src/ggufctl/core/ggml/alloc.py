"""The graph allocator: where each tensor lies in a compute buffer, and how big it gets.

Source: llama.cpp ggml/src/ggml-alloc.c `ggml_gallocr_alloc_graph_impl` and
`ggml_dyn_tallocr_*` (pin in core/_pins.py). Neither CUDA nor host buffers have a
maximum size, so one buffer type is one chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ggufctl.core.ggml import cuda
from ggufctl.core.ggml.scheduler import Placed, Schedule
from ggufctl.core.ggml.tensor import Tensor

__all__ = ["HOST_ALIGNMENT", "Allocator", "Live"]

HOST_ALIGNMENT = 32
"""Alignment of tensors in host memory (TENSOR_ALIGNMENT).  [bytes]"""

_END = 1 << 62

_IN_PLACE_OPS = frozenset(
    "FILL SCALE DIAG_MASK_ZERO DIAG_MASK_INF ADD ADD_ID ADD1 SUB MUL DIV SQR SQRT LOG UNARY ROPE "
    "ROPE_BACK SILU_BACK RMS_NORM RMS_NORM_BACK CLAMP SOFT_MAX SOFT_MAX_BACK".split()
)


@dataclass(frozen=True, slots=True)
class Live:
    """One tensor that is alive when a compute buffer is at its largest."""

    op: str
    name: str
    type: str
    ne: tuple[int, ...]
    n_bytes: int
    """Bytes it occupies, padding included.  [bytes]"""


class _Arena:
    """Best-fit allocator over one growing buffer, all offsets in bytes."""

    __slots__ = ("alignment", "free_blocks", "max_size")

    def __init__(self, alignment: int) -> None:
        self.alignment = alignment
        self.free_blocks: list[list[int]] = [[0, _END]]
        self.max_size = 0

    def alloc(self, size: int) -> int:
        align = self.alignment
        size = (size + align - 1) // align * align
        blocks = self.free_blocks
        best, best_size = -1, _END
        # The last block is open-ended and only taken when no other fits; of equal ones
        # the later wins, as in the source.
        for i in range(len(blocks) - 1):
            extent = blocks[i][1]
            if size <= extent <= best_size:
                best, best_size = i, extent
        block = blocks[best]
        offset = block[0]
        block[0] += size
        block[1] -= size
        if block[1] == 0:
            del blocks[best]
        if offset + size > self.max_size:
            self.max_size = offset + size
        return offset

    def free(self, offset: int, size: int) -> None:
        align = self.alignment
        size = (size + align - 1) // align * align
        blocks = self.free_blocks
        end = offset + size
        for i, block in enumerate(blocks):
            if block[0] + block[1] == offset:
                block[1] += size
                if i + 1 < len(blocks) and end == blocks[i + 1][0]:
                    block[1] += blocks[i + 1][1]
                    del blocks[i + 1]
                return
            if end == block[0]:
                block[0] = offset
                block[1] += size
                if i > 0 and blocks[i - 1][0] + blocks[i - 1][1] == offset:
                    blocks[i - 1][1] += block[1]
                    del blocks[i]
                return
        i = 0
        while i < len(blocks) and blocks[i][0] < offset:
            i += 1
        blocks.insert(i, [offset, size])


class Allocator:
    """Reserves one compute buffer per backend for a scheduled graph.

    Args:
        n_gpus: GPUs taking part; the host is the backend after them.
        explain: also record what is alive when each buffer grew last.
        capabilities: compute capability per GPU; none = Ada Lovelace or newer.
    """

    def __init__(
        self,
        n_gpus: int,
        *,
        explain: bool = False,
        capabilities: Sequence[cuda.Capability] = (),
    ) -> None:
        self.n_gpus = n_gpus
        self._capabilities = capabilities or (cuda.ADA_LOVELACE,) * n_gpus
        self._arenas = [_Arena(cuda.ALIGNMENT) for _ in range(n_gpus)] + [_Arena(HOST_ALIGNMENT)]
        self._explain = explain
        self._live: list[dict[int, Tensor]] = [{} for _ in self._arenas]
        self._peaks: list[tuple[Tensor, ...]] = [() for _ in self._arenas]

    @property
    def sizes(self) -> list[int]:
        """Bytes of each backend's compute buffer, GPUs first, the host last."""
        return [arena.max_size for arena in self._arenas]

    @property
    def peaks(self) -> list[tuple[Live, ...]]:
        """What is alive at each buffer's peak, the largest first (`explain=True`)."""
        result = []
        for backend, tensors in enumerate(self._peaks):
            live = [
                Live(t.op, t.name, t.type, t.ne, self._padded_size(t, backend)) for t in tensors
            ]
            result.append(tuple(sorted(live, key=lambda item: -item.n_bytes)))
        return result

    def reserve(self, schedule: Schedule) -> list[int]:
        """Allocate a whole graph; returns `sizes`."""
        for t, backend in schedule.leafs:
            self._allocate(t, backend)
        self._count_uses(schedule.nodes)
        for t, backend in schedule.nodes:
            src = t.src
            for parent in src:
                if parent is not None and not parent.is_allocated:
                    self._allocate(parent, backend)
            if not t.is_allocated:
                self._allocate(t, backend)
            self._release(src)
        return self.sizes

    def _count_uses(self, nodes: Sequence[Placed]) -> None:
        for t, backend in nodes:
            if t.view_src is not None and t.op != "NONE":
                t.view_src.n_views += 1
            if t.is_input:
                self._allocate(t, backend)
            for parent in t.src:
                if parent is not None:
                    parent.n_children += 1
                    if parent.is_input:
                        self._allocate(parent, backend)

    def _size(self, t: Tensor, backend: int) -> int:
        if backend == self.n_gpus:
            return t.n_bytes
        return cuda.alloc_size(t, self._capabilities[backend])

    def _padded_size(self, t: Tensor, backend: int) -> int:
        align = self._arenas[backend].alignment
        return (self._size(t, backend) + align - 1) // align * align

    def _allocate(self, t: Tensor, backend: int) -> None:
        if t.buffer != -1 or t.is_allocated or t.view_src is not None:
            return
        t.is_allocated = True
        if t.op in _IN_PLACE_OPS and self._reuse_parent(t):
            return
        arena = self._arenas[backend]
        before = arena.max_size
        t.owner = backend
        t.offset = arena.alloc(self._size(t, backend))
        if self._explain:
            self._live[backend][id(t)] = t
            if arena.max_size > before:
                self._peaks[backend] = tuple(self._live[backend].values())

    def _reuse_parent(self, t: Tensor) -> bool:
        """Compute in place of the first source that nobody else needs."""
        for parent in t.src:
            # A view is never `is_allocated`, so views are never reused.
            if parent is None or not parent.is_allocated or parent.is_output:
                continue
            if (
                parent.n_children != 1
                or parent.n_views != 0
                or parent.type != t.type
                or parent.ne != t.ne
                or parent.nb != t.nb
            ):
                continue
            owner = parent.owner
            t.owner, t.offset = owner, parent.offset
            parent.is_allocated = False
            had, needs = self._padded_size(parent, owner), self._padded_size(t, owner)
            if had > needs:
                self._arenas[owner].free(parent.offset + needs, had - needs)
            if self._explain:
                self._live[owner].pop(id(parent), None)
                self._live[owner][id(t)] = t
            return True
        return False

    def _release(self, src: Sequence[Tensor | None]) -> None:
        for parent in src:
            if parent is None:
                continue
            parent.n_children -= 1
            if parent.n_children or parent.n_views:
                continue
            root = parent.view_src
            if root is not None:
                root.n_views -= 1
                if root.n_views == 0 and root.n_children == 0 and root.is_allocated:
                    self._free(root)
            elif parent.is_allocated:
                self._free(parent)

    def _free(self, t: Tensor) -> None:
        if t.is_output:
            return
        self._arenas[t.owner].free(t.offset, self._size(t, t.owner))
        t.is_allocated = False
        if self._explain:
            self._live[t.owner].pop(id(t), None)
