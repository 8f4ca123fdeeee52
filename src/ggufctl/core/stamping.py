"""Buffers of models that lie on GPUs block after block, out of each kind of block once.

Where all is on GPUs, what a block asks of its GPU's buffer depends on its own kind, on the kind
of the block before it, and on whether that one is on the same GPU. So a graph is built of few
blocks, one for every pair of kinds that follow each other, and gone through once: that leaves a
`Stamp` of requests per block, and the buffer of any GPU with any blocks is played by one stamp
after the other. No graph of several GPUs is built at all.

A graph that does not fit into this picture is refused (`cut` returns None), and has to be built
for the GPUs as they are: operations on the host between blocks, blocks that read what others than
the one before them computed, results that take a place of another size.

Source: as for `core.ggml.scheduler` and `core.ggml.alloc`, whose results these are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import NamedTuple

from ggufctl.core.ggml import cuda
from ggufctl.core.ggml.alloc import IN_PLACE_OPS, Arena, Recorder, Tape, left_by_reader
from ggufctl.core.ggml.cuda import Capability
from ggufctl.core.ggml.graph import Graph
from ggufctl.core.ggml.ops import VIEW_OPS
from ggufctl.core.ggml.scheduler import (
    MAX_COPIES,
    MAX_DEPENDENCIES,
    Schedule,
    Scheduler,
    keep_alive,
)
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.growing import at

__all__ = ["Stamped", "cut", "shortened"]

_AN_INPUT = 1 << 40
"""From here on, what a request gives back is an input."""

Kind = Hashable
Pair = tuple[Kind, Kind]


class _Refused(Exception):
    """The graph is not one of blocks that only follow each other."""


class Stamp(NamedTuple):
    """What a block asks of its GPU's buffer.

    Attributes:
        sizes: bytes of each slot of its own.  [bytes]
        requests: a slot to find room for, or the complement (`~`) of one to give back: its own
            are counted first, then those of `handed`.
        handed: names of the slots that the block before leaves and this one gives back or keeps.
        left: name → what it leaves to the next block, counted as in `requests`.
        reads: inputs that it reads, by number.
        ends: inputs in the order it is done with them, each after how many requests.
        n_preset: own slots, the first, that hold inputs.
    """

    sizes: list[int]
    requests: list[int]
    handed: tuple[int, ...]
    left: tuple[tuple[int, int], ...]
    reads: tuple[int, ...]
    ends: tuple[tuple[int, int], ...]
    n_preset: int = 0


def shortened(kinds: Sequence[Kind]) -> list[int]:
    """The fewest blocks, the first and the last among them, with every pair of kinds that occurs.

    Args:
        kinds: of all blocks in order.
    """
    last = len(kinds) - 1
    chosen, here = [0], 0
    covered: set[Pair] = set()
    while here < last:
        seen, far = here, here
        while seen < last and (kinds[seen], kinds[seen + 1]) in covered:
            seen += 1
            if seen < last and kinds[seen] == kinds[here]:
                far = seen
        following = far + 1
        covered.add((kinds[here], kinds[following]))
        chosen.append(following)
        here = following
    return chosen


@dataclass(slots=True)
class _Source:
    """The graph on one GPU, for stamps that are not there yet.

    Attributes:
        nodes: in order, no-ops that keep results alive among them.
        starts: first node of each segment, a block or the output, and the end.
        crossing: per segment: what it reads of the one before.
        capability: of the GPUs.
        reads: per segment: numbers of the inputs that it reads.
    """

    nodes: list[Tensor]
    starts: list[int]
    crossing: list[list[Tensor]]
    capability: Capability
    reads: list[tuple[int, ...]]


class Stamped:
    """The stamps of one graph, and what they add up to.

    Args:
        kinds: of all blocks of the model in order, and of the output after them.
        homes: number of each, to tell its device by.
        inputs: bytes of each input as a copy on a GPU, in the order they are copied.
        preset: of these, those that only the first block reads → its slot for each.
        hosts: what the host's buffer is asked for, with one copy of inputs and with several.
        steady: pair of kinds → stamp of the second behind the first.
        source: to make further stamps of.
        places: pair of kinds → segment of the source.
    """

    def __init__(
        self,
        kinds: list[Kind],
        homes: list[int],
        inputs: list[int],
        preset: dict[int, int],
        hosts: tuple[Tape, Tape],
        steady: dict[Pair, Stamp],
        source: _Source,
        places: dict[Pair, int],
    ) -> None:
        self._kinds = kinds
        self._homes = homes
        self._inputs = inputs
        self._preset = preset
        self._hosts = hosts
        self._steady = steady
        self._alone: dict[Pair, tuple[Stamp, list[int]]] = {}
        self._source = source
        self._places = places
        self._lock = Lock()
        self._steps = 0
        self._rooms: dict[int, tuple[Stamp, list[int]]] = {}
        self._known: dict[Hashable, int] = {}

    def sizes(
        self, layer_backends: Sequence[int], n_gpus: int, steps: int
    ) -> tuple[int, ...] | None:
        """Compute buffer of every GPU, and last of the host.  [bytes]

        Args:
            layer_backends: GPU of every block and of the output, in order.
            n_gpus: how many there are.
            steps: how much further the context is than the one of the graph (see `Growing`).

        Returns:
            None where a block asks something else where the one before is on another GPU.
        """
        where = [layer_backends[home] for home in self._homes]
        with self._lock:
            if steps != self._steps:
                self._steps = steps
                self._rooms.clear()
                self._known.clear()
            found = []
            start, n = 0, len(where)
            for gpu in range(n_gpus):
                end = start
                while end < n and where[end] == gpu:
                    end += 1
                try:
                    found.append(self._size(start, end, is_only=n_gpus == 1))
                except _Refused:
                    return None
                start = end
            return (*found, self._host_size(is_only=n_gpus == 1))

    def _host_size(self, *, is_only: bool) -> int:
        size = self._known.get(is_only)
        if size is None:
            tape = self._hosts[0 if is_only else 1]
            size = self._known[is_only] = tape.play(self._steps).size
        return size

    def _size(self, start: int, end: int, *, is_only: bool) -> int:
        if start == end:
            return 0
        before = self._kinds[start - 1] if start else None
        key = (is_only, before, *self._kinds[start:end])
        size = self._known.get(key)
        if size is None:
            size = self._known[key] = self._played(start, end, is_only=is_only)
        return size

    def _played(self, start: int, end: int, *, is_only: bool) -> int:
        """Buffer of a GPU that has some blocks.  [bytes]"""
        kinds = self._kinds
        pairs = list(pairwise((kinds[start - 1] if start else None, *kinds[start:end])))
        stamps = [self._steady[pair] for pair in pairs]
        player = _Player(self._steps, self._rooms)
        if is_only:
            player.place(self._inputs, self._preset)
            stamps = self._with_ends(stamps)
        else:
            stamps[0], crossing = self._stamp_alone(pairs[0])
            read = {i for stamp in stamps for i in stamp.reads}
            player.pin([self._inputs[i] for i in read] + crossing)
        return player.play(stamps)

    def _with_ends(self, stamps: list[Stamp]) -> list[Stamp]:
        """The stamps with inputs given back where nothing reads them any more."""
        last: dict[int, int] = {}
        for place, stamp in enumerate(stamps):
            for i, _ in stamp.ends:
                last[i] = place
        found = list(stamps)
        for place in set(last.values()):
            stamp = stamps[place]
            requests = list(stamp.requests)
            ends = [(i, after) for i, after in stamp.ends if last[i] == place]
            for i, after in reversed(ends):
                requests.insert(after, ~(_AN_INPUT + i))
            found[place] = stamp._replace(requests=requests)
        return found

    def _stamp_alone(self, pair: Pair) -> tuple[Stamp, list[int]]:
        """Stamp of a block that the one before is on another GPU, and what it copies of that."""
        found = self._alone.get(pair)
        if found is None:
            found = self._alone[pair] = _stamp_alone(self._source, self._places[pair])
        return found


class _Player:
    """One buffer while stamps are played."""

    def __init__(self, steps: int, rooms: dict[int, tuple[Stamp, list[int]]]) -> None:
        self._steps = steps
        self._rooms = rooms
        self._arena = Arena(cuda.ALIGNMENT)
        self._held: dict[int, tuple[int, int]] = {}
        self._inputs: dict[int, tuple[int, int]] = {}
        self._preset: list[tuple[int, int]] = []

    def _room(self, n_bytes: int) -> int:
        align = cuda.ALIGNMENT
        return -(-at(n_bytes, self._steps) // align) * align

    def place(self, inputs: Iterable[int], preset: dict[int, int]) -> None:
        """Find room for inputs that are given back one by one."""
        slots = [(0, 0)] * len(preset)
        for i, n_bytes in enumerate(inputs):
            size = self._room(n_bytes)
            held = (self._arena.alloc(size), size)
            if i in preset:
                slots[preset[i]] = held
            else:
                self._inputs[i] = held
        self._preset = slots

    def pin(self, sizes: Iterable[int]) -> None:
        """Find room for what stays to the end, in as many copies as batches are in flight."""
        for n_bytes in sizes:
            self._arena.alloc(MAX_COPIES * self._room(n_bytes))

    def play(self, stamps: list[Stamp]) -> int:
        """Play stamps in order; repetitions that find the buffer as it was are left out.

        From there on everything repeats, and no repetition can need more than one before.
        """
        place, n = 0, len(stamps)
        seen: dict[Hashable, int] = {}
        while place < n:
            stamp = stamps[place]
            state = (
                id(stamp),
                tuple(map(tuple, self._arena.free_blocks)),
                tuple(self._held.values()),
            )
            before = seen.setdefault(state, place)
            if before < place:
                period, far = place - before, place
                while far < n and stamps[far] is stamps[far - period]:
                    far += 1
                ahead = (far - place) // period * period
                if ahead:
                    place += ahead
                    seen.clear()
                    continue
            self._stamp(stamp)
            place += 1
        return self._arena.max_size

    def _stamp(self, stamp: Stamp) -> None:
        known = self._rooms.get(id(stamp.sizes))
        if known is None:
            # The stamp is kept, so that its lists are not taken for others.
            known = self._rooms[id(stamp.sizes)] = (stamp, [self._room(n) for n in stamp.sizes])
        sizes = known[1]
        own = len(sizes)
        offsets = [0] * own
        for i in range(stamp.n_preset):
            offsets[i], sizes[i] = self._preset[i]
        held, handed = self._held, stamp.handed
        alloc, free = self._arena.alloc, self._arena.free
        for x in stamp.requests:
            if x >= 0:
                offsets[x] = alloc(sizes[x])
                continue
            x = ~x
            if x < own:
                free(offsets[x], sizes[x])
            elif x < _AN_INPUT:
                free(*held[handed[x - own]])
            else:
                free(*self._inputs[x - _AN_INPUT])
        self._held = {
            name: (offsets[x], sizes[x]) if x < own else held[handed[x - own]]
            for name, x in stamp.left
        }


# Cutting a graph into stamps.


def cut(
    graph: Graph,
    blocks: Sequence[int],
    kinds: Sequence[Kind],
    n_apart: int,
    capability: Capability,
) -> Stamped | None:
    """Stamps of a graph whose blocks are each on a device of their own.

    Args:
        graph: built of some blocks, placed apart: the device of a block has its number, and the
            output the one before the host's. Every tensor is given a backend.
        blocks: what was built (see `shortened`).
        kinds: of all blocks of the model.
        n_apart: devices beside the host.
        capability: compute capability of the GPUs.

    Returns:
        None where blocks do more than follow each other.
    """
    try:
        return _Cutter(graph, blocks, kinds, n_apart, capability).stamped()
    except _Refused:
        return None


def _demand(holds: object) -> None:
    if not holds:
        raise _Refused


class _Cutter:
    def __init__(
        self,
        graph: Graph,
        blocks: Sequence[int],
        kinds: Sequence[Kind],
        n_apart: int,
        capability: Capability,
    ) -> None:
        self._graph = graph
        self._host = n_apart
        self._homes = [*blocks, n_apart - 1]
        self._kinds = [*kinds, "output"]
        self._n_blocks = len(kinds)
        self._capability = capability
        self._segment = {home: i for i, home in enumerate(self._homes)}

    def stamped(self) -> Stamped:
        graph = self._graph
        assign_apart(graph, self._host)
        n_host = self._n_on_host()
        nodes = graph.nodes[n_host:]
        starts = self._starts(nodes)
        reads, crossing = self._reads(nodes, starts)
        inputs: dict[int, Tensor] = {}
        for segment in reads:
            inputs.update((id(t), t) for t in segment)
        hosts = tuple(self._host_tape(n_host, inputs.values(), n) for n in (1, MAX_COPIES))
        dependencies: dict[int, list[Tensor]] = {}
        nodes = cuda.optimize(nodes, dependencies, None)
        _demand(self._starts(nodes) == starts)
        nodes, starts = _with_kept(nodes, starts, dependencies)
        numbers = {key: i for i, key in enumerate(inputs)}
        by_number = [tuple(numbers[id(t)] for t in segment) for segment in reads]
        later = {i for segment in by_number[1:] for i in segment}
        listed = list(inputs.values())
        self._demand_shared(listed, by_number)
        alone = [i for i in by_number[0] if i not in later and listed[i].view_src is None]
        for i, t in enumerate(listed):
            t.buffer, t.slot, t.is_allocated = 0, -2 - i, False
        preset = {i: place for place, i in enumerate(alone)}
        self._demand_alike(nodes, starts)
        source = _Source(nodes, starts, crossing, self._capability, by_number)
        stamps = _stamps(source, [listed[i] for i in alone])
        for i in alone:
            listed[i].buffer, listed[i].slot, listed[i].is_allocated = 0, -2 - i, False
        steady: dict[Pair, Stamp] = {}
        places: dict[Pair, int] = {}
        own = [self._kind(place) for place in range(len(self._homes))]
        for i, pair in enumerate(pairwise((None, *own))):
            known = steady.setdefault(pair, stamps[i])
            places.setdefault(pair, i)
            _demand(known == stamps[i])
        return Stamped(
            self._kinds,
            [*range(self._n_blocks), self._host - 1][: len(self._kinds)],
            [self._copied(t) for t in listed],
            preset,
            (hosts[0], hosts[1]),
            steady,
            source,
            places,
        )

    def _demand_alike(self, nodes: Sequence[Tensor], starts: Sequence[int]) -> None:
        """Refuse blocks of one kind that have different operations."""
        of_kind: dict[Kind, list[str]] = {}
        for place, (start, end) in enumerate(pairwise(starts)):
            has = [t.op for t in nodes[start:end]]
            _demand(of_kind.setdefault(self._kind(place), has) == has)

    def _kind(self, place: int) -> Kind:
        """Kind of a segment."""
        home = self._homes[place]
        return self._kinds[home] if home < self._n_blocks else self._kinds[-1]

    def _demand_shared(self, inputs: Sequence[Tensor], reads: Sequence[tuple[int, ...]]) -> None:
        """Refuse parts of inputs that blocks of one kind may have one each of."""
        readers = Counter(i for segment in reads for i in segment)
        for place, segment in enumerate(reads):
            of_kind = self._kinds.count(self._kind(place))
            for i in segment:
                is_part = inputs[i].view_src is not None
                _demand(not is_part or readers[i] > 1 or of_kind == 1)

    def _copied(self, t: Tensor) -> int:
        return copied_bytes(t, self._capability)

    def _n_on_host(self) -> int:
        """How many nodes come before the first that a GPU computes."""
        first = None
        for i, t in enumerate(self._graph.nodes):
            if t.op in VIEW_OPS:
                continue
            if t.backend == self._host:
                _demand(first is None)
            elif first is None:
                first = i
        _demand(first is not None)
        assert first is not None
        for leaf in self._graph.leafs:
            _demand(leaf.buffer != -1 or leaf.backend == self._host)
        return first

    def _starts(self, nodes: Sequence[Tensor]) -> list[int]:
        """First node of every segment, and the end."""
        starts = [0]
        here, home, place = 0, self._homes[0], self._segment
        for i, t in enumerate(nodes):
            if t.backend == home or t.op in VIEW_OPS:
                continue
            segment = place[t.backend]
            # Recurrent blocks may end after the next has begun: those are refused.
            _demand(segment == here + 1)
            begin = i
            while begin and _is_of_cache(nodes[begin - 1], t.backend):
                begin -= 1
            starts.append(begin)
            here, home = segment, t.backend
        if here == len(self._homes) - 2:
            # Embeddings have no output.
            self._homes, self._kinds = self._homes[:-1], self._kinds[:-1]
        _demand(here == len(self._homes) - 1)
        return [*starts, len(nodes)]

    def _reads(
        self, nodes: Sequence[Tensor], starts: Sequence[int]
    ) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """What each segment reads of the host, and of the segment before it."""
        reads: list[list[Tensor]] = []
        crossing: list[list[Tensor]] = []
        for place, (start, end) in enumerate(pairwise(starts)):
            home = self._homes[place]
            before = self._homes[place - 1] if place else None
            of_host: dict[int, Tensor] = {}
            of_before: dict[int, Tensor] = {}
            for t in nodes[start:end]:
                if t.op in VIEW_OPS:
                    continue
                _demand(not t.is_input)
                for s in t.src:
                    if s is None or s.backend == home:
                        continue
                    root = s.view_src if s.view_src is not None else s
                    if s.backend == self._host:
                        _demand(not s.is_weight)
                        of_host[id(s)] = s
                    else:
                        _demand(s.backend == before and root.buffer == -1)
                        of_before[id(s)] = s
            reads.append(list(of_host.values()))
            crossing.append(list(of_before.values()))
        return reads, crossing

    def _host_tape(self, n_host: int, inputs: Iterable[Tensor], n_copies: int) -> Tape:
        """What the host's buffer is asked for before the GPUs begin; later it only gets emptier."""
        graph, host = self._graph, self._host
        recorder = Recorder(0)
        leafs = [t for t in graph.leafs if t.buffer == -1]
        nodes = graph.nodes[:n_host]
        for t in nodes:
            _demand(t.backend == host or t.view_src is not None)
            _demand(not t.is_input)
        _demand(all(t.is_input for t in leafs))
        for t in (*leafs, *nodes, *inputs):
            t.n_children = t.n_views = 0
            t.is_allocated = False
            t.slot = t.owner = -1
            if t.view_src is not None:
                t.view_src.n_views = t.view_src.n_children = 0
        tape = recorder.tapes[0]
        for t in leafs:
            for _ in range(n_copies - 1):
                slot = len(tape.sizes)
                tape.sizes.append(t.n_bytes)
                tape.requests.append(slot)
        outputs = [t for t in leafs if not t.is_output] if n_copies > 1 else []
        for t in inputs:
            t.n_children += 1
        for t in outputs:
            t.is_output = True
        recorder.record(Schedule([(t, 0) for t in leafs], [(t, 0) for t in nodes], 1))
        for t in outputs:
            t.is_output = False
        return tape


