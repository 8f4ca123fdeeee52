"""What a plan is to be made for: what to make small, and what to keep to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ggufctl.core.names import QUANT_QUALITY_ORDER
from ggufctl.core.names.quants import normalize_quant
from ggufctl.core.ranges import Range
from ggufctl.errors import UsageError

__all__ = ["Goal", "Judge", "Limits", "Objective"]

LEAST_QUANT, BEST_QUANT = "Q4_K_M", "Q8_0"
"""Quants that are searched unless the goal names another least one."""

PROMPT_TOKENS, OUTPUT_TOKENS = 1000, 300
"""The request whose time is the latency."""


class Objective(StrEnum):
    """What is to be as small as possible."""

    COST = "cost"
    """Price of the container per hour: GPUs, cores and host memory."""
    LATENCY = "latency"
    """Time from a request to its last token."""
    MEMORY = "memory"
    """Memory filled on all GPUs together."""


class Judge(StrEnum):
    """Which end of an estimated range counts."""

    CAREFUL = "careful"
    """The worst: speed at the low end, times at the high end."""
    LIKELY = "likely"
    """The likeliest figure of each range."""

    def of_speed(self, figures: Range) -> float:
        """The figure of a range that is better the higher it is."""
        return figures.low if self is Judge.CAREFUL else figures.best

    def of_time(self, figures: Range) -> float:
        """The figure of a range that is better the lower it is."""
        return figures.high if self is Judge.CAREFUL else figures.best


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What every candidate must keep to, beside the budget.

    Attributes:
        min_tokens_per_s: of one request's answer.
        max_ttft_seconds: from a request to its first token, the server being up.
        max_cold_start_seconds: from asking for a container to an answer.

    Raises: UsageError for anything but a number above 0.
    """

    min_tokens_per_s: float | None = None
    max_ttft_seconds: float | None = None
    max_cold_start_seconds: float | None = None

    def __post_init__(self) -> None:
        for option, value in (
            ("--min-tokens-per-s", self.min_tokens_per_s),
            ("--max-ttft", self.max_ttft_seconds),
            ("--max-cold-start", self.max_cold_start_seconds),
        ):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (is_number and 0 < value < float("inf")):
                raise UsageError(f"{option} must be a number above 0, not {value!r}.")

    def __bool__(self) -> bool:
        return self != Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a plan is to be made for.

    Attributes:
        objective: what to make small; None only keeps to the limits.
        limits: what to keep to.
        fixed: fields of `Runtime` that the user set, which are never varied.
        min_quant: the least quant of a repository to look at; empty = Q4_K_M.
        judge: which end of estimated ranges is compared and held against limits.
        prompt_tokens: of the request whose time is the latency.
        output_tokens: of its answer.

    Raises: UsageError for a quant that there is none of.
    """

    objective: Objective | None = None
    limits: Limits = Limits()
    fixed: tuple[str, ...] = ()
    min_quant: str = ""
    judge: Judge = Judge.CAREFUL
    prompt_tokens: int = PROMPT_TOKENS
    output_tokens: int = OUTPUT_TOKENS

    def __post_init__(self) -> None:
        for name, kind in (("objective", Objective), ("judge", Judge)):
            value = getattr(self, name)
            if value is None and name == "objective":
                continue
            try:
                object.__setattr__(self, name, kind(value))
            except ValueError:
                words = ", ".join(kind)
                raise UsageError(f"{value!r} is no {name} of a goal.", f"Use {words}.") from None
        if not isinstance(self.limits, Limits):
            raise UsageError(f"{self.limits!r} are no Limits.")
        object.__setattr__(self, "fixed", tuple(sorted(set(self.fixed))))
        if not isinstance(self.min_quant, str):
            raise UsageError(f"{self.min_quant!r} is no quant.", "Write one such as Q3_K_M.")
        if self.min_quant and normalize_quant(self.min_quant) not in QUANT_QUALITY_ORDER:
            raise UsageError(f"{self.min_quant!r} is no quant.", "Write one such as Q3_K_M.")

    def __bool__(self) -> bool:
        return self.objective is not None or bool(self.limits)

    def searched(self, quants: Sequence[str]) -> tuple[str, ...]:
        """Those of a repository's quants that are looked at: from the least wanted to Q8_0.

        All of them where there is none in between.
        """
        order = {label: index for index, label in enumerate(QUANT_QUALITY_ORDER)}
        least = normalize_quant(self.min_quant) if self.min_quant else LEAST_QUANT
        last = order[str(least)]
        first = min(order[BEST_QUANT], last)
        found = tuple(quant for quant in quants if first <= order.get(quant, -1) <= last)
        return found or tuple(quants)
