"""Stamps of a graph: what a block asks of its GPU's buffer, whichever GPU that is.

The graph has every block on a device of its own, so that each of its nodes belongs to one block.
The nodes from the first of a block to the first of the next are a segment. A segment may hold
the end of the block before as well: recurrent blocks read their states before the former block
is done. Where both are on one GPU, that one works through all of the segment; where they are
not, each goes through its own nodes, and the GPU of the former one through those after its last
segment. So there is a stamp of a segment for each case, see `Source`.

Where each block has one operation that only the host can compute, a segment begins with its
result: what comes before it and what comes after it are computed apart, and what the host needs
and what it returns is copied between the two.

Source: as for `core.ggml.scheduler` and `core.ggml.alloc`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from ggufctl.core.ggml import cuda
from ggufctl.core.ggml.alloc import IN_PLACE_OPS, left_by_reader
from ggufctl.core.ggml.cuda import Capability
from ggufctl.core.ggml.ops import VIEW_OPS
from ggufctl.core.ggml.scheduler import MAX_DEPENDENCIES, keep_alive
from ggufctl.core.ggml.tensor import Tensor

__all__ = [
    "AN_INPUT",
    "GIVEN_UP",
    "Name",
    "Reading",
    "Refused",
    "Source",
    "Stamp",
    "copied_bytes",
    "demand",
]

AN_INPUT = 1 << 40
"""From here on, what a request gives back is an input; from twice that on, one that only its
block reads. Among the numbers of inputs, from here on they are those of a block's own."""

GIVEN_UP = -1
"""Stands for the end of an input whose place something else takes over."""

REACH = 2
"""Segments further on in which all that follows a block is done with what it computes, where
blocks only follow each other: one may end in the next segment, and read there what the one
before it left."""

Name = tuple[int, int, int, str]
"""What a slot that is left to the next segment is known by: how many segments ago it was taken;
whether by the end of the block before; by which node of that, counted from the end; and by which
operation. So it does not depend on what comes before a block."""


class Refused(Exception):
    """The graph is not one of blocks that only follow each other."""


def demand(holds: object) -> None:
    """Refuse the graph where something does not hold."""
    if not holds:
        raise Refused


class Stamp(NamedTuple):
    """What a block asks of its GPU's buffer.

    Attributes:
        sizes: bytes of each slot of its own.  [bytes]
        requests: a slot to find room for, or the complement (`~`) of one to give back: its own
            are counted first, then those of `handed`.
        handed: names of the slots that the block before leaves: this one gives them back or
            leaves them in turn.
        left: name → what it leaves to the next block, counted as in `requests`.
        reads: inputs that its block reads, by number.
        asked: inputs in the order the segment first reads them, those from `AN_INPUT` on its own.
        parts: bytes of inputs that no other block reads.  [bytes]
        returned: bytes of the copy of what the host computes for its block; none or one.  [bytes]
        ends: inputs in the order it is done with them, each after how many requests; `GIVEN_UP`
            for one whose place it takes over and gives back itself.
        n_preset: own slots, the first, that hold inputs.
        n_leafs: own slots, those after them, that are taken before all else.
    """

    sizes: list[int]
    requests: list[int]
    handed: tuple[Name, ...]
    left: tuple[tuple[Name, int], ...]
    reads: tuple[int, ...]
    asked: tuple[int, ...]
    parts: tuple[int, ...]
    returned: tuple[int, ...]
    ends: tuple[tuple[int, int], ...]
    n_preset: int = 0
    n_leafs: int = 0


class Reading(NamedTuple):
    """Inputs that a segment and its block read, see `Stamp`."""

    reads: tuple[int, ...]
    asked: tuple[int, ...]
    parts: tuple[int, ...]
    returned: tuple[int, ...] = ()


def copied_bytes(t: Tensor, capability: Capability) -> int:
    """Bytes of a copy on a GPU, before alignment.  [bytes]"""
    return cuda.alloc_size(Tensor(t.type, t.ne, nb=t.nb), capability)


