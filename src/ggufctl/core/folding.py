"""Leaves out blocks that repeat, where that provably changes no buffer.

Most models repeat one pattern of blocks dozens of times. A graph with the middle repetitions
left out asks of every buffer what the whole graph does, but for those repetitions, and what
these ask is what the two kept before them do: `add_loops` compares the requests of the two, and
has the tapes play the last one as often as it was left out.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import eq
from typing import NamedTuple

from ggufctl.core.ggml.alloc import Loop, Mark, Tape
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import Layout
from ggufctl.core.placement import Placement

__all__ = [
    "Fold",
    "Gap",
    "LayerList",
    "add_loops",
    "are_twins",
    "cuts",
    "find_folds",
    "fold_layers",
    "layer_signatures",
    "smallest_period",
]

COMPARED = 2
"""Repetitions kept before a gap, to compare what they ask."""

ENDING = 1
"""Repetitions kept after a gap: what follows may differ, and inputs are freed in them."""

MIN_REPEATING = 0.6
"""Share of blocks that must repeat for leaving some out to be worth a try."""


FIRST_TWIN = 3
"""The GPU from which on those in the middle may be like the two before it."""

Signature = tuple[int, int]
"""Device of a block, and what it has in common with blocks alike."""


class LayerList(list[int]):
    """Block numbers that remember how far the graph was when each was begun."""

    def __init__(self, layers: Sequence[int], nodes: Sequence[object]) -> None:
        super().__init__(layers)
        self._nodes = nodes
        self.starts: dict[int, int] = {}

    def __iter__(self) -> Iterator[int]:
        for il in super().__iter__():
            self.starts[il] = len(self._nodes)
            yield il


class Gap(NamedTuple):
    """Where repetitions were left out.

    Attributes:
        first, second: first block of each of the two repetitions before the gap.
        follower: first block after it.
        n_left_out: repetitions in it.
    """

    first: int
    second: int
    follower: int
    n_left_out: int


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks to build, and where repetitions were left out.

    Attributes:
        layers: blocks to build.
        gaps: where repetitions were left out.
        devices: backends that a tape is needed of, the host the last.
        seats: backend → place in `devices` of one with the same tape; of many alike, only the
            first two and the last are built on.
        left_out: backend → repetitions left out, per gap.
        structure: what the graph depends on of all this; placements share what has the same.
            None = the graph is that of this placement alone.
    """

    layers: list[int]
    gaps: list[Gap]
    devices: tuple[int, ...]
    seats: tuple[int, ...]
    left_out: tuple[tuple[int, ...], ...]
    structure: Hashable = None

    @property
    def has_twins(self) -> bool:
        """Whether some GPUs are not built on."""
        return len(self.devices) < len(self.seats)


def find_folds(hp: HParams, placement: Placement, layout: Layout, base: int) -> tuple[Fold, ...]:
    """Ways to leave out blocks, the shortest first.

    Args:
        hp: hyper-parameters.
        placement: devices of blocks and weights.
        layout: caches and states; which blocks have them matters, not how large.
        base: period of what the signatures do not show (`Architecture.period`).
    """
    signatures = layer_signatures(hp, placement, layout)
    period = smallest_period(signatures, base)
    if period is None:
        return ()
    found: list[Fold] = []
    # What begins a run may differ: the end of most blocks is appended with the next block.
    for lead in dict.fromkeys((1, period)):
        layers, gaps = fold_layers(signatures, period, lead)
        if gaps:
            fold = _fold(layers, gaps, signatures, placement)
            shorter = _without_twins(fold, signatures, placement)
            found += (fold,) if shorter is fold else (shorter, fold)
    return tuple(found)


def _fold(
    layers: list[int], gaps: list[Gap], signatures: Sequence[Signature], placement: Placement
) -> Fold:
    backends = tuple(range(placement.host + 1))
    counts = tuple(gap.n_left_out for gap in gaps)
    structure = None
    if placement.is_regular and {signatures[il][0] for il in layers} == set(backends[:-1]):
        structure = _structure(layers, gaps, signatures)
    return Fold(layers, gaps, backends, backends, (counts,) * len(backends), structure)


def _structure(layers: list[int], gaps: list[Gap], signatures: Sequence[Signature]) -> Hashable:
    """What a graph depends on, whatever the numbers of its blocks and devices are."""
    place = {il: i for i, il in enumerate(layers)}
    seats = {where: i for i, where in enumerate(sorted({signatures[il][0] for il in layers}))}
    return (
        tuple((seats[signatures[il][0]], signatures[il][1]) for il in layers),
        tuple(tuple(place[il] for il in gap[:3]) for gap in gaps),
    )


