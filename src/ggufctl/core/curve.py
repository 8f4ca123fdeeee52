"""How memory grows with the context, known from as few estimates as possible.

Between contexts where nothing saturates, caches grow linearly and compute buffers are a maximum
of linear functions, so memory is convex: the chord between two known contexts never lies below
it. Three known contexts on one line make the stretch between them exact.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence

__all__ = ["ContextCurve"]

Point = tuple[int, ...]
"""What is needed per device and per limit.  [bytes]"""

_EXACT_MEASUREMENTS = 24


def _within_limits(point: Point, limits: Point) -> bool:
    return all(need <= limit for need, limit in zip(point, limits, strict=True))


class ContextCurve:
    """Memory per device over the context, filled in where it is asked about.

    Args:
        measure: bytes per device at a context.
        step: contexts are multiples of this.  [tokens]
        known: contexts to begin with, where the slope may change.  [tokens]
        lower: more of them, looked at only when none of the others fits.  [tokens]
        higher: more of them in order, looked at only when all of the others fit: the last one
            first, and those before it only when that does not fit.  [tokens]
        budget: most further measurements.
    """

    def __init__(
        self,
        measure: Callable[[int], Point],
        step: int,
        known: Sequence[int],
        lower: Sequence[int] = (),
        higher: Sequence[int] = (),
        budget: int = 6,
    ) -> None:
        self.step = step
        self._measure = measure
        self._budget = budget
        self._xs: list[int] = []
        self._ys: dict[int, Point] = {}
        self._straight: dict[int, int] = {}
        """Left ends of stretches that are straight, and what a bend may hide there.  [bytes]"""
        self._lower = tuple(lower)
        self._between = tuple(higher[:-1])
        self._farthest = higher[-1] if higher else None
        for n_ctx in known:
            self._add(n_ctx)
        self._nearest = self.last

    @property
    def last(self) -> int:
        """Longest context looked at so far.  [tokens]"""
        return self._xs[-1]

    def at(self, n_ctx: int) -> Point:
        """Bytes per device at a context: measured, or never less than what is true.  [bytes]"""
        if n_ctx in self._ys:
            return self._ys[n_ctx]
        right = min(bisect_left(self._xs, n_ctx), len(self._xs) - 1)
        return self._chord(self._xs[right - 1], self._xs[right], n_ctx)

    def largest(self, limits: Point, *, exact: bool = False) -> int:
        """Longest context whose memory stays within the limits, 0 when none does.  [tokens]

        Without `exact` it may fall short of the truth by what a chord overestimates, once the
        budget of measurements is spent.
        """
        spare = _EXACT_MEASUREMENTS if exact else 0
        while True:
            found = self._largest_by_chords(limits)
            if found == 0 and self._lower:
                for n_ctx in self._lower:
                    self._add(n_ctx)
                self._lower = ()
                continue
            if found == self.last and self._farthest is not None:
                self._add(self._farthest)
                self._farthest = None
                continue
            if self._nearest <= found < self.last and self._between:
                for n_ctx in self._between:
                    self._add(n_ctx)
                self._between = ()
                continue
            if found in (0, self.last) or found + self.step in self._ys:
                return found
            left = self._xs[bisect_left(self._xs, found + 1) - 1]
            if left in self._straight and exact and self._may_fit(found + self.step, limits):
                self._add(found + self.step)
                continue
            if left in self._straight or self._budget + spare <= 0:
                return found
            is_slow = self._budget <= 0 and spare % 2 == 0
            if self._budget > 0:
                self._budget -= 1
            else:
                spare -= 1
            if is_slow:
                self._add(self._halfway(left))
            else:
                self._add(found if found not in self._ys else self._beyond(found, limits))

    def _halfway(self, left: int) -> int:
        """The middle of the stretch that begins at `left`, which has more than one step."""
        right = self._xs[bisect_left(self._xs, left) + 1]
        return left + max(1, (right - left) // (2 * self.step)) * self.step

    def _may_fit(self, n_ctx: int, limits: Point) -> bool:
        """Whether what is taken for a straight stretch may be too much only by its rounding."""
        hidden = self._straight[self._xs[bisect_left(self._xs, n_ctx) - 1]]
        return all(
            need <= limit + hidden for need, limit in zip(self.at(n_ctx), limits, strict=True)
        )

    def _beyond(self, found: int, limits: Point) -> int:
        """A context past `found`, which fits, where the slope so far would use the memory up.

        Half the way to the next one that is known where there is no slope yet.
        """
        index = bisect_left(self._xs, found)
        last = self._xs[index + 1] - self.step
        here = self._ys[found]
        right = last
        if index:
            before = self._xs[index - 1]
            for limit, low, high in zip(limits, self._ys[before], here, strict=True):
                rise = high - low
                if rise > 0:
                    run = (limit - high) * (found - before) // rise
                    right = min(right, found + run // self.step * self.step)
        if right == last:
            right = found + (last - found) // (2 * self.step) * self.step
        return max(right, found + self.step)

    def _largest_by_chords(self, limits: Point) -> int:
        best = 0
        for index, x in enumerate(self._xs):
            if _within_limits(self._ys[x], limits):
                best = x
                continue
            if index == 0:
                return 0
            return self._within(self._xs[index - 1], x, limits)
        return best

    def _within(self, left: int, right: int, limits: Point) -> int:
        low, high = 0, (right - left) // self.step
        while low < high:
            middle = (low + high + 1) // 2
            if _within_limits(self._chord(left, right, left + middle * self.step), limits):
                low = middle
            else:
                high = middle - 1
        return left + low * self.step

    def _chord(self, left: int, right: int, n_ctx: int) -> Point:
        width, along = right - left, n_ctx - left
        return tuple(
            low - (-(high - low) * along // width)
            for low, high in zip(self._ys[left], self._ys[right], strict=True)
        )

    def _add(self, n_ctx: int) -> None:
        if n_ctx in self._ys:
            return
        self._ys[n_ctx] = self._measure(n_ctx)
        insort(self._xs, n_ctx)
        index = self._xs.index(n_ctx)
        if index > 0 and self._xs[index - 1] in self._straight:
            self._straight[n_ctx] = self._straight[self._xs[index - 1]]
        for middle in range(max(1, index - 1), min(len(self._xs) - 1, index + 2)):
            self._mark_straight(middle)

    def _mark_straight(self, middle: int) -> None:
        left, x, right = self._xs[middle - 1 : middle + 2]
        expected = self._chord(left, right, x)
        if all(abs(a - b) <= 1 for a, b in zip(expected, self._ys[x], strict=True)):
            # A convex curve that is one byte below the chord at x is most below it near an end.
            for begin, side in ((left, right - x), (x, x - left)):
                hidden = -(-(right - left) // side)
                self._straight[begin] = min(hidden, self._straight.get(begin, hidden))