class Source:
    """A graph with every block on a device of its own, and the stamps of its segments.

    Args:
        nodes: of all blocks, in order.
        starts: first node of each segment, and the end.
        homes: device of each segment's block.
        leafs: per block: what it fills or starts from that the graph does not compute.
        readings: per segment: inputs that it and its block read.
        capability: of the GPUs.
    """

    def __init__(
        self,
        nodes: list[Tensor],
        starts: list[int],
        homes: Sequence[int],
        leafs: Sequence[Sequence[Tensor]],
        readings: Sequence[Reading],
        capability: Capability,
    ) -> None:
        self._nodes = nodes
        self._starts = starts
        self._blocks = {home: i for i, home in enumerate(homes)}
        self._n = len(homes)
        self._leafs = leafs
        self._readings = readings
        self._capability = capability
        self._places: dict[int, int] = {}
        """Id of a node → its segment."""
        self._names: dict[int, tuple[int, int]] = {}
        """Id of a node → which of its block's in its segment it is, and the block."""
        self._ops: dict[tuple[int, int], list[str]] = {}
        """Segment and block → operations."""
        self._late: set[int] = set()
        self._in_order: list[list[Tensor]] = []
        """Nodes of each segment where one GPU has all blocks."""
        self._moved: set[int] = set()
        """Segments of which something moves to the one before, if that is on the same GPU."""
        blocks, places, names = self._blocks, self._places, self._names
        for place, (start, end) in enumerate(pairwise(starts)):
            by_block: dict[int, list[str]] = {}
            for t in nodes[start:end]:
                block = blocks.get(t.backend, -1)
                ops = by_block.get(block)
                if ops is None:
                    ops = by_block[block] = self._ops[place, block] = []
                places[id(t)] = place
                names[id(t)] = (len(ops), block)
                ops.append(t.op)
            if any(op not in VIEW_OPS for op in by_block.get(place - 1, ())):
                self._late.add(place)

    def block(self, t: Tensor) -> int:
        """Number of the block a tensor belongs to, -1 for the host."""
        return self._blocks.get(t.backend, -1)

    def ends_late(self, place: int) -> bool:
        """Whether a segment holds the end of the block before."""
        return place in self._late

    def body(self, place: int) -> list[str]:
        """Operations of a block in its segment, from where the one before is done."""
        nodes = self._nodes[self._starts[place] : self._starts[place + 1]]
        begun = 0
        if place in self._late:
            begun = 1 + max(i for i, t in enumerate(nodes) if self._is_late(t, place))
        return [t.op for t in nodes[begun:] if self.block(t) == place]

    def _is_late(self, t: Tensor, place: int) -> bool:
        return self.block(t) == place - 1 and t.op not in VIEW_OPS

    def name(self, t: Tensor) -> tuple[int, int, str]:
        """What a node is known by whatever came before its block."""
        place = self._places[id(t)]
        i, block = self._names[id(t)]
        return place - block, len(self._ops[place, block]) - i, t.op

    def is_asked_once(self, i: int) -> bool:
        """Whether only one segment reads an input."""
        return i >= AN_INPUT or sum(i in reading.asked for reading in self._readings) == 1

    # Stamps.

    def steady(self, preset: Sequence[Tensor], *, is_piped: bool = False) -> list[Stamp]:
        """Stamps of all segments where one GPU has all blocks.

        Args:
            preset: inputs that only the first block reads.
            is_piped: whether inputs are copied as often as batches are in flight.
        """
        dependencies: dict[int, list[Tensor]] = {}
        found: list[list[Tensor]] = [[] for _ in range(self._n)]
        for nodes, following in _stretches(self._nodes, None):
            self._put(found, cuda.optimize(nodes, dependencies, following), dependencies)
        self._in_order = found
        writer = _Writer(self, found, self._capability, is_piped=is_piped)
        for t in preset:
            demand(not t.n_views)
            writer.hold(t, copied_bytes(t, self._capability))
        stamps = [
            writer.write(found[place], self._leafs[place], self._readings[place])
            for place in range(self._n)
        ]
        stamps[0] = stamps[0]._replace(n_preset=len(preset))
        return stamps

    def alone(self, place: int) -> Stamp:
        """Stamp of a segment that begins on a GPU of its own."""
        return self._window(place, self._n - 1, place + 1)[-1]

    def second(self, place: int) -> Stamp:
        """Stamp of a segment whose GPU begins with the block before."""
        return self._window(place - 1, self._n - 1, place + 1)[-1]

    def closing(self, place: int, n_blocks: int) -> tuple[Stamp, Stamp]:
        """Stamps of the last block of a GPU, and of what the next segment holds of it.

        Args:
            place: the next segment.
            n_blocks: on the GPU, where more than three are like three.
        """
        demand(n_blocks <= place)
        last, late = self._window(place - n_blocks, place - 1, place + 1)[-2:]
        return last, late._replace(left=(), reads=(), parts=(), returned=())

    def moves(self, place: int) -> bool:
        """Whether some of a segment is part of the one before, if that is on the same GPU."""
        return place in self._moved

    def _window(self, first: int, last: int, end: int) -> list[Stamp]:
        """Stamps of the segments from `first` up to `end`, on a GPU with some blocks.

        Args:
            first, last: blocks of the GPU.
            end: segment after the last wanted.
        """
        if self._late:
            found = self._seen(first, last, min(end + REACH, self._n))
        else:
            # Each GPU computes all of its segments, and only the next one reads of that.
            found = [[] for _ in range(first)] + self._in_order[first : end + 1]
        foreign = self._hide_foreign(found, first, last)
        writer = _Writer(self, found, self._capability, is_piped=True)
        stamps = [
            writer.write(
                found[place],
                self._leafs[place] if place <= last else (),
                self._readings[place],
            )
            for place in range(first, end)
        ]
        for t in foreign:
            t.buffer = -1
        return stamps

    def _seen(self, first: int, last: int, end: int) -> list[list[Tensor]]:
        """Per segment, what the buffer of a GPU with some blocks sees.

        That is their nodes, and where what others compute begins, no-ops that read what is
        copied to those.
        """
        dependencies: dict[int, list[Tensor]] = {}
        found: list[list[Tensor]] = [[] for _ in range(end)]
        copied: set[tuple[int, int]] = set()
        for side, nodes, following in self._runs(first, last, end):
            if not side:
                nodes = cuda.optimize(nodes, dependencies, following)
            else:
                for s in self._own_sources(nodes, first, last):
                    if (side, id(s)) not in copied:
                        copied.add((side, id(s)))
                        found[self._places[id(nodes[0])]].append(keep_alive([s]))
            self._put(found, nodes, dependencies, first, last)
        return found

    def _runs(
        self, first: int, last: int, end: int
    ) -> Iterator[tuple[int, list[Tensor], Tensor | None]]:
        """What the GPU of some blocks (0), those before (-1) and after it (1) compute in turns."""
        start, stop = self._starts[first], self._starts[end]
        after = self._nodes[stop] if stop < len(self._nodes) else None
        for nodes, following in _stretches(self._nodes[start:stop], after):
            begun, here = 0, None
            for i, t in enumerate(nodes):
                if t.op in VIEW_OPS:
                    continue
                block = self.block(t)
                side = -1 if block < first else block > last
                if here is None:
                    here = side
                elif side != here:
                    yield here, nodes[begun:i], t
                    begun, here = i, side
            yield here or 0, nodes[begun:], following

    def _own_sources(self, nodes: Iterable[Tensor], first: int, last: int) -> Iterator[Tensor]:
        for t in nodes:
            if t.op not in VIEW_OPS and not first <= self.block(t) <= last:
                for s in t.src:
                    if s is not None and s.buffer == -1 and first <= self.block(s) <= last:
                        yield s

    def _put(
        self,
        found: list[list[Tensor]],
        nodes: Iterable[Tensor],
        dependencies: dict[int, list[Tensor]],
        first: int = -1,
        last: int = AN_INPUT,
    ) -> None:
        """Add the nodes of some blocks to their segments, with no-ops that keep results alive."""
        nodes = list(nodes)
        places = [self._places[id(t)] for t in nodes]
        for i in range(len(places) - 1, 0, -1):
            if places[i - 1] > places[i]:
                # The end of a block is grouped for fusion with what is before it.
                self._moved.add(places[i - 1])
                places[i - 1] = places[i]
        for t, place in zip(nodes, places, strict=True):
            if first <= self.block(t) <= last:
                found[place].append(t)
            kept = dependencies.get(id(t))
            if kept:
                found[place] += [
                    keep_alive(kept[k : k + MAX_DEPENDENCIES])
                    for k in range(0, len(kept), MAX_DEPENDENCIES)
                ]

    def _hide_foreign(
        self, found: Iterable[Iterable[Tensor]], first: int, last: int
    ) -> list[Tensor]:
        """Take what other GPUs compute for outside the graph, as copies of it are."""
        foreign = []
        for nodes in found:
            for t in nodes:
                for s in t.src:
                    if s is None:
                        continue
                    root = s.view_src if s.view_src is not None else s
                    block = self.block(root)
                    if root.buffer == -1 and block >= 0 and not first <= block <= last:
                        root.buffer, root.slot, root.is_allocated = 0, -1, False
                        foreign.append(root)
        return foreign


