"""Figures that are known within limits only: the least, the likeliest, the most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Range"]


@dataclass(frozen=True, slots=True)
class Range:
    """A figure between two others: `low` <= `best` <= `high`.

    Raises: ValueError when they are in another order.
    """

    low: float
    best: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.best <= self.high:
            raise ValueError(f"{self.low} <= {self.best} <= {self.high} does not hold.")

    @classmethod
    def exactly(cls, value: float) -> Range:
        """A figure that is known."""
        return cls(value, value, value)

    @classmethod
    def of(cls, *values: float) -> Range:
        """The range from the least to the most of some figures, the first being the likeliest."""
        return cls(min(values), values[0], max(values))

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.best + other.best, self.high + other.high)

    def __mul__(self, other: Range) -> Range:
        """The product with a range; neither may be negative."""
        return Range(self.low * other.low, self.best * other.best, self.high * other.high)

    def scale(self, factor: float) -> Range:
        """Each figure times a number that is not negative."""
        return Range(self.low * factor, self.best * factor, self.high * factor)

    def invert(self, numerator: float = 1.0) -> Range:
        """A number over the range, such as seconds per token out of tokens per second.

        What is divided by 0 is infinite.
        """
        return Range(
            numerator / self.high if self.high else float("inf"),
            numerator / self.best if self.best else float("inf"),
            numerator / self.low if self.low else float("inf"),
        )

    def map(self, function: Callable[[float], float]) -> Range:
        """Each figure through a function, whether it rises or falls."""
        ends = function(self.low), function(self.high)
        best = function(self.best)
        return Range(min(*ends, best), best, max(*ends, best))

    def clamp(self, low: float, high: float) -> Range:
        """Each figure moved to within limits."""

        def inside(value: float) -> float:
            return min(max(value, low), high)

        return Range(inside(self.low), inside(self.best), inside(self.high))
