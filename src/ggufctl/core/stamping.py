"""Buffers of models that lie on GPUs block after block, out of each kind of block once.

Where all is on GPUs, what a block asks of its GPU's buffer depends on its own kind, on the kind
of the block before it, and on whether that one is on the same GPU. So a graph is built of few
blocks, one for every pair of kinds that follow each other, and gone through once: that leaves a
`Stamp` of requests per block (`core.cutting`), and the buffer of any GPU with any blocks is
played by one stamp after the other. No graph of several GPUs is built at all.

Source: as for `core.ggml.scheduler` and `core.ggml.alloc`, whose results these are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import pairwise
from threading import Lock
from typing import NamedTuple

from ggufctl.core.ggml import cuda
from ggufctl.core.ggml.alloc import Arena, Tape
from ggufctl.core.ggml.scheduler import MAX_COPIES
from ggufctl.core.growing import at
from ggufctl.core.stamps import AN_INPUT, GIVEN_UP, Name, Refused, Source, Stamp, demand

__all__ = ["Crossing", "Kind", "Pair", "Stamped", "shortened"]

KEPT_CONTEXTS = 4
"""Contexts of which it is remembered how buffers are used."""

Kind = Hashable
Pair = tuple[Kind, Kind]


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


class Crossing(NamedTuple):
    """What a block and the one before it read of each other, as copies.  [bytes]"""

    ahead: list[int]
    back: list[int]


class Stamped:
    """The stamps of one graph, and what they add up to.

    Args:
        kinds: of all blocks of the model in order, and of the output after them.
        homes: number of each, to tell its device by.
        inputs: bytes of each input as a copy on a GPU, in the order they are copied.
        preset: of these, those that only the first block reads → its slot for each.
        hosts: what the host's buffer is asked for, with one copy of inputs and with several.
        steady: pair of kinds → stamp of the second behind the first, on the only GPU.
        piped: the same on one of several; None where it is not known what crosses between those.
        source: to make further stamps of.
        built: kinds of the source's segments.
        crossings: pair of kinds → what they read of each other.
        asks_late: whether an input is copied only when the segment begins that reads it first.
    """

    def __init__(
        self,
        kinds: list[Kind],
        homes: list[int],
        inputs: list[int],
        preset: dict[int, int],
        hosts: tuple[Tape, Tape],
        steady: dict[Pair, Stamp],
        piped: dict[Pair, Stamp] | None,
        source: Source,
        built: Sequence[Kind],
        crossings: dict[Pair, Crossing],
        *,
        asks_late: bool = False,
    ) -> None:
        self._kinds = kinds
        self._homes = homes
        self._inputs = inputs
        self._preset = preset
        self._hosts = hosts
        self._source = source
        self._built = built
        self._places: dict[Pair, int] = {}
        for i, pair in enumerate(pairwise((None, *built))):
            self._places.setdefault(pair, i)
        self._pairs: list[Pair] = list(pairwise((None, *kinds)))
        self._steady = [steady[pair] for pair in self._pairs]
        self._piped = None if piped is None else [piped[pair] for pair in self._pairs]
        self._crossings = crossings
        self._asks_late = asks_late
        self._others: dict[Hashable, Stamp] = {}
        self._closings: dict[tuple[int, int], tuple[Stamp, Stamp]] = {}
        self._lock = Lock()
        self._contexts: dict[int, _Context] = {}

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
        if n_gpus > 1 and self._piped is None:
            return None
        where = [layer_backends[home] for home in self._homes]
        with self._lock:
            context = self._context(steps)
            found = []
            start, n = 0, len(where)
            for gpu in range(n_gpus):
                end = start
                while end < n and where[end] == gpu:
                    end += 1
                try:
                    found.append(self._size(start, end, context, is_only=n_gpus == 1))
                except Refused:
                    return None
                start = end
            return (*found, self._host_size(context, is_only=n_gpus == 1))

    def _context(self, steps: int) -> _Context:
        """What is known of a context."""
        found = self._contexts.get(steps)
        if found is None:
            if len(self._contexts) == KEPT_CONTEXTS:
                del self._contexts[next(iter(self._contexts))]
            found = self._contexts[steps] = _Context(steps)
        return found

    def _host_size(self, context: _Context, *, is_only: bool) -> int:
        size = context.sizes.get(is_only)
        if size is None:
            tape = self._hosts[0 if is_only else 1]
            size = context.sizes[is_only] = tape.play(context.steps).size
        return size

    def _size(self, start: int, end: int, context: _Context, *, is_only: bool) -> int:
        if start == end:
            return 0
        kinds = self._kinds
        before = kinds[start - 1] if start else None
        following = self._pairs[end] if end < len(kinds) else None
        if following is not None and not self._source.ends_late(self._places[following]):
            following = None
        key = (is_only, before, following, *kinds[start:end])
        size = context.sizes.get(key)
        if size is None:
            size = self._played(start, end, following, context, is_only=is_only)
            context.sizes[key] = size
        return size

    def _played(
        self, start: int, end: int, following: Pair | None, context: _Context, *, is_only: bool
    ) -> int:
        """Buffer of a GPU that has some blocks.  [bytes]

        Args:
            start: the first of its blocks.
            end: the first after them.
            following: kinds of the last one and of the first of the next GPU, where that begins
                before this one is done.
            context: that it is played for.
            is_only: whether there is no other GPU.
        """
        if is_only or self._piped is None:
            stamps = self._steady[start:end]
            player = _Player(context, _Moves())
            player.take(stamps)
            first = stamps[:1] if self._asks_late else stamps
            player.place(first, self._inputs, self._preset)
            stamps = self._with_ends(stamps)
            return player.play(self._with_begins(stamps) if self._asks_late else stamps)
        stamps, pairs = self._piped[start:end], self._pairs[start:end]
        player = _Player(context, context.moves)
        # Stamps of the same kind read the same.
        read = {i for stamp in {id(each): each for each in stamps}.values() for i in stamp.reads}
        copies = [self._inputs[i] for i in read] + self._crossings[pairs[0]].ahead
        copies += [n for stamp in stamps for n in (*stamp.parts, *stamp.returned)]
        if following is not None:
            copies += self._crossings[following].back
        stamps = self._at_limits(stamps, pairs, following)
        player.take(stamps)
        return player.pinned(copies) + player.play(stamps)

    def _at_limits(
        self, stamps: list[Stamp], pairs: list[Pair], following: Pair | None
    ) -> list[Stamp]:
        """Stamps of a GPU among others: what its first and its last block do is not steady."""
        source, places = self._source, self._places
        place = places[pairs[0]]
        found = [self._other(("alone", place), lambda: source.alone(place)), *stamps[1:]]
        if len(pairs) > 1 and source.ends_late(places[pairs[1]]):
            second = places[pairs[1]]
            found[1] = self._other(("second", second), lambda: source.second(second))
        if following is not None:
            end = places[following]
            moves = source.moves(end)
            if moves:
                end = self._place_of((*pairs[-1], following[1]))
            last, late = self._closing(end, min(len(pairs), 3 if moves else 2))
            if moves:
                found[-1] = last
            found.append(late)
        return found

    def _closing(self, end: int, n_blocks: int) -> tuple[Stamp, Stamp]:
        found = self._closings.get((end, n_blocks))
        if found is None:
            found = self._closings[end, n_blocks] = self._source.closing(end, n_blocks)
        return found

    def _place_of(self, kinds: Sequence[Kind]) -> int:
        """A segment whose block's kind is the last of some, those before it being the others."""
        built, n = (None, *self._built), len(kinds)
        found = [i for i in range(n, len(built) + 1) if built[i - n : i] == tuple(kinds)]
        demand(found)
        return found[0] - 2

    def _other(self, key: Hashable, make: Callable[[], Stamp]) -> Stamp:
        found = self._others.get(key)
        if found is None:
            found = self._others[key] = make()
        return found

    def _with_ends(self, stamps: list[Stamp]) -> list[Stamp]:
        """The stamps with inputs given back where nothing reads them any more."""
        last: dict[int, int] = {}
        for place, stamp in enumerate(stamps):
            for i, _ in stamp.ends:
                last[i] = place
        ending: dict[Hashable, Stamp] = {}
        found = []
        for place, stamp in enumerate(stamps):
            ends = tuple(end for end in stamp.ends if end[0] >= AN_INPUT or last[end[0]] == place)
            if ends:
                key = (id(stamp), ends)
                stamp = ending.get(key) or ending.setdefault(key, _ending(stamp, ends))
            found.append(stamp)
        return found

    def _with_begins(self, stamps: Sequence[Stamp]) -> list[Stamp]:
        """The stamps with inputs copied behind what a segment begins with, when first read."""
        seen = set(stamps[0].asked)
        found = [stamps[0]]
        for stamp in stamps[1:]:
            new = [i for i in stamp.asked if i not in seen]
            seen.update(new)
            if new:
                demand(stamp.requests[0] == 0)
                asked = [AN_INPUT + i for i in new]
                stamp = stamp._replace(requests=[0, *asked, *stamp.requests[1:]])
            found.append(stamp)
        return found