def _stretches(
    nodes: list[Tensor], after: Tensor | None
) -> Iterator[tuple[list[Tensor], Tensor | None]]:
    """What is computed without the host in between, each with what follows it.

    Args:
        nodes: in order.
        after: the node after them.
    """
    # What has no operation stands for what the host reads or returns.
    are_copies = [t.op == "NONE" for t in nodes]
    begun = 0
    if True in are_copies:
        for i, (former, latter) in enumerate(pairwise(are_copies), 1):
            if former is not latter:
                yield nodes[begun:i], nodes[i]
                begun = i
    yield nodes[begun:], after


def _count(segments: Iterable[Sequence[Tensor]]) -> dict[int, int]:
    """Count who reads what, as the allocator does first.

    Returns:
        Id of a tensor that has a place → the last segment that reads it.
    """
    last: dict[int, int] = {}
    segments = list(segments)
    for nodes in segments:
        for t in nodes:
            t.n_children = t.n_views = 0
            t.is_allocated = False
            root = t.view_src
            if root is not None:
                root.n_children = root.n_views = 0
                root.is_allocated = False
            for s in t.src:
                if s is not None:
                    s.n_children = s.n_views = 0
                    s.is_allocated = False
    for place, nodes in enumerate(segments):
        for t in nodes:
            if t.view_src is not None and t.op != "NONE":
                t.view_src.n_views += 1
            for s in t.src:
                if s is not None:
                    s.n_children += 1
                    last[id(s if s.view_src is None else s.view_src)] = place
    return last