def _is_of_cache(t: Tensor, backend: int) -> bool:
    """Whether a node is a view of what a block keeps, which no buffer of a graph knows of."""
    root = t.view_src
    return t.op in VIEW_OPS and t.backend == backend and root is not None and root.buffer != -1


def copied_bytes(t: Tensor, capability: Capability) -> int:
    """Bytes of a copy on a GPU, before alignment.  [bytes]"""
    return cuda.alloc_size(Tensor(t.type, t.ne, nb=t.nb), capability)


def assign_apart(graph: Graph, n_apart: int) -> None:
    """Give every tensor a backend where each block has a device of its own.

    What is assigned without regard to how many devices there are is assigned alike where blocks
    share them: a node that says nothing itself goes where the one before it went.
    """
    scheduler = Scheduler(n_apart)
    _demand(scheduler.assign_in_order(graph))


def _with_kept(
    nodes: Sequence[Tensor], starts: Sequence[int], dependencies: dict[int, list[Tensor]]
) -> tuple[list[Tensor], list[int]]:
    """The nodes with no-ops that keep results alive, and where segments start then."""
    if not dependencies:
        return list(nodes), list(starts)
    found: list[Tensor] = []
    begun = []
    limits = set(starts)
    for i, t in enumerate(nodes):
        if i in limits:
            begun.append(len(found))
        found.append(t)
        kept = dependencies.get(id(t))
        if kept:
            found += [
                keep_alive(kept[k : k + MAX_DEPENDENCIES])
                for k in range(0, len(kept), MAX_DEPENDENCIES)
            ]
    return found, [*begun, len(found)]


