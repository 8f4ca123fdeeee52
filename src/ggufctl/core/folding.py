"""Leaves out blocks that repeat, where that provably changes no buffer.

Most models repeat one pattern of blocks dozens of times. The allocator settles into
the same offsets after a few repetitions; from then on every further one is a copy of
the one before and cannot raise a peak. So a graph with the middle repetitions left
out has the same buffers, which `is_settled` verifies on the offsets themselves: when
two consecutive repetitions lie at identical offsets, nothing can differ afterwards.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations

from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.ggml.types import TYPES
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import Layout
from ggufctl.core.placement import Placement, block_of

__all__ = [
    "Fold",
    "LayerList",
    "find_folds",
    "fold_layers",
    "is_settled",
    "layer_signatures",
    "smallest_period",
]

PERIODS_BEFORE = 3
"""Repetitions kept before the gap: one to settle, two to compare."""

PERIODS_AFTER = 1
"""Repetitions kept after the gap."""

MIN_REPEATING = 0.6
"""Share of blocks that must repeat for leaving some out to be worth a try."""


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


class Fold:
    """Blocks to build, and where repetitions were left out.

    Attributes:
        layers: blocks to build.
        gaps: first block of each of three consecutive repetitions before a gap.
    """

    def __init__(self, layers: list[int], gaps: list[tuple[int, int, int]]) -> None:
        self.layers = layers
        self.gaps = gaps


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
    folds = (fold_layers(signatures, period * multiple) for multiple in (1, 2, 4))
    return tuple(fold for fold in folds if fold is not None)


def layer_signatures(hp: HParams, placement: Placement, layout: Layout) -> list[Hashable]:
    """What can make one block's part of a graph differ from another's, per block."""
    parts: list[list[Hashable]] = [[] for _ in range(hp.n_layer_all)]
    host = placement.host
    for name, info in hp.tensors.items():
        il = block_of(name)
        if il is None or not name.startswith("blk.") or il >= hp.n_layer_all:
            continue
        rest = name[name.index(".", 4) :]
        where = placement.backend(name)
        # On a GPU it does not matter which quantised type a weight has, but for the
        # fusion of shared experts, which `_expert_types` covers.
        plain = where != host and TYPES[info.type].is_quantized
        parts[il].append((rest, "quantised" if plain else info.type, info.shape, where))
    return [
        (
            tuple(parts[il]),
            _expert_types(hp, il),
            placement.layer_backends[il],
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
            tuple(sorted(n for n, cache in layout.caches.items() if il in cache.layers)),
            il in layout.recr_layers,
        )
        for il in range(hp.n_layer)
    ]


def _expert_types(hp: HParams, il: int) -> tuple[bool, ...]:
    """Which of a block's routed and shared expert weights have the same type."""
    names = ("ffn_gate_exps", "ffn_up_exps", "ffn_gate_shexp", "ffn_up_shexp")
    infos = [hp.tensors.get(f"blk.{il}.{name}.weight") for name in names]
    types = [info.type if info else None for info in infos]
    return tuple(a == b for a, b in combinations(types, 2))


def fold_layers(signatures: Sequence[Hashable], period: int) -> Fold | None:
    """Leave out repetitions of `period` blocks; None when that saves nothing.

    Args:
        signatures: one per block.
        period: blocks of one repetition.
    """
    n = len(signatures)
    layers: list[int] = []
    gaps: list[tuple[int, int, int]] = []
    start = 0
    while start < n:
        end = start + period
        while end < n and signatures[end] == signatures[end - period]:
            end += 1
        kept = (PERIODS_BEFORE + PERIODS_AFTER) * period
        spare = (min(end, n) - start - kept) // period * period
        if spare <= 0:
            layers.append(start)
            start += 1
            continue
        before = start + PERIODS_BEFORE * period
        layers += range(start, before)
        layers += range(before + spare, end)
        # The block after the last kept repetition marks its end.
        gaps.append((start + period, start + 2 * period, before))
        start = end
    return Fold(layers, gaps) if len(layers) < n else None


def is_settled(fold: Fold, starts: dict[int, int], nodes: Sequence[Tensor]) -> bool:
    """Whether the two repetitions before every gap lie at identical offsets.

    Args:
        fold: what was left out.
        starts: number of nodes before each built block.
        nodes: nodes of the allocated graph, in order.
    """
    position = {il: i for i, il in enumerate(fold.layers)}
    for first, second, end in fold.gaps:
        # The end is the block that now follows in the folded graph.
        follower = fold.layers[position[second] + (end - second)]
        if not starts.keys() >= {first, second, follower}:
            # The builder does not go through these blocks one by one.
            return False
        a, b, c = starts[first], starts[second], starts[follower]
        if b - a != c - b:
            return False
        if any(_place(x) != _place(y) for x, y in zip(nodes[a:b], nodes[b:c], strict=True)):
            return False
    return True


def _place(t: Tensor) -> Hashable:
    """Where a node and the copies it reads lie."""
    copies = tuple(
        (s.owner, s.offset) for s in t.src if s is not None and s.op == "NONE" and s.owner != -1
    )
    return t.op, t.owner, t.offset, copies


def smallest_period(signatures: Sequence[Hashable], base: int) -> int | None:
    """Multiple of `base` with which most blocks repeat, the smallest of equals, or None.

    Args:
        signatures: one per block.
        base: period of what the signatures do not show.
    """
    n = len(signatures)
    best, best_share = None, MIN_REPEATING
    for period in range(base, n // (PERIODS_BEFORE + PERIODS_AFTER) + 1, base):
        repeats = sum(1 for i in range(n - period) if signatures[i] == signatures[i + period])
        share = repeats / (n - period)
        if share > best_share:
            best, best_share = period, share
    return best