class _Held(NamedTuple):
    """A slot in use."""

    segment: int
    """In which it was taken, or its place taken over."""
    name: tuple[int, int, str]
    tensor: Tensor


class _Writer:
    """Goes through segments as the allocator does, and writes down a stamp of each.

    Args:
        source: of the nodes.
        segments: nodes of all segments.
        capability: of the GPU.
        is_piped: whether inputs are copied as often as batches are in flight.
    """

    def __init__(
        self,
        source: Source,
        segments: Sequence[Sequence[Tensor]],
        capability: Capability,
        *,
        is_piped: bool = False,
    ) -> None:
        self._source = source
        self._last = _count(segments)
        self._capability = capability
        self._is_piped = is_piped
        self._sizes: list[int] = []
        self._requests: list[int] = []
        self._ends: dict[int, int] = {}
        self._holders: dict[int, _Held] = {}
        self._results: list[int] = []
        """Slots of the results of the graph, which nobody gives back."""
        self._given_up: set[int] = set()
        """Inputs whose places are taken over."""
        self._first = 0
        self._n = len(segments)
        self._segment = next((i for i, nodes in enumerate(segments) if nodes), 0)

    def hold(self, t: Tensor, n_bytes: int) -> None:
        """Have a tensor in a slot before all requests."""
        t.buffer, t.is_allocated, t.slot = -1, True, len(self._sizes)
        self._holders[t.slot] = _Held(self._segment, (0, self._first - 1 - t.slot, t.op), t)
        self._sizes.append(n_bytes)

    def write(self, nodes: Sequence[Tensor], leafs: Sequence[Tensor], reads: Reading) -> Stamp:
        """Stamp of the next segment."""
        first = self._first
        handed = {slot: self._name(held) for slot, held in self._holders.items() if slot < first}
        for t in leafs:
            self.hold(t, cuda.alloc_size(t, self._capability))
        for t in nodes:
            if t.view_src is None and not t.is_allocated and t.buffer == -1:
                self._allocate(t)
            self._release(t)
        own = len(self._sizes) - first
        used: dict[int, int] = {}

        demand(not self._given_up)

        def place(slot: int) -> int:
            if slot >= AN_INPUT:
                return slot
            return slot - first if slot >= first else used.setdefault(slot, own + len(used))

        requests = [x - first if x >= 0 else ~place(~x) for x in self._requests]
        for slot in self._results:
            place(slot)
        here = self._segment
        # What nobody reads any more and is yet not given back is nobody's business.
        self._holders = {
            slot: held
            for slot, held in self._holders.items()
            if self._last.get(id(held.tensor), -1) > here
        }
        self._segment += 1
        named = sorted((self._name(held), slot) for slot, held in self._holders.items())
        demand(len(named) == len({name for name, _ in named}))
        left = tuple((name, place(slot)) for name, slot in named)
        stamp = Stamp(
            self._sizes[first:],
            requests,
            tuple(handed[slot] for slot in used),
            left,
            *reads,
            ends=tuple(self._ends.items()),
            n_leafs=len(leafs),
        )
        self._requests, self._ends, self._results = [], {}, []
        self._first = len(self._sizes)
        return stamp

    def _name(self, held: _Held) -> Name:
        # What is there for many blocks is to each of them what it is to the next.
        return (min(self._segment - held.segment, REACH), *held.name)

    def _take(self, t: Tensor) -> None:
        """Have a node in its slot."""
        if t.is_output:
            self._holders.pop(t.slot, None)
            self._results.append(t.slot)
        else:
            self._holders[t.slot] = _Held(self._segment, self._source.name(t), t)

    def _allocate(self, t: Tensor) -> None:
        t.is_allocated = True
        if t.op in IN_PLACE_OPS and self._reuse_parent(t):
            return
        slot = t.slot = len(self._sizes)
        self._sizes.append(cuda.alloc_size(t, self._capability))
        self._requests.append(slot)
        self._take(t)

    def _reuse_parent(self, t: Tensor) -> bool:
        for parent in t.src:
            if parent is None or parent.is_output:
                continue
            if not parent.is_allocated:
                if self._reuse_input(t, parent):
                    return True
                continue
            if (
                parent.n_children != 1
                or parent.n_views != 0
                or parent.type != t.type
                or parent.ne != t.ne
                or parent.nb != t.nb
            ):
                continue
            parent.is_allocated = False
            slot = t.slot = parent.slot
            demand(slot >= 0 and slot in self._holders)
            demand(cuda.alloc_size(t, self._capability) == self._sizes[slot])
            self._take(t)
            return True
        return False

    def _reuse_input(self, t: Tensor, parent: Tensor) -> bool:
        """Take the place of the copy of an input that nobody reads from here on.

        Where several copies are in flight, none is given up.
        """
        is_input = parent.buffer != -1 and parent.slot < -1
        if self._is_piped or not is_input or parent.type != t.type or parent.ne != t.ne:
            return False
        demand(not parent.n_views)
        if parent.n_children != 1 or parent.nb != t.nb:
            return False
        # A model might have blocks that read it yet and that this graph lacks.
        is_last = self._segment >= self._n - 2
        demand((is_last or self._source.is_asked_once(-2 - parent.slot)) and not t.is_output)
        capability = self._capability
        demand(cuda.alloc_size(t, capability) == copied_bytes(parent, capability))
        t.slot = parent.slot
        self._given_up.add(-2 - t.slot)
        self._ends[-2 - t.slot] = GIVEN_UP
        return True

    def _release(self, t: Tensor) -> None:
        is_view = t.op in VIEW_OPS
        for parent in t.src:
            if parent is None:
                continue
            if parent.buffer != -1:
                parent.n_children -= 1
                if parent.slot < -1 and not is_view:
                    self._done_with(-2 - parent.slot)
                continue
            left = left_by_reader(parent)
            if left is not None and not left.is_output:
                self._free(left)

    def _done_with(self, i: int) -> None:
        """Note that an input was read."""
        if self._ends.get(i) != GIVEN_UP:
            self._ends.pop(i, None)
            self._ends[i] = len(self._requests)

    def _free(self, t: Tensor) -> None:
        t.is_allocated = False
        if t.slot < -1:
            self._given_up.remove(-2 - t.slot)
            self._requests.append(~(AN_INPUT - 2 - t.slot))
            return
        demand(t.slot in self._holders)
        del self._holders[t.slot]
        self._requests.append(~t.slot)