def _without_twins(fold: Fold, signatures: Sequence[Signature], placement: Placement) -> Fold:
    """The fold without GPUs in the middle whose blocks are those of the third one."""
    last = placement.n_gpus - 1
    if fold.structure is None or last <= FIRST_TWIN:
        return fold
    own: dict[int, Hashable] = {}
    places: dict[int, list[int]] = {}
    for where in range(1, last):
        layers = [il for il in fold.layers if signatures[il][0] == where]
        places[where] = [i for i, gap in enumerate(fold.gaps) if gap.first in layers]
        gaps = [fold.gaps[i] for i in places[where]]
        is_within = all(gap.follower in layers for gap in gaps)
        own[where] = [signatures[il][1] for il in layers], is_within and _places(layers, gaps)
    pattern = own[FIRST_TWIN - 1]
    if own[1] != pattern or any(own[where] != pattern for where in range(FIRST_TWIN, last)):
        return fold
    twins = range(FIRST_TWIN, last)
    kept = [il for il in fold.layers if signatures[il][0] not in twins]
    gaps = [gap for gap in fold.gaps if signatures[gap.first][0] not in twins]
    counts = tuple(gap.n_left_out for gap in gaps)
    model = [i for i, gap in enumerate(gaps) if signatures[gap.first][0] == FIRST_TWIN - 1]
    left_out = [counts] * (placement.n_gpus + 1)
    for where in twins:
        by_gap = list(counts)
        for i, twin in zip(model, places[where], strict=True):
            by_gap[i] = fold.gaps[twin].n_left_out
        left_out[where] = tuple(by_gap)
    seats = [min(where, FIRST_TWIN - 1) for where in range(last)]
    return Fold(
        kept,
        gaps,
        (*range(FIRST_TWIN), last, placement.host),
        (*seats, FIRST_TWIN, FIRST_TWIN + 1),
        tuple(left_out),
        _structure(kept, gaps, signatures),
    )


def _places(layers: list[int], gaps: list[Gap]) -> Hashable:
    return tuple(tuple(layers.index(il) for il in gap[:3]) for gap in gaps)


def layer_signatures(hp: HParams, placement: Placement, layout: Layout) -> list[Signature]:
    """Device of each block, and a number that blocks with the same part of a graph share."""
    recurrent = frozenset(layout.recr_layers)
    number = placement.stock.number
    return [
        (
            placement.layer_backends[il],
            number(
                (
                    placement.block(il).kind,
                    hp.is_swa(il),
                    hp.is_recr(il),
                    hp.n_head(il),
                    hp.n_head_kv(il),
                    hp.n_ff(il),
                    hp.n_expert_used_arr[il],
                    hp.has_kv(il),
                    hp.block_marks[il],
                    hp.swiglu_clamp_exp[il] > 0,
                    hp.swiglu_clamp_shexp[il] > 0,
                    tuple(il in cache.layers for cache in layout.caches.values()),
                    il in recurrent,
                    # Each of the first few adds a part of the input of its own.
                    min(il, hp.n_deepstack_layers),
                )
            ),
        )
        for il in range(hp.n_layer)
    ]


def fold_layers(
    signatures: Sequence[Signature], period: int, lead: int
) -> tuple[list[int], list[Gap]]:
    """Blocks to build without repetitions of `period` blocks, and where those were.

    Args:
        signatures: one per block.
        period: blocks of one repetition.
        lead: blocks to keep before the repetitions that are compared.
    """
    n = len(signatures)
    layers: list[int] = []
    gaps: list[Gap] = []
    start = 0
    while start < n:
        end = start + period
        while end < n and signatures[end] == signatures[end - period]:
            end += 1
        before = start + lead + COMPARED * period
        n_left_out = (min(end, n) - before) // period - ENDING
        if n_left_out <= 0:
            layers.append(start)
            start += 1
            continue
        after = before + n_left_out * period
        layers += range(start, before)
        layers += range(after, end)
        gaps.append(Gap(before - 2 * period, before - period, after, n_left_out))
        start = end
    return layers, gaps


def cuts(fold: Fold, starts: dict[int, int], nodes: Sequence[Tensor]) -> tuple[int, ...]:
    """Ids of the nodes that begin the repetitions before and the block after every gap.

    Args:
        fold: what was left out.
        starts: number of nodes before each built block.
        nodes: nodes of the scheduled graph, in order.

    Returns:
        None of them where the builder does not go through the blocks one by one.
    """
    blocks = [il for gap in fold.gaps for il in gap[:3]]
    if not starts.keys() >= set(blocks):
        return ()
    return tuple(id(nodes[starts[il]]) for il in blocks)


