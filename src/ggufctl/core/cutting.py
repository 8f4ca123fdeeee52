"""Cuts a graph into stamps, see `core.stamping`.

A graph that does not fit into that picture is refused (`cut` returns None), and has to be built
for the GPUs as they are: several operations of a block on the host, what is moved from one block
to another for fusion, results that take a place of another size. Blocks that read what others
than the one before them computed are stamped for one GPU only.

Source: as for `core.ggml.scheduler` and `core.ggml.alloc`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

from ggufctl.core.ggml.alloc import Recorder, Tape
from ggufctl.core.ggml.cuda import Capability
from ggufctl.core.ggml.graph import Graph
from ggufctl.core.ggml.ops import VIEW_OPS
from ggufctl.core.ggml.scheduler import MAX_COPIES, Schedule, Scheduler, keep_alive
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.stamping import Crossing, Kind, Pair, Stamped
from ggufctl.core.stamps import (
    AN_INPUT,
    GIVEN_UP,
    Reading,
    Refused,
    Source,
    Stamp,
    copied_bytes,
    demand,
)

__all__ = ["cut"]

T = TypeVar("T")

OUTPUT = -1
"""Kind of the output."""

_NOWHERE = -9
"""Stands for a block that was not built, which is next to no other."""


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
    except Refused:
        return None


def _is_computed_at(root: Tensor, backend: int) -> bool:
    """Whether a device computes something, and does not just keep or get it."""
    return root.op != "NONE" and root.buffer == -1 and root.backend == backend


def _takes_inputs(stamp: Stamp) -> bool:
    """Whether a stamp is another one where each input has several copies in flight."""
    return any(i >= AN_INPUT or after == GIVEN_UP for i, after in stamp.ends)


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
        self._kinds = [*kinds, OUTPUT]
        self._n_blocks = len(kinds)
        self._capability = capability
        self._segment = {home: i for i, home in enumerate(self._homes)}
        self._listed: list[Tensor] = []
        """Inputs that blocks share, by number."""
        self._parts: list[list[Tensor]] = []
        """Per segment: inputs that no other block reads, where others alike have their own."""
        self._is_mixed = False
        """Whether the device of the output has a part in what the first block does."""
        self._detours: list[_Detour] = []
        """Per block: what the host computes of it; none of any block, or one of each."""

    def stamped(self) -> Stamped:
        graph = self._graph
        assign_apart(graph, self._host)
        n_host = self._n_on_host()
        nodes = self._on_gpus(graph.nodes[n_host:])
        starts = self._starts(nodes)
        readings = self._readings(nodes, starts)
        crossings = self._crossings(nodes)
        everything = self._listed + [t for own in self._parts for t in own]
        if self._detours:
            demand(not any(self._parts))
            hosts = tuple(self._busy_host_tape(n_host, readings, n) for n in (1, MAX_COPIES))
        else:
            hosts = tuple(self._host_tape(n_host, everything, n) for n in (1, MAX_COPIES))
        later = {i for reading in readings[1:] for i in reading.reads}
        first = readings[0].reads
        alone = [i for i in first if i not in later and self._listed[i].view_src is None]
        self._hide_inputs()
        source = Source(nodes, starts, self._homes, self._leafs(), readings, self._capability)
        self._demand_alike(source)
        steady = self._by_pair(source.steady([self._listed[i] for i in alone]))
        self._hide_inputs()
        piped: dict[Pair, Stamp] | None = None
        if crossings is not None:
            piped = steady
            for detour in self._detours:
                # Its copies stay where they are.
                detour.returned.buffer = 0
            if self._detours or any(map(_takes_inputs, steady.values())):
                piped = self._by_pair(source.steady((), is_piped=True))
        return Stamped(
            self._kinds,
            [*range(self._n_blocks), self._host - 1][: len(self._kinds)],
            [self._copied(t) for t in self._listed],
            {i: place for place, i in enumerate(alone)},
            (hosts[0], hosts[1]),
            steady,
            piped,
            source,
            [self._kind(place) for place in range(len(self._homes))],
            {} if crossings is None else self._by_pair(crossings),
            asks_late=bool(self._detours),
        )

    def _by_pair(self, found: Sequence[T]) -> dict[Pair, T]:
        """What there is of each segment by its block's kind and that of the one before."""
        kinds = (None, *(self._kind(place) for place in range(len(self._homes))))
        by_pair: dict[Pair, T] = {}
        for pair, one in zip(pairwise(kinds), found, strict=True):
            demand(by_pair.setdefault(pair, one) == one)
        return by_pair

    def _hide_inputs(self) -> None:
        """Take inputs for outside the graph, known by their numbers."""
        numbered = list(enumerate(self._listed))
        for own in self._parts:
            numbered += enumerate(own, AN_INPUT)
        for i, t in numbered:
            t.buffer, t.slot, t.is_allocated = 0, -2 - i, False

    def _demand_alike(self, source: Source) -> None:
        """Refuse blocks of one kind that have different operations.

        What they begin with may depend on the block before.
        """
        of_kind: dict[Kind, list[str]] = {}
        for place in range(len(self._homes)):
            ops = source.body(place)[::-1]
            known = of_kind.setdefault(self._kind(place), ops)
            demand(all(a == b for a, b in zip(ops, known, strict=False)))

    def _kind(self, place: int) -> Kind:
        """Kind of a segment."""
        home = self._homes[place]
        return self._kinds[home] if home < self._n_blocks else self._kinds[-1]

    def _copied(self, t: Tensor) -> int:
        return copied_bytes(t, self._capability)

    def _n_on_host(self) -> int:
        """How many nodes come before the first that a GPU computes."""
        host, nodes = self._host, self._graph.nodes
        ours = (i for i, t in enumerate(nodes) if t.op not in VIEW_OPS and t.backend != host)
        first = next(ours, None)
        demand(first is not None)
        assert first is not None
        return first

    def _on_gpus(self, nodes: list[Tensor]) -> list[Tensor]:
        """Nodes from the first of a GPU on, with the copies for and from what is not on one."""
        host, here = self._host, -1
        if all(t.backend != host for t in nodes):
            return nodes
        found: list[Tensor] = []
        results: dict[int, Tensor] = {}
        for t in nodes:
            root = t.view_src
            demand(root is None or id(root) not in results)
            if t.backend == host and t.op not in VIEW_OPS:
                detour = _Detour.of(t, here)
                results[id(t)] = detour.returned
                self._detours.append(detour)
                found += (detour.read, detour.returned)
                continue
            if t.op not in VIEW_OPS:
                here = t.backend
            if results:
                t.src[:] = [s if s is None else results.get(id(s), s) for s in t.src]
            found.append(t)
        return found

    def _leafs(self) -> list[list[Tensor]]:
        """Per block: what has a place on its GPU from the start."""
        found: list[list[Tensor]] = [[] for _ in self._homes]
        here = 0
        for t in self._graph.leafs:
            if t.buffer == -1 and t.backend != self._host:
                place = self._segment.get(t.backend, _NOWHERE)
                demand(place >= here and not t.is_input)
                here = place
                found[place].append(t)
        return found

    def _starts(self, nodes: Sequence[Tensor]) -> list[int]:
        """First node of every segment, and the end."""
        if self._detours:
            return self._starts_behind_detours(nodes)
        starts = [0]
        here, place = 0, self._segment
        for i, t in enumerate(nodes):
            if t.op in VIEW_OPS:
                continue
            segment = place.get(t.backend, _NOWHERE)
            if segment in (here, here - 1):
                continue
            if segment != here + 1:
                # Some of the output's weights are for what comes before all blocks.
                demand(not here and segment == len(self._homes) - 1)
                self._is_mixed = True
                continue
            begin = i
            while begin and _is_of_cache(nodes[begin - 1], t.backend):
                begin -= 1
            starts.append(begin)
            here = segment
        if here == len(self._homes) - 2:
            # Embeddings have no output.
            self._homes, self._kinds = self._homes[:-1], self._kinds[:-1]
        demand(here == len(self._homes) - 1)
        return [*starts, len(nodes)]

    def _starts_behind_detours(self, nodes: Sequence[Tensor]) -> list[int]:
        """The same where each block has something computed on the host."""
        demand([detour.read.backend for detour in self._detours] == self._homes[:-1])
        returned = {id(detour.returned) for detour in self._detours}
        starts = [0, *(i for i, t in enumerate(nodes) if id(t) in returned), len(nodes)]
        for place, (start, end) in enumerate(pairwise(starts)):
            near = self._homes[max(0, place - 1) : place + 1]
            homes = [t.backend for t in nodes[start:end] if t.op not in VIEW_OPS]
            demand(homes and homes[-1] == near[-1] and all(home in near for home in homes))
        return starts

    def _readings(self, nodes: Sequence[Tensor], starts: Sequence[int]) -> list[Reading]:
        """What each segment and each block read of the host."""
        n = len(self._homes)
        asked: list[dict[int, Tensor]] = [{} for _ in range(n)]
        reads: list[dict[int, Tensor]] = [{} for _ in range(n)]
        for place, (start, end) in enumerate(pairwise(starts)):
            for t in nodes[start:end]:
                if t.op in VIEW_OPS:
                    continue
                demand(not t.is_input)
                for s in t.src:
                    if s is not None and s.backend == self._host:
                        demand(not s.is_weight)
                        asked[place][id(s)] = s
                        reads[self._segment[t.backend]][id(s)] = s
        self._parts = self._own_parts(asked, reads)
        codes = {id(t): AN_INPUT + i for own in self._parts for i, t in enumerate(own)}
        for segment in asked:
            for key, t in segment.items():
                if key not in codes:
                    codes[key] = len(self._listed)
                    self._listed.append(t)
        return [
            Reading(
                tuple(codes[key] for key in read if codes[key] < AN_INPUT),
                tuple(codes[key] for key in segment),
                tuple(self._copied(t) for t in own),
                tuple(self._copied(detour.returned) for detour in self._detours[place : place + 1]),
            )
            for place, (read, segment, own) in enumerate(
                zip(reads, asked, self._parts, strict=True)
            )
        ]

    def _own_parts(
        self, asked: Sequence[dict[int, Tensor]], reads: Sequence[dict[int, Tensor]]
    ) -> list[list[Tensor]]:
        """Per segment: views of inputs of which each block of its kind may have one."""
        readers = Counter(key for read in reads for key in read)
        found: list[list[Tensor]] = []
        for place, read in enumerate(reads):
            own: list[Tensor] = []
            if self._kinds.count(self._kind(place)) > 1:
                own = [t for t in read.values() if t.view_src is not None and readers[id(t)] == 1]
            demand(all(id(t) in asked[place] for t in own))
            found.append(own)
        return found

    def _crossings(self, nodes: Sequence[Tensor]) -> list[Crossing] | None:
        """What each block and the one before read of each other.

        Returns:
            None where blocks read what others than those computed.
        """
        if self._is_mixed:
            return None
        n = len(self._homes)
        ahead: list[dict[int, Tensor]] = [{} for _ in range(n)]
        back: list[dict[int, Tensor]] = [{} for _ in range(n)]
        for t in nodes:
            if t.op in VIEW_OPS:
                continue
            home = t.backend
            block = self._segment[home]
            root = t.view_src
            if root is not None and root.buffer == -1 and root.backend != home:
                return None
            for s in t.src:
                if s is None or s.backend in (home, self._host):
                    continue
                root = s.view_src if s.view_src is not None else s
                other = self._segment.get(s.backend, _NOWHERE)
                if abs(other - block) != 1 or not _is_computed_at(root, s.backend):
                    return None
                (ahead[block] if other < block else back[other])[id(s)] = s
        return [
            Crossing(*([self._copied(t) for t in found.values()] for found in both))
            for both in zip(ahead, back, strict=True)
        ]

    def _host_tape(self, n_host: int, inputs: Iterable[Tensor], n_copies: int) -> Tape:
        """What the host's buffer is asked for before the GPUs begin; later it only gets emptier."""
        leafs, nodes = self._of_host(n_host, inputs)
        for t in inputs:
            t.n_children += 1
        return _taped(leafs, nodes, (), n_copies)

    def _busy_host_tape(self, n_host: int, readings: Sequence[Reading], n_copies: int) -> Tape:
        """The same where the host computes something of each block, for all blocks."""
        leafs, nodes = self._of_host(n_host, self._listed)
        detours = self._by_pair([*(detour.asked for detour in self._detours), None])
        asked = {pair: reading.asked for pair, reading in self._by_pair(readings).items()}
        copies: list[Tensor] = []
        seen: set[int] = set()
        for pair in pairwise((None, *self._kinds)):
            new = [i for i in asked[pair] if i not in seen]
            seen.update(new)
            nodes += [keep_alive([self._listed[i]]) for i in new]
            detour = detours[pair]
            if detour is not None:
                read = [Tensor(type_, ne, nb=nb) for type_, ne, nb in detour.reads]
                copies += read
                result = Tensor(*detour.node, tuple(read))
                nodes += [*read, result, keep_alive([result])]
        return _taped(leafs, nodes, copies, n_copies)

    def _of_host(self, n_host: int, inputs: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Leafs and first nodes of the host, of which nothing has a place yet."""
        graph, host = self._graph, self._host
        leafs = [t for t in graph.leafs if t.buffer == -1 and t.backend == host]
        nodes = graph.nodes[:n_host]
        for t in nodes:
            demand(t.backend == host or t.view_src is not None)
            demand(not t.is_input)
        demand(all(t.is_input for t in leafs))
        for t in (*leafs, *nodes, *inputs):
            t.n_children = t.n_views = 0
            t.is_allocated = False
            t.slot = t.owner = -1
            if t.view_src is not None:
                t.view_src.n_views = t.view_src.n_children = 0
        return leafs, nodes


def _taped(
    leafs: Sequence[Tensor], nodes: Sequence[Tensor], copies: Sequence[Tensor], n_copies: int
) -> Tape:
    """What the host's buffer is asked for.

    Args:
        leafs: inputs.
        nodes: what the host computes, in order.
        copies: which of these are copies of what GPUs computed.
        n_copies: of inputs, that are in flight.
    """
    recorder = Recorder(0)
    tape = recorder.tapes[0]
    placed = [*leafs, *copies] if n_copies > 1 else leafs
    for t in placed:
        for _ in range(n_copies - 1):
            slot = len(tape.sizes)
            tape.sizes.append(t.n_bytes)
            tape.requests.append(slot)
    pinned = [t for t in placed if not t.is_output] if n_copies > 1 else []
    for t in pinned:
        t.is_output = True
    recorder.record(Schedule([(t, 0) for t in placed], [(t, 0) for t in nodes], 1))
    for t in pinned:
        t.is_output = False
    return tape


class _Asked(NamedTuple):
    """What the host has of something it computes for a block.

    Attributes:
        node: type, extents and operation of the result.
        reads: type, extents and strides of each copy that is read.
    """

    node: tuple[str, tuple[int, ...], str]
    reads: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]


class _Detour(NamedTuple):
    """What the host computes for a block, between what a GPU does.

    Attributes:
        asked: what it is to the host.
        read: stands for what the GPU hands over.
        returned: stands for the copy of the result on the GPU.
    """

    asked: _Asked
    read: Tensor
    returned: Tensor

    @classmethod
    def of(cls, node: Tensor, home: int) -> _Detour:
        """What there is to a node of the host, for the block on a device."""
        sources = [s for s in node.src if s is not None]
        computed = [s for s in sources if s.buffer == -1]
        demand(computed and node.view_src is None and all(s.backend == home for s in sources))
        # Blocks alike have weights of one type only where a precision is asked for.
        demand(node.param == "f32" or not any(s.is_weight for s in sources))
        read, returned = keep_alive(computed), Tensor(node.type, node.ne, nb=node.nb)
        read.backend = returned.backend = home
        asked = _Asked((node.type, node.ne, node.op), tuple((s.type, s.ne, s.nb) for s in sources))
        return cls(asked, read, returned)


def _is_of_cache(t: Tensor, backend: int) -> bool:
    """Whether a node is a view of what a block keeps, which no buffer of a graph knows of."""
    root = t.view_src
    return t.op in VIEW_OPS and t.backend == backend and root is not None and root.buffer != -1


def assign_apart(graph: Graph, n_apart: int) -> None:
    """Give every tensor a backend where each block has a device of its own.

    What is assigned without regard to how many devices there are is assigned alike where blocks
    share them: a node that says nothing itself goes where the one before it went.
    """
    scheduler = Scheduler(n_apart)
    demand(scheduler.assign_in_order(graph))
