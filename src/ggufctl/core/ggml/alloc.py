"""The graph allocator: where each tensor lies in a compute buffer, and how big it gets.

What a graph asks of a buffer does not depend on where tensors come to lie in it. So a graph is
gone through once, which leaves a `Tape` of requests per buffer, and playing a tape gives the
buffer's size: for other extents again, and with repetitions that the graph itself left out.

Source: llama.cpp ggml/src/ggml-alloc.c `ggml_gallocr_alloc_graph_impl` and
`ggml_dyn_tallocr_*` (pin in core/_pins.py). Neither CUDA nor host buffers have a
maximum size, so one buffer type is one chunk.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ggufctl.core.ggml import cuda
from ggufctl.core.ggml.scheduler import Placed, Schedule
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.growing import at

__all__ = [
    "HOST_ALIGNMENT",
    "IN_PLACE_OPS",
    "Arena",
    "Live",
    "Loop",
    "Mark",
    "Played",
    "Recorder",
    "Tape",
    "left_by_reader",
]

HOST_ALIGNMENT = 32
"""Alignment of tensors in host memory (TENSOR_ALIGNMENT).  [bytes]"""

_END = 1 << 62

IN_PLACE_OPS = frozenset(
    "FILL SCALE DIAG_MASK_ZERO DIAG_MASK_INF ADD ADD_ID ADD1 SUB MUL DIV SQR SQRT LOG UNARY ROPE "
    "ROPE_BACK SILU_BACK RMS_NORM RMS_NORM_BACK CLAMP SOFT_MAX SOFT_MAX_BACK".split()
)
"""Operations that can take the place of a source that nobody else needs (ggml_op_can_inplace)."""


@dataclass(frozen=True, slots=True)
class Live:
    """One tensor that is alive when a compute buffer is at its largest."""

    op: str
    name: str
    type: str
    ne: tuple[int, ...]
    n_bytes: int
    """Bytes it occupies, padding included.  [bytes]"""


class Arena:
    """Best-fit allocator over one growing buffer, all offsets in bytes.

    Sizes are what is taken up: multiples of the buffer's alignment.
    """

    __slots__ = ("free_blocks", "max_size")

    def __init__(self) -> None:
        self.free_blocks: list[list[int]] = [[0, _END]]
        self.max_size = 0

    def alloc(self, size: int) -> int:
        """Find room for `size` bytes; returns where."""
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
        end = block[0] = offset + size
        block[1] -= size
        if block[1] == 0:
            del blocks[best]
        if end > self.max_size:
            self.max_size = end
        return offset

    def free(self, offset: int, size: int) -> None:
        """Give room back, together with what is free beside it."""
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


class Mark(NamedTuple):
    """How far a tape was when a node was reached."""

    n_requests: int
    n_slots: int


class Loop(NamedTuple):
    """A stretch of a tape that is played again, as often as the graph left it out.

    `before` to `start` is the repetition before it, whose slots it refers to. How often that is
    is found in the place `gap` of what `Tape.play` is told.
    """

    before: Mark
    start: Mark
    end: Mark
    gap: int


@dataclass(frozen=True, slots=True)
class Played:
    """What became of a buffer."""

    size: int
    """[bytes]"""
    peak: tuple[Live, ...]
    """What is alive when the buffer grew last, the largest first; only of explained tapes."""


@dataclass(slots=True)
class Tape:
    """What a graph asks of one compute buffer, in order.

    Attributes:
        alignment: of everything in the buffer.  [bytes]
        requests: a slot to find room for, or the complement (`~`) of one to give back.
        sizes: bytes per slot, before alignment.
        heirs: slot → the slot whose place it takes; what is left of that is given back.
        tensors: what is in each slot, where peaks are to be explained.
        loops: stretches to repeat, in order.
    """

    alignment: int
    requests: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    heirs: dict[int, int] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)

    @property
    def mark(self) -> Mark:
        """How far it is."""
        return Mark(len(self.requests), len(self.sizes))

    def play(self, steps: int = 0, left_out: Sequence[int] = ()) -> Played:
        """Go through the requests.

        Args:
            steps: how much further the context is than the one of the graph (see `Growing`).
            left_out: repetitions that the graph left out, per gap.
        """
        return _Player(self, steps).play(left_out)


class _Player:
    """One buffer while a tape is played."""

    __slots__ = ("_arena", "_live", "_offsets", "_peak", "_sizes", "_tape")

    def __init__(self, tape: Tape, steps: int) -> None:
        align = tape.alignment
        self._tape = tape
        self._arena = Arena()
        self._sizes = [-(-at(size, steps) // align) * align for size in tape.sizes]
        self._offsets = [0] * len(self._sizes)
        self._live: dict[int, Tensor] = {}
        self._peak: list[int] = []

    def play(self, left_out: Sequence[int]) -> Played:
        tape = self._tape
        done = 0
        for loop in tape.loops:
            self._run(done, loop.end.n_requests)
            self._repeat(loop, left_out[loop.gap])
            done = loop.end.n_requests
        self._run(done, len(tape.requests))
        return Played(self._arena.max_size, tuple(self._explained()))

    def _run(self, start: int, end: int) -> None:
        tape, arena = self._tape, self._arena
        requests = tape.requests if end - start == len(tape.requests) else tape.requests[start:end]
        sizes, offsets, heirs, explains = self._sizes, self._offsets, tape.heirs, tape.tensors
        alloc, free = arena.alloc, arena.free
        for slot in requests:
            if slot < 0:
                slot = ~slot
                free(offsets[slot], sizes[slot])
                if explains:
                    del self._live[slot]
                continue
            if heirs and slot in heirs:
                self._inherit(slot, heirs[slot])
                continue
            before = arena.max_size
            offsets[slot] = alloc(sizes[slot])
            if explains:
                self._live[slot] = tape.tensors[slot]
                if arena.max_size > before:
                    self._peak = list(self._live)

    def _inherit(self, slot: int, parent: int) -> None:
        had, needs = self._sizes[parent], self._sizes[slot]
        offset = self._offsets[slot] = self._offsets[parent]
        if had > needs:
            self._arena.free(offset + needs, had - needs)
        if self._tape.tensors:
            del self._live[parent]
            self._live[slot] = self._tape.tensors[slot]

    def _repeat(self, loop: Loop, n_more: int) -> None:
        """Play a stretch again, until the buffer is as it was after an earlier repetition.

        From there on everything repeats, and no repetition can need more than one before.
        """
        offsets = self._offsets
        before, own = loop.before.n_slots, loop.start.n_slots
        end = loop.end.n_slots
        states: dict[Hashable, int] = {self._state(own, end): 0}
        done = 0
        while done < n_more:
            offsets[before:own] = offsets[own:end]
            self._run(loop.start.n_requests, loop.end.n_requests)
            done += 1
            state = self._state(own, end)
            earlier = states.setdefault(state, done)
            if earlier < done:
                cycle = done - earlier
                done += (n_more - done) // cycle * cycle

    def _state(self, start: int, end: int) -> Hashable:
        """Free blocks, and where what was allocated last lies."""
        return tuple(map(tuple, self._arena.free_blocks)), tuple(self._offsets[start:end])

    def _explained(self) -> list[Live]:
        sizes, tensors = self._sizes, self._tape.tensors
        live = [
            Live(t.op, t.name, t.type, t.ne, sizes[slot])
            for slot, t in ((slot, tensors[slot]) for slot in self._peak)
        ]
        return sorted(live, key=lambda item: -item.n_bytes)


def left_by_reader(t: Tensor) -> Tensor | None:
    """Count one reader less; the tensor whose place nobody reads any more, if there is one.

    Source: ggml-alloc.c `ggml_gallocr_alloc_graph_impl`, the parents of a node.
    """
    t.n_children -= 1
    if t.n_children or t.n_views:
        return None
    root = t.view_src
    if root is not None:
        root.n_views -= 1
        if root.n_views or root.n_children:
            return None
        t = root
    return t if t.is_allocated else None


class Recorder:
    """Goes through a scheduled graph and records what it asks of each backend's buffer.

    Args:
        n_gpus: GPUs taking part; the host is the backend after them.
        explain: also record what is in each slot.
        capabilities: compute capability per GPU; none = Ada Lovelace or newer.
    """

    def __init__(
        self,
        n_gpus: int,
        *,
        explain: bool = False,
        capabilities: Sequence[cuda.Capability] = (),
    ) -> None:
        self._n_gpus = n_gpus
        self._capabilities = capabilities or (cuda.ADA_LOVELACE,) * n_gpus
        self._explain = explain
        self.tapes = [Tape(cuda.ALIGNMENT) for _ in range(n_gpus)] + [Tape(HOST_ALIGNMENT)]

    def record(self, schedule: Schedule, cuts: Collection[int] = ()) -> dict[int, list[Mark]]:
        """Record a whole graph on `tapes`.

        Args:
            schedule: the graph.
            cuts: ids of nodes to mark.

        Returns:
            Id of a node → how far each tape was when it came.
        """
        marks: dict[int, list[Mark]] = {}
        allocate, release = self._allocate, self._release
        for t, backend in schedule.leafs:
            allocate(t, backend)
        self._count_uses(schedule.nodes)
        for t, backend in schedule.nodes:
            if cuts and id(t) in cuts:
                marks[id(t)] = [tape.mark for tape in self.tapes]
            src = t.src
            for parent in src:
                if (
                    parent is not None
                    and not parent.is_allocated
                    and parent.buffer == -1
                    and parent.view_src is None
                ):
                    allocate(parent, backend)
            if not t.is_allocated and t.view_src is None:
                allocate(t, backend)
            release(src)
        return marks

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
        if backend == self._n_gpus:
            return t.n_bytes
        return cuda.alloc_size(t, self._capabilities[backend])

    def _allocate(self, t: Tensor, backend: int) -> None:
        if t.buffer != -1 or t.is_allocated or t.view_src is not None:
            return
        t.is_allocated = True
        if t.op in IN_PLACE_OPS and self._reuse_parent(t):
            return
        t.owner = backend
        t.slot = self._new_slot(t, backend, self._size(t, backend))

    def _new_slot(self, t: Tensor, backend: int, size: int) -> int:
        tape = self.tapes[backend]
        slot = len(tape.sizes)
        tape.sizes.append(size)
        tape.requests.append(slot)
        if self._explain:
            tape.tensors.append(t)
        return slot

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
            owner = t.owner = parent.owner
            parent.is_allocated = False
            size = self._size(t, owner)
            tape = self.tapes[owner]
            if self._explain or size != tape.sizes[parent.slot]:
                t.slot = self._new_slot(t, owner, size)
                tape.heirs[t.slot] = parent.slot
            else:
                t.slot = parent.slot
            return True
        return False

    def _release(self, src: Sequence[Tensor | None]) -> None:
        for parent in src:
            left = None if parent is None else left_by_reader(parent)
            if left is not None:
                self._free(left)

    def _free(self, t: Tensor) -> None:
        if t.is_output:
            return
        t.is_allocated = False
        self.tapes[t.owner].requests.append(~t.slot)