def add_loops(
    fold: Fold,
    starts: dict[int, int],
    nodes: Sequence[Tensor],
    tapes: Sequence[Tape],
    marks: Mapping[int, Sequence[Mark]],
) -> bool:
    """Have tapes play what was left out, if the repetitions before every gap ask the same.

    Args:
        fold: what was left out.
        starts: number of nodes before each built block.
        nodes: nodes of the scheduled graph, in order.
        tapes: what the graph asks of every buffer; loops are added.
        marks: where the tapes were at the nodes of `cuts`.

    Returns:
        Whether they do; the graph must be built whole if not.
    """
    if len(marks) != 3 * len(fold.gaps):
        return False
    for place, gap in enumerate(fold.gaps):
        a, b, c = (starts[il] for il in gap[:3])
        at_cuts = zip(*(marks[id(nodes[i])] for i in (a, b, c)), strict=True)
        loops = [Loop(before, start, end, place) for before, start, end in at_cuts]
        repeats = list(map(_Repeat.of, tapes, loops))
        if None in repeats or b - a != c - b:
            return False
        pairs = zip(nodes[a:b], nodes[b:c], strict=True)
        if not all(_is_repeated(x, y, repeats) for x, y in pairs):
            return False
        for tape, loop in zip(tapes, loops, strict=True):
            if loop.start != loop.end:
                tape.loops.append(loop)
    return True


def are_twins(tapes: Sequence[Tape]) -> bool:
    """Whether the GPUs that stand for those in the middle are asked the same, one by one."""
    a, b = tapes[FIRST_TWIN - 2 : FIRST_TWIN]
    return (
        a.requests == b.requests
        and a.sizes == b.sizes
        and a.heirs == b.heirs
        and [loop[:3] for loop in a.loops] == [loop[:3] for loop in b.loops]
    )


@dataclass(frozen=True, slots=True)
class _Repeat:
    """How a stretch of a tape repeats the one before it.

    Attributes:
        own: first slot of the stretch before.
        shift: what a slot of its own is called later.
        handed: slots that the two take over from before themselves, one for the other.
    """

    own: int
    shift: int
    handed: dict[int, int]

    @classmethod
    def of(cls, tape: Tape, loop: Loop) -> _Repeat | None:
        """How it does, None if it does not.

        What the two take over may differ, as the first may follow on something else; the
        second must take it over from the first, as every further one does from its own first.
        """
        (r0, s0), (r1, s1), (r2, s2), _ = loop
        shift = s1 - s0
        if s2 - s1 != shift or tape.sizes[s0:s1] != tape.sizes[s1:s2]:
            return None
        if tape.heirs and any(slot in tape.heirs for slot in range(s0, s2)):
            return None
        earlier = [x for x in tape.requests[r0:r1] if x >= 0 or ~x >= s0]
        later = [x for x in tape.requests[r1:r2] if x >= 0 or ~x >= s1]
        if later != [x + shift if x >= 0 else x - shift for x in earlier]:
            return None
        if any(x < 0 and ~x < s0 for x in tape.requests[r1:r2]):
            return None
        return cls(s0, shift, {})

    def holds(self, before: int, later: int) -> bool:
        """Whether a slot is to the later stretch what another is to the one before."""
        if before >= self.own:
            return later == before + self.shift
        if later == before:
            return True
        is_taken_over = self.own <= later < self.own + self.shift
        return is_taken_over and self.handed.setdefault(before, later) == later


def _is_repeated(x: Tensor, y: Tensor, repeats: Sequence[_Repeat | None]) -> bool:
    """Whether two nodes are alike, and so is where they and what they read of copies lie."""
    if x.op != y.op or len(x.src) != len(y.src):
        return False
    pairs = [(x, y)]
    for s, t in zip(x.src, y.src, strict=True):
        if s is not t and s is not None and t is not None and s.op == t.op == "NONE":
            pairs.append((s, t))
    for s, t in pairs:
        if s.owner != t.owner:
            return False
        if s.owner != -1:
            repeat = repeats[s.owner]
            if repeat is None or not repeat.holds(s.slot, t.slot):
                return False
    return True


def smallest_period(signatures: Sequence[Signature], base: int) -> int | None:
    """Multiple of `base` with which most blocks repeat, the smallest of equals, or None.

    Args:
        signatures: one per block.
        base: period of what the signatures do not show.
    """
    n = len(signatures)
    best, best_share = None, MIN_REPEATING
    for period in range(base, n // (COMPARED + ENDING) + 1, base):
        share = sum(map(eq, signatures, signatures[period:])) / (n - period)
        if share > best_share:
            best, best_share = period, share
    return best