def _stamps(source: _Source, preset: list[Tensor]) -> list[Stamp]:
    """Stamps of all segments, each behind the one before it."""
    nodes = source.nodes
    _count(nodes)
    writer = _Writer(source.capability)
    for t in preset:
        _demand(not t.n_views)
        writer.hold(t)
    found = []
    for place, (start, end) in enumerate(pairwise(source.starts)):
        stamp = writer.write(nodes[start:end], source.reads[place])
        found.append(stamp._replace(n_preset=len(preset)) if not place else stamp)
    return found


def _stamp_alone(source: _Source, place: int) -> tuple[Stamp, list[int]]:
    """Stamp of a segment that the one before is on another GPU, and bytes of what it copies."""
    nodes, starts = source.nodes, source.starts
    start, end = starts[place], starts[place + 1]
    following = starts[min(place + 2, len(starts) - 1)]
    before = nodes[starts[place - 1] : start] if place else []
    for t in before:
        if t.buffer == -1:
            t.buffer, t.slot, t.is_allocated = 0, -1, False
    _count(nodes[start:following])
    writer = _Writer(source.capability, is_piped=True)
    stamp = writer.write(nodes[start:end], source.reads[place])
    for t in before:
        if t.buffer == 0 and t.slot == -1:
            t.buffer = -1
    return stamp, [copied_bytes(t, source.capability) for t in source.crossing[place]]


