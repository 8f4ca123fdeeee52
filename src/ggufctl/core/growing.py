"""Integers that know how they grow with the context, and what was decided by them.

A graph for another context has the same operations with other extents, as long as nothing
asks about the context what that one would answer otherwise. So a graph is built once with its
cells counted by a `Growing` number: sums and multiples of it keep their slope, and every
comparison narrows the `Span` of contexts that it would come out the same for. Within the span
one graph serves all contexts, exactly.
"""

from __future__ import annotations

from typing import NoReturn

__all__ = ["Growing", "NotGrowing", "Span", "at", "plain", "slope_of"]


class NotGrowing(Exception):
    """Something asked of a number does not grow on a line: its graph serves one context."""


class Span:
    """Contexts, counted in equal steps, for which everything asked so far has the same answer.

    Attributes:
        here: the context that the numbers are worked out for.
        low, high: the least and the greatest other one; `high` None = without an end.
    """

    def __init__(self, here: int) -> None:
        self.here = here
        self.low = 1
        self.high: int | None = None
        self._without: set[int] = set()

    def __contains__(self, step: object) -> bool:
        if not isinstance(step, int) or step < self.low or step in self._without:
            return False
        return self.high is None or step <= self.high

    def only_here(self) -> None:
        """Leave nothing but the context itself."""
        self.low = self.high = self.here

    def is_negative(self, value: int, slope: int) -> bool:
        """Whether `value` is below 0, here and in what remains of the span."""
        negative = value < 0
        # Where negative, value + slope·x <= -1 must hold, else value + slope·x >= 0.
        most = -1 - value if negative else value
        rate = slope if negative else -slope
        if rate > 0:
            reach = self.here + most // rate
            self.high = reach if self.high is None else min(self.high, reach)
        elif rate < 0:
            self.low = max(self.low, self.here - most // -rate)
        return negative

    def is_zero(self, value: int, slope: int) -> bool:
        """Whether `value` is 0, here and in what remains of the span."""
        if slope:
            if value == 0:
                self.only_here()
            elif value % slope == 0:
                self._without.add(self.here - value // slope)
        return value == 0


class Growing(int):
    """An integer that grows by `slope` with every step of the context."""

    slope: int
    span: Span

    @classmethod
    def of(cls, value: int, slope: int, span: Span) -> int:
        """The number, a plain one when it does not grow."""
        if not slope:
            return value
        self = cls(value)
        self.slope = slope
        self.span = span
        return self

    def _minus(self, other: object) -> tuple[int, int]:
        """Value and slope of the difference."""
        slope = slope_of(other)
        return int.__sub__(self, other), self.slope - slope  # type: ignore[operator]

    def __add__(self, other: int) -> int:
        slope = slope_of(other)
        return Growing.of(int.__add__(self, other), self.slope + slope, self.span)

    __radd__ = __add__

    def __sub__(self, other: int) -> int:
        return Growing.of(*self._minus(other), self.span)

    def __rsub__(self, other: int) -> int:
        slope = slope_of(other)
        return Growing.of(int.__sub__(other, self), slope - self.slope, self.span)

    def __neg__(self) -> int:
        return Growing.of(int.__neg__(self), -self.slope, self.span)

    def __mul__(self, other: int) -> int:
        if slope_of(other):
            raise NotGrowing
        return Growing.of(int.__mul__(self, other), self.slope * other, self.span)

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> int:
        if slope_of(other) or self.slope % other:
            raise NotGrowing
        return Growing.of(int.__floordiv__(self, other), self.slope // other, self.span)

    def __mod__(self, other: int) -> int:
        if slope_of(other) or self.slope % other:
            raise NotGrowing
        return int.__mod__(self, other)

    def __lt__(self, other: int) -> bool:
        return self.span.is_negative(*self._minus(other))

    def __ge__(self, other: int) -> bool:
        return not self.span.is_negative(*self._minus(other))

    def __gt__(self, other: int) -> bool:
        value, slope = self._minus(other)
        return self.span.is_negative(-value, -slope)

    def __le__(self, other: int) -> bool:
        value, slope = self._minus(other)
        return not self.span.is_negative(-value, -slope)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int) and self.span.is_zero(*self._minus(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __bool__(self) -> bool:
        return not self.span.is_zero(*self._minus(0))

    __hash__ = int.__hash__

    def _refuse(self, *_: object) -> NoReturn:
        raise NotGrowing

    __int__ = __float__ = __abs__ = __invert__ = __trunc__ = __round__ = _refuse
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _refuse
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = __pow__ = __rpow__ = _refuse
    __truediv__ = __rtruediv__ = __rfloordiv__ = __rmod__ = _refuse
    __divmod__ = __rdivmod__ = _refuse


def slope_of(number: object) -> int:
    """How much a number grows with every step.

    Raises: NotGrowing for what is no integer.
    """
    if isinstance(number, Growing):
        return number.slope
    if isinstance(number, int):
        return 0
    raise NotGrowing


def at(number: int, steps: int) -> int:
    """The number `steps` further than where it was worked out, as a plain one."""
    if isinstance(number, Growing):
        return int.__add__(number, number.slope * steps)
    return number


def plain(number: int) -> int:
    """The number where it was worked out, as a plain one."""
    return int.__add__(number, 0)