def _ending(stamp: Stamp, ends: Sequence[tuple[int, int]]) -> Stamp:
    """The stamp with some of its inputs given back."""
    requests = list(stamp.requests)
    for i, after in reversed(ends):
        if after != GIVEN_UP:
            requests.insert(after, ~(AN_INPUT + i))
    return stamp._replace(requests=requests)


_State = tuple[tuple[tuple[int, ...], ...], tuple[tuple[Name, tuple[int, int]], ...]]
"""Free blocks of a buffer, and where what is handed over lies."""


class _Moves:
    """What stamps make of a buffer, as far as it is known.

    Attributes:
        states: in which the buffer was.
        known: number of a state and id of a stamp → number of the state after it, and how far the
            buffer was used.  [bytes]
    """

    def __init__(self) -> None:
        self.states: list[_State] = []
        self.known: dict[tuple[int, int], tuple[int, int]] = {}
        self._numbers: dict[_State, int] = {}

    def number(self, state: _State) -> int:
        """Number of a state."""
        found = self._numbers.setdefault(state, len(self.states))
        if found == len(self.states):
            self.states.append(state)
        return found


class _Context:
    """What is known of one context.

    Attributes:
        steps: how much further it is than the one of the graph.
        rooms: what slots of stamps take up, by the id of their sizes.
        moves: of buffers whose inputs stay where they are.
        sizes: of buffers that were played.  [bytes]
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.rooms: dict[int, tuple[Stamp, list[int]]] = {}
        self.moves = _Moves()
        self.sizes: dict[Hashable, int] = {}


class _Player:
    """One buffer while stamps are played.

    Args:
        context: that they are played for.
        moves: of buffers whose inputs lie where those of this one do.
    """

    def __init__(self, context: _Context, moves: _Moves) -> None:
        self._steps = context.steps
        self._rooms = context.rooms
        self._moves = moves
        self._arena = Arena()
        self._held: dict[Name, tuple[int, int]] = {}
        self._inputs: dict[int, tuple[int, int]] = {}
        self._input_sizes: Sequence[int] = ()
        self._parts: list[list[tuple[int, int]]] = []
        self._preset: list[tuple[int, int]] = []
        self._leafs: list[list[tuple[int, int]]] = []

    def _room(self, n_bytes: int) -> int:
        align = cuda.ALIGNMENT
        return -(-at(n_bytes, self._steps) // align) * align

    def place(self, stamps: Iterable[Stamp], inputs: Sequence[int], preset: dict[int, int]) -> None:
        """Find room for inputs that are given back one by one."""
        self._input_sizes = inputs
        slots = [(0, 0)] * len(preset)
        placed: set[int] = set()
        for stamp in stamps:
            parts = [(0, 0)] * len(stamp.parts)
            for i in stamp.asked:
                if i >= AN_INPUT:
                    parts[i - AN_INPUT] = self._placed(stamp.parts[i - AN_INPUT])
                elif i in placed:
                    continue
                elif i in preset:
                    slots[preset[i]] = self._placed(inputs[i])
                else:
                    self._inputs[i] = self._placed(inputs[i])
                placed.add(i)
            self._parts.append(parts)
        self._preset = slots

    def _placed(self, n_bytes: int) -> tuple[int, int]:
        size = self._room(n_bytes)
        return self._arena.alloc(size), size

    def pinned(self, sizes: Iterable[int]) -> int:
        """What stays to the end takes up, in as many copies as batches are in flight.  [bytes]

        It lies before all else, which is only moved by that.
        """
        return MAX_COPIES * sum(map(self._room, sizes))

    def take(self, stamps: Iterable[Stamp]) -> None:
        """Find room for the leafs of blocks, which are there from the start."""
        for stamp in stamps:
            taken = []
            if stamp.n_leafs:
                sizes = self._rooms_of(stamp)[stamp.n_preset :][: stamp.n_leafs]
                taken = [(self._arena.alloc(size), size) for size in sizes]
            self._leafs.append(taken)

    def play(self, stamps: Sequence[Stamp]) -> int:
        """Play stamps in order; those that find the buffer as it was once are not played again.

        Returns:
            How far the buffer was used.  [bytes]
        """
        moves, size = self._moves, self._arena.max_size
        state, before, former = moves.number(self._state()), -1, None
        for place, stamp in enumerate(stamps):
            # What has places of its own from the start finds them elsewhere each time.
            is_movable = not stamp.n_leafs and not stamp.parts
            if is_movable and stamp is former and state == before:
                continue
            before, former = state, stamp
            move = moves.known.get((state, id(stamp))) if is_movable else None
            if move is None:
                self._restore(moves.states[state])
                self._stamp(stamp, place)
                move = moves.number(self._state()), self._arena.max_size
                if is_movable:
                    moves.known[state, id(stamp)] = move
            state, peak = move
            size = max(size, peak)
        return size

    def _state(self) -> _State:
        return tuple(map(tuple, self._arena.free_blocks)), tuple(self._held.items())

    def _restore(self, state: _State) -> None:
        free, held = state
        self._arena.free_blocks = list(map(list, free))
        self._arena.max_size = 0
        self._held = dict(held)

    def _rooms_of(self, stamp: Stamp) -> list[int]:
        """Bytes that each slot of a stamp takes up.  [bytes]"""
        known = self._rooms.get(id(stamp.sizes))
        if known is None:
            steps, align = self._steps, cuda.ALIGNMENT
            # Most do not grow with the context.
            rooms = [
                -(-(n if type(n) is int else at(n, steps)) // align) * align for n in stamp.sizes
            ]
            # The stamp is kept, so that its lists are not taken for others.
            known = self._rooms[id(stamp.sizes)] = (stamp, rooms)
        return known[1]

    def _stamp(self, stamp: Stamp, place: int) -> None:
        sizes = self._rooms_of(stamp)
        own = len(sizes)
        offsets = [0] * own
        for i, given in enumerate((*self._preset[: stamp.n_preset], *self._leafs[place])):
            offsets[i], sizes[i] = given
        held, handed = self._held, stamp.handed
        demand(len(held) == len(handed) and all(name in held for name in handed))
        alloc, free = self._arena.alloc, self._arena.free
        for x in stamp.requests:
            if x >= AN_INPUT:
                size = self._room(self._input_sizes[x - AN_INPUT])
                self._inputs[x - AN_INPUT] = alloc(size), size
                continue
            if x >= 0:
                offsets[x] = alloc(sizes[x])
                continue
            x = ~x
            if x < own:
                free(offsets[x], sizes[x])
            elif x < AN_INPUT:
                free(*held[handed[x - own]])
            elif x < 2 * AN_INPUT:
                free(*self._inputs[x - AN_INPUT])
            else:
                free(*self._parts[place][x - 2 * AN_INPUT])
        self._held = {
            name: (offsets[x], sizes[x]) if x < own else held[handed[x - own]]
            for name, x in stamp.left
        }