def _count(nodes: Iterable[Tensor]) -> None:
    """Count who reads what, as the allocator does first."""
    nodes = list(nodes)
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
    for t in nodes:
        if t.view_src is not None and t.op != "NONE":
            t.view_src.n_views += 1
        for s in t.src:
            if s is not None:
                s.n_children += 1


class _Writer:
    """Goes through segments as the allocator does, and writes down a stamp of each."""

    def __init__(self, capability: Capability, *, is_piped: bool = False) -> None:
        self._capability = capability
        self._is_piped = is_piped
        self._sizes: list[int] = []
        self._requests: list[int] = []
        self._ends: dict[int, int] = {}
        self._holders: dict[int, tuple[int, int]] = {}
        """Slot in use → segment, and place in it, of the node it belongs to."""
        self._first = 0
        self._segment = 0
        self._node = 0

    def hold(self, t: Tensor) -> None:
        """Have a tensor in a slot before all requests."""
        t.buffer, t.is_allocated, t.slot = -1, True, len(self._sizes)
        self._holders[t.slot] = (0, -1 - t.slot)
        self._sizes.append(copied_bytes(t, self._capability))

    def write(self, nodes: Sequence[Tensor], reads: tuple[int, ...]) -> Stamp:
        """Stamp of the next segment."""
        first = self._first
        handed = {
            slot: name
            for slot, (segment, name) in self._holders.items()
            if slot < first and segment == self._segment - 1
        }
        for self._node, t in enumerate(nodes):
            if t.view_src is None and not t.is_allocated and t.buffer == -1:
                self._allocate(t)
            self._release(t)
        own = len(self._sizes) - first
        used: dict[int, int] = {}

        def place(slot: int) -> int:
            if slot >= first:
                return slot - first
            _demand(slot in handed)
            return used.setdefault(slot, own + len(used))

        requests = [x - first if x >= 0 else ~place(~x) for x in self._requests]
        left = tuple(
            (name, place(slot))
            for slot, (segment, name) in sorted(self._holders.items(), key=lambda h: h[1])
            if segment == self._segment
        )
        stamp = Stamp(
            self._sizes[first:],
            requests,
            tuple(handed[slot] for slot in used),
            left,
            reads,
            tuple(self._ends.items()),
        )
        self._requests, self._ends = [], {}
        self._first = len(self._sizes)
        self._segment += 1
        return stamp

    def _allocate(self, t: Tensor) -> None:
        t.is_allocated = True
        if t.op in IN_PLACE_OPS and self._reuse_parent(t):
            return
        slot = t.slot = len(self._sizes)
        self._sizes.append(cuda.alloc_size(t, self._capability))
        self._requests.append(slot)
        self._holders[slot] = (self._segment, self._node)

    def _reuse_parent(self, t: Tensor) -> bool:
        for parent in t.src:
            if parent is None or parent.is_output:
                continue
            if not parent.is_allocated:
                # A copy of an input might give its place up, where it is the only one.
                is_input = parent.buffer != -1 and parent.slot < -1 and not self._is_piped
                may_be_last = parent.n_children == 1 or parent.n_views > 0
                alike = parent.type == t.type and parent.ne == t.ne
                _demand(not (is_input and may_be_last and alike))
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
            _demand(cuda.alloc_size(t, self._capability) == self._sizes[slot])
            self._keep(slot)
            self._holders[slot] = (self._segment, self._node)
            return True
        return False

    def _keep(self, slot: int) -> None:
        """Whose place it is must be this segment's or the one's before."""
        _demand(self._holders[slot][0] >= self._segment - 1)

    def _release(self, t: Tensor) -> None:
        is_view = t.op in VIEW_OPS
        for parent in t.src:
            if parent is None:
                continue
            if parent.buffer != -1:
                parent.n_children -= 1
                if parent.slot < -1 and not is_view:
                    self._ends.pop(-2 - parent.slot, None)
                    self._ends[-2 - parent.slot] = len(self._requests)
                continue
            left = left_by_reader(parent)
            if left is not None:
                self._free(left)

    def _free(self, t: Tensor) -> None:
        if t.is_output:
            return
        t.is_allocated = False
        self._keep(t.slot)
        del self._holders[t.slot]
        self._requests.append(~t.slot)
